"""What a program does, as a number: which of our files it calls, and what they say."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

#: Where the rules' scripts and the packages they import lie.
SCRIPTS = Path(__file__).parents[1]


@cache
def code_of(*programs: str | Path) -> str:
    """Return a hash of what programs do, with all of this project's files that they import.

    Comments, docstrings and layout leave it unchanged, and so does the version of Python.

    Parameters
    ----------
    *programs : str or Path
        Python files or notebooks; or modules of this project, such as ``"paper.tables"``.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for file in sorted(closure(*programs)):
        digest.update(_meaning(file).encode())
    return digest.hexdigest()[:16]


def closure(*programs: str | Path) -> set[Path]:
    """Return the files of programs, and of all modules of this project that they import, ever."""
    found: set[Path] = set()
    waiting = [_file_of(program) if isinstance(program, str) else program for program in programs]
    while waiting:
        file = waiting.pop()
        if file is not None and file not in found:
            found.add(file)
            waiting += map(_file_of, imported(file))
    return found


@cache
def imported(file: Path) -> tuple[str, ...]:
    """Return the names of all modules that a file imports, or might: packages and parts."""
    names: list[str] = []
    for node in ast.walk(_parse(file)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(names)


@cache
def _file_of(module: str) -> Path | None:
    """Return the file of a module of this project; None for any other."""
    path = SCRIPTS.joinpath(*module.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


@cache
def _parse(file: Path) -> ast.Module:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    return ast.parse(text)


@cache
def _meaning(file: Path) -> str:
    return "".join(_tokens(_parse(file)))


def _tokens(node: Any) -> Iterator[str]:
    """Yield what a syntax tree says, without docstrings and without fields that are empty.

    Empty fields are left out because new versions of Python add some.
    """
    if isinstance(node, list):
        for item in node:
            yield from _tokens(item)
    elif isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name, value in ast.iter_fields(node):
            value = _without_docstring(value) if name == "body" else value
            if value is not None and value != [] and name not in ("kind", "ctx"):
                yield f" {name}="
                yield from _tokens(value)
        yield ")"
    else:
        yield repr(node)


def _without_docstring(body: Any) -> Any:
    is_docstring = (
        isinstance(body, list)
        and body
        and isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and isinstance(body[0].value.value, str)
    )
    return body[1:] if is_docstring else body
