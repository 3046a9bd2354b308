"""What code in Python does and reads, as its instructions say."""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec, resolve_name
from types import CodeType, FunctionType, ModuleType
from typing import Any

from dds.networks.own import is_installed, is_own, steady


def in_code(code: CodeType) -> Iterator[Any]:
    """Yield what code does, whatever lines it is on.

    Parameters
    ----------
    code : code
        Constants that nothing loads, such as its docstring, are not of it.
    """
    several = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    counts = [code.co_posonlyargcount, code.co_argcount, code.co_kwonlyargcount]
    yield [several, counts, code.co_varnames[: sum(counts[1:])], code.co_exceptiontable]
    for each in _instructions(code):
        yield each.opname
        yield each.argval if each.opcode in dis.hasconst else str(each.argval)


def _instructions(code: CodeType) -> list[dis.Instruction]:
    return [each for each in dis.get_instructions(code) if each.opname != "EXTENDED_ARG"]


def with_inner(code: CodeType) -> Iterator[CodeType]:
    """Yield code, and that of the functions and classes inside."""
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from with_inner(each)


def read_by(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the global variables that a function names, and what it names of modules of one's own.

    Parameters
    ----------
    function : function
        Modules that it imports are imported here, as it would.

    Examples
    --------
    >>> def area(radius):
    ...     return 2 * RADII[radius]
    >>> RADII = {1: 2}
    >>> [value for _, value in read_by(area)]
    [{1: 2}]
    """
    variables, codes = function.__globals__, list(with_inner(function.__code__))
    every = [each for code in codes for each in _instructions(code)]
    read = {each.argval for each in every if each.opname == "LOAD_GLOBAL"} & variables.keys()
    module_name = steady(variables.get("__name__"))
    yield from ((f"{module_name}.{name}", variables[name]) for name in sorted(read))
    names = {name for code in codes for name in code.co_names}
    modules = [variables[name] for name in sorted(read)]
    modules += map(partial(_imported, variables.get("__package__")), _imports(every))
    modules = [one for one in modules if isinstance(one, ModuleType) and is_own(one)]
    for module in modules:  # grows, as modules have modules
        for name in sorted(names & vars(module).keys()):
            held = vars(module)[name]
            yield f"{steady(module.__name__)}.{name}", held
            if isinstance(held, ModuleType) and is_own(held) and held not in modules:
                modules.append(held)


def _imports(instructions: list[dis.Instruction]) -> Iterator[str]:
    """Yield the names of what may be a module, as code imports them."""
    for level, names, at in zip(instructions, instructions[1:], instructions[2:], strict=False):
        if at.opname == "IMPORT_NAME":
            module = "." * level.argval + at.argval
            yield module
            inside = module if module.endswith(".") else f"{module}."
            yield from (inside + name for name in names.argval or ())


def _imported(package: str | None, name: str) -> ModuleType | None:
    """Return a module that is there, or is one's own; None for what is no module."""
    with suppress(Exception):  # whatever fails fails where the code runs, if it comes there
        name = resolve_name(name, package)
        if name not in sys.modules and _is_beside(name.partition(".")[0]):
            import_module(name)
    return sys.modules.get(name)


def _is_beside(name: str) -> bool:
    """Tell whether a package that may not be imported yet is a user's own."""
    spec = find_spec(name)
    if spec is None:
        return False
    places = [spec.origin] if spec.has_location else spec.submodule_search_locations or []
    return bool(places) and not any(is_installed(str(place)) for place in places)
