"""Plug-ins: one file a kind, found by its name, so that nothing else lists them.

A sort of thing that comes in several kinds (sampling plans, sources of images, families of
networks, tables, figures) is a package. Each module in it is a kind and bears its name; the
package's docstring says what such a module holds. A user's own kind is a file anywhere,
named by its path.

The workflow reads the keys of every kind where Snakemake alone is installed. So a kind's
module imports what is heavy where it is used, inside its functions.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType


class Kinds:
    """The kinds of one sort of thing, by name.

    Parameters
    ----------
    package : str
        Name of the package whose modules are the kinds. A module whose name begins with
        ``_`` is none.

    Examples
    --------
    >>> from dds.statistics.plans import PLANS
    >>> PLANS.names
    ('curtailed', 'fixed', 'radius', 'sequential', 'union_sequential')
    >>> PLANS["fixed"].Keys.__doc__
    'Draw n estimation samples of every image.'
    """

    def __init__(self, package: str) -> None:
        self.package = package

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The kinds that the package holds, sorted."""
        found = pkgutil.iter_modules(import_module(self.package).__path__)
        return tuple(sorted(module.name for module in found if not module.name.startswith("_")))

    def __getitem__(self, name: str) -> ModuleType:
        """Return the module of a kind.

        Parameters
        ----------
        name : str
            Of a module in the package, or the path of a file ``FILE.py`` of the user's own.

        Raises
        ------
        ValueError
            If there is no such kind.
        """
        if name in self.names:
            return import_module(f"{self.package}.{name}")
        if is_file(name):
            return load_file(name)
        raise ValueError(f"{name} is not allowed; allowed: {', '.join(self.names)}, or FILE.py")


def is_file(name: str) -> bool:
    """Tell whether a name is meant as the path of a Python file."""
    return name.endswith(".py")


def load_file(path: str | Path) -> ModuleType:
    """Import a Python file of the user's own, by its path; the same file is imported once.

    Parameters
    ----------
    path : str or Path
        Of the file, relative to the working directory or full.

    Returns
    -------
    module

    Raises
    ------
    ValueError
        If there is no such file, or it cannot be imported, naming it and the reason.
    """
    path = Path(path).resolve()
    name = f"file:{path}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise ValueError(f"there is no Python file {path}")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: pydantic looks its annotations up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file may raise
        del sys.modules[name]
        raise ValueError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module
