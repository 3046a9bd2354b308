"""A number that stands for what of a user's own runs in networks: code, and what it goes by.

What is installed is told by its name alone; weights and public settings are told by `identity`.
"""

from __future__ import annotations

import dis
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cache, cached_property, partial
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from torch import nn

from dds.networks.identity import PLAIN, description, kind_of

#: Installed, also where a developer has them in another folder.
_LIBRARIES = {"dds", "diffusers", "guided_diffusion", "numpy", "scipy", "timm", "torch",
              "torchvision", "transformers"}  # fmt: skip
_INSTALLED = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]
#: What every module has: its weights, parts, hooks, its mode, and whether it is compiled.
_OF_ANY_MODULE = {*vars(nn.Module()), "_compiled_call_impl"}
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
#: What of a class is not run.
_SAYS_NOTHING = {"__dict__", "__weakref__", "__doc__", "__module__", "__annotations__",
                 "__firstlineno__", "__static_attributes__"}  # fmt: skip


def own_code_digest(*networks: Any) -> str:
    """Return a hash of the code of a user's own that networks run, and of what that reads.

    Own is what is not installed: of a file beside the work, of a notebook. Of its functions and
    classes the code is taken, with the global variables that it names; of its objects all
    attributes that pickle would take, private ones included: ``__getstate__`` leaves out what only
    counts. A comment, or a line that moves, changes nothing.

    Parameters
    ----------
    *networks : Module, or a denoiser that is none
        With their hooks.

    Returns
    -------
    str
        64 hexadecimal digits. What runs in another version of Python has others.

    Examples
    --------
    Whose code is all installed is told by no code:

    >>> own_code_digest(nn.Linear(2, 2)) == own_code_digest(nn.ReLU())
    True
    """
    reader = _Reader()
    for network in networks:
        reader.read(network, all_of_it=not isinstance(network, nn.Module))
    return reader.hexdigest()


class _Reader:
    """Takes what networks hold, and what that holds, each once."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._seen: dict[int, tuple[str, Any]] = {}
        self._told = 0

    def hexdigest(self) -> str:
        """Return the hash of all that was read."""
        return self._digest.hexdigest()

    def read(self, value: Any, *, all_of_it: bool = True) -> None:
        """Take a value; of one that is installed not `all_of_it`, but what is own inside it."""
        if isinstance(value, PLAIN):
            for part in description(value) if all_of_it else ():
                self._write(part)
            return
        if id(value) in self._seen:  # what is shared, or holds itself
            self._write(self._seen[id(value)][0])
            return
        is_told = all_of_it or _is_own(type(value))
        self._told += is_told
        again = f"again {self._told}" if is_told else ""
        self._seen[id(value)] = again, value  # held, lest another gets its id
        if is_told:
            self._write(kind_of(value))
        for name, part, wanted in self._parts(value, all_of_it):
            if is_told:
                self._write(name)
            self.read(part, all_of_it=wanted)

    def _write(self, part: str | bytes) -> None:
        self._digest.update((part.encode() if isinstance(part, str) else part) + b"\0")

    def _parts(self, value: Any, all_of_it: bool) -> Iterator[tuple[str, Any, bool]]:
        """Yield what a value is made of: what to call it, the part, and whether all of that."""
        if isinstance(value, Mapping):
            for key in sorted(value, key=repr):
                yield repr(key) if isinstance(key, PLAIN) else kind_of(key), value[key], all_of_it
        elif isinstance(value, list | tuple | set | frozenset):
            items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
            yield from (("item", item, all_of_it) for item in items)
        elif isinstance(value, SimpleNamespace):
            yield "namespace", vars(value), all_of_it
        elif isinstance(value, partial):
            yield "partial", [value.func, value.args, value.keywords], all_of_it
        elif isinstance(value, MethodType):
            yield "method", [value.__func__, value.__self__], all_of_it
        elif isinstance(value, staticmethod | classmethod):
            yield "function", value.__func__, True
        elif isinstance(value, property):
            yield "property", [value.fget, value.fset], True
        elif isinstance(value, CodeType):
            yield from _of_code(value)
        elif isinstance(value, FunctionType | type | ModuleType):
            if _is_own(value):
                of = _of_function if isinstance(value, FunctionType) else _of_module
                yield from _of_class(value) if isinstance(value, type) else of(value)
        else:
            yield from _of_object(value, all_of_it or _is_own(type(value)))


def _of_object(value: Any, all_of_it: bool) -> Iterator[tuple[str, Any, bool]]:
    """Yield an object's class and attributes, of an installed class the public ones."""
    kind = type(value)
    yield "class", kind, all_of_it
    if isinstance(value, nn.Module):
        for name in _HOOKS:
            yield name, list(getattr(value, name, {}).values()), True
        yield "parts", value._modules, False
        if all_of_it:  # else it is a part of one whose weights are told
            yield "weights", [value._parameters, value._buffers], True
        if not _is_own(kind) and isinstance(code := getattr(value, "code", None), str):
            yield "code", code, True  # that PyTorch has written
    elif not (_is_own(kind) or _is_shown(kind)):
        yield "wrapped", getattr(value, "__wrapped__", None), True  # by a cache, for example
        return
    for name, part in sorted(_attributes(value).items()):
        if name not in _OF_ANY_MODULE:
            yield name, part, all_of_it


def _attributes(value: Any) -> dict[str, Any]:
    """Return the attributes of an object: of one's own as pickled, of others the public ones."""
    kind = type(value)
    if _is_own(kind):
        state = value.__getstate__()
        attributes: dict[str, Any] = {}
        for part in state if isinstance(state, tuple) else (state,):  # a dictionary, one of slots
            attributes |= part if isinstance(part, dict) else {"state": part}
    else:
        every = getattr(value, "__dict__", {})
        attributes = {name: part for name, part in every.items() if not name.startswith("_")}
    # What is worked out once is there or not.
    cached = {n for each in kind.__mro__ for n, e in vars(each).items()
              if isinstance(e, cached_property)}  # fmt: skip
    return {name: part for name, part in attributes.items() if name not in cached}


def _of_class(kind: type) -> Iterator[tuple[str, Any, bool]]:
    yield "bases", kind.__bases__, True
    for name, part in sorted(vars(kind).items()):
        if name not in _SAYS_NOTHING:
            yield name, part, True


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any, bool]]:
    yield "code", function.__code__, True
    yield "defaults", [function.__defaults__, function.__kwdefaults__], True
    for cell in function.__closure__ or ():
        try:
            yield "cell", cell.cell_contents, True
        except ValueError:  # of what is not there yet
            yield "cell", None, True
    for name in sorted(_globals_of(function.__code__) & function.__globals__.keys()):
        yield name, function.__globals__[name], True
    if wrapped := getattr(function, "__wrapped__", None):
        yield "wrapped", wrapped, True


def _of_code(code: CodeType) -> Iterator[tuple[str, Any, bool]]:
    yield "bytes", code.co_code, True
    for names in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars):
        yield "names", names, True
    for constant in code.co_consts:
        yield "constant", constant, True


def _of_module(module: ModuleType) -> Iterator[tuple[str, Any, bool]]:
    try:
        yield "source", inspect.getsource(module), True
    except (OSError, TypeError):  # such as a notebook
        return


def _globals_of(code: CodeType) -> set[str]:
    """Return the names of global variables that code reads, that of functions inside included."""
    read = {each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL"}
    inside = [each for each in code.co_consts if isinstance(each, CodeType)]
    return read.union(*map(_globals_of, inside))


def _is_shown(kind: type) -> bool:
    """Tell whether objects are what their attributes are: a logger, for one, is what it names."""
    return kind.__reduce__ is object.__reduce__ and kind.__reduce_ex__ is object.__reduce_ex__


def _is_own(value: Any) -> bool:
    """Tell whether a function, class or module is a user's own."""
    name = value.__name__ if isinstance(value, ModuleType) else value.__module__
    return _is_own_module(name or "")


@cache
def _is_own_module(name: str) -> bool:
    root = name.partition(".")[0]
    if root in _LIBRARIES or root in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return name == "__main__"
    return not any(Path(file).is_relative_to(folder) for folder in _INSTALLED)
