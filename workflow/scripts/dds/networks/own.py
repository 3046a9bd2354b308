"""What of a network is a user's own: code that lies beside the work, or in a notebook."""

from __future__ import annotations

import re
import sys
import sysconfig
from functools import cache, cached_property
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import dds

#: Where installed code lies: in these folders, and in those of these names of any environment.
_INSTALLED = [Path(sysconfig.get_path("stdlib")), *map(Path, dds.__path__)]
_PACKAGES = {"site-packages", "dist-packages"}


def is_own(value: FunctionType | type | ModuleType) -> bool:
    """Tell whether a function, class or module is a user's own, by the file that it is from.

    Examples
    --------
    >>> is_own(Path), is_own(is_own)
    (False, False)
    """
    if isinstance(value, FunctionType):
        # By its code: what decorates a function of one's own has its name, and may be installed.
        file = value.__code__.co_filename
        if not file.startswith("<"):
            return not is_installed(file)
    name = value.__name__ if isinstance(value, ModuleType) else value.__module__
    module = value if isinstance(value, ModuleType) else sys.modules.get(str(name))
    file = getattr(module, "__file__", "")
    if module is not None and not file:  # of a folder without an __init__.py, if any
        file = next(iter(getattr(module, "__path__", ())), "")
    if file or name == "__main__":
        return not is_installed(file) if file else True
    if isinstance(value, type):  # of a file that is no module, or brought by a pickle
        return any(is_own(one) for one in vars(value).values() if isinstance(one, FunctionType))
    return isinstance(value, FunctionType) and (name is None or module is not None)


def steady(module: str | None) -> str:
    """Return the name of a module without what is drawn in it, in each process anew.

    Examples
    --------
    EDM's pickles bring their modules under such names:

    >>> steady("_imported_module_9f86d081884c7d659a2feaa0c55ad015")
    '_imported_module_'
    """
    return re.sub("[0-9a-f]{32}", "", str(module))


@cache
def is_installed(file: str) -> bool:
    """Tell whether a file, or a folder, lies where installed code does."""
    path = Path(file)
    return not _PACKAGES.isdisjoint(path.parts) or any(map(path.is_relative_to, _INSTALLED))


def state_of(value: Any) -> dict[str, Any]:
    """Return the attributes that pickle takes of an object of a user's own class.

    What a `cached_property` keeps is left out: it is there or not.
    """
    try:
        state = value.__getstate__()
    except Exception:  # of a class that is not to be pickled
        state = object.__getstate__(value)
    attributes: dict[Any, Any] = {}
    for part in state if isinstance(state, tuple) else (state,):  # a dictionary, one of slots
        attributes |= part if isinstance(part, dict) else {"state": part}
    cached = {name for kind in type(value).__mro__ for name, held in vars(kind).items()
              if isinstance(held, cached_property)}  # fmt: skip
    return {str(name): held for name, held in attributes.items() if name not in cached}
