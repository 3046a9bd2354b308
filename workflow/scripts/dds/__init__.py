"""Diffusion denoised smoothing: certified robustness from off-the-shelf models.

The library's public names stand in `__init__.pyi`, where type checkers look for them. Each is
imported when it is first asked for, so that statistics and logs never wait for, or need, PyTorch.
"""

import ast
from importlib import import_module
from pathlib import Path

from dds.extras import needed

#: Module of each public name.
_HOME = {
    alias.name: node.module
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text("utf-8")).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}

__all__ = sorted(name for name in _HOME if not name.startswith("_"))


def __getattr__(name: str) -> object:
    """Import a public name from its module (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with needed():
        return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
