"""What a program does, as a number: which files it imports, ours or its own, and what they say."""

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
    """Return a hash of what programs do, with all files that they import (`closure`).

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
    """Return the files of programs, and of all modules that they import, ever.

    Those are modules of this project and, of a program of the user's own, modules that lie
    beside it.
    """
    files = (_file_of(program) if isinstance(program, str) else program for program in programs)
    found: set[tuple[Path, Path]] = set()
    waiting = [
        (file, SCRIPTS if file.is_relative_to(SCRIPTS) else file.parent) for file in files if file
    ]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += _imported_by(*one)
    return {file for file, _ in found}


def _imported_by(file: Path, folder: Path) -> list[tuple[Path, Path]]:
    """Return the files that a file imports, each with the folder that its own imports lie in."""
    found = []
    for module in imported(file, folder):
        if ours := _file_of(module):
            found.append((ours, SCRIPTS))
        elif folder != SCRIPTS:  # a module that lies beside, with the packages that it is in
            parts = module.split(".")
            wholes = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
            files = (_file_of(whole, folder) for whole in wholes)
            found += [(beside, folder) for beside in files if beside]
    return found


@cache
def imported(file: Path, folder: Path) -> tuple[str, ...]:
    """Return the names of all modules that a file imports, or might: packages and parts.

    Parameters
    ----------
    file : Path
        A Python file or a notebook.
    folder : Path
        Where names begin that are relative to the file's package (``from . import ...``).
    """
    names: list[str] = []
    package = file.relative_to(folder).parent.parts
    for node in ast.walk(_parse(file)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            within = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*within, *filter(None, [node.module])])
            names += [module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)]
    return tuple(filter(None, names))


@cache
def _file_of(module: str, folder: Path = SCRIPTS) -> Path | None:
    """Return the file of a module in a folder, by default of this project; None for any other."""
    path = folder.joinpath(*module.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


@cache
def _parse(file: Path) -> ast.Module:
    text: str | bytes = file.read_bytes()  # of which Python finds out the encoding
    if file.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    return ast.parse(text, filename=str(file))


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
