"""Numbers that stand for what of a user's own runs in networks: code, and what it goes by.

What is installed is told by its name alone; weights and public settings are told by `identity`.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import chain
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from dds.networks.bytecode import in_code, read_by
from dds.networks.identity import PLAIN, description, kind_of, shown_keys
from dds.networks.own import is_own, state_of, steady

#: What every module has: its weights, parts, hooks, its mode, and whether it is compiled.
_OF_ANY_MODULE = {*vars(nn.Module()), "_compiled_call_impl", "_is_torch_compile"}
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
#: What of a class or an object is not run.
_SAYS_NOTHING = {"__dict__", "__weakref__", "__doc__", "__module__", "__annotations__",
                 "__firstlineno__", "__static_attributes__", "__slotnames__"}  # fmt: skip
#: Objects that are somewhere else after each number that they give.
_RANDOM = (random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator,
           torch.Generator)  # fmt: skip

#: Yields what is in a value, is sent the hash of each, and returns that of the whole.
_Visit: TypeAlias = Generator[Any, bytes, bytes]
#: Names of attributes, and what they hold.
_Attributes: TypeAlias = Iterator[tuple[str, Any]]


def own_code(*networks: Any) -> dict[str, str]:
    """Return a hash of each thing of a user's own that networks run, and of what it goes by.

    Own is what is not installed: of a file beside the work, of a notebook. Of its functions and
    classes the code is taken, with the global variables that it names and what it names of modules
    of one's own; of its objects the attributes that pickle takes, private ones included, so that
    ``__getstate__`` may leave some out; of what is installed the functions of one's own that were
    put into it, and of objects what pickle takes. A comment, a docstring, or a line that moves
    changes nothing.

    Not seen are functions of one's own put into installed modules in the place of theirs, modules
    that attributes hold or that are imported by a text, files that are read, and the state of
    random generators and of what cannot be pickled.

    Parameters
    ----------
    *networks : Module, or a denoiser that is none
        With their hooks.

    Returns
    -------
    dict of str to str
        A hash by name, such as ``mine.Network.forward.__code__``, ``mine.GAIN`` for a global
        variable, or ``mine.Network.scale`` for that attribute of all such objects. What runs in
        another version of Python has others.

    Examples
    --------
    Where all code is installed there is none:

    >>> own_code(nn.Linear(2, 2))
    {}
    """
    return _Reader(networks).parts()


class _Reader:
    """Takes what networks hold, and what that holds, each once."""

    def __init__(self, networks: tuple[Any, ...]) -> None:
        self._parts: dict[str, list[bytes]] = {}
        self._globals: list[tuple[str, Any]] = []
        self._known: set[tuple[str, int]] = set()
        self._numbers: Counter[str] = Counter()
        self._in_place = 0
        self._seen: dict[tuple[int, bool], tuple[bytes, Any]] = {}
        # `identity` tells these; they are but searched for what is own in them.
        self._modules = {id(module) for module in _modules_in(networks)}
        for number, module in enumerate(_modules_in(networks)):
            own = chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False))
            for name, weight in own:
                told = _hash("weight", str(number), name), weight
                self._seen |= {(id(weight), in_place): told for in_place in (False, True)}
        for network in networks:
            self._read(network)
        for name, value in self._globals:  # reading one may find more
            self._note(name, self._read(value))

    def parts(self) -> dict[str, str]:
        """Return the hashes by the names of what they stand for."""
        return {name: _hash(*found).hex()[:16] for name, found in sorted(self._parts.items())}

    def _note(self, name: str, found: bytes) -> None:
        self._parts.setdefault(name, []).append(found)

    def _read(self, value: Any) -> bytes:
        """Return the hash of a value. Visits wait in a list, for Python's stack is soon full."""
        visits: list[_Visit] = [self._visit(value)]
        found: Any = None
        while visits:
            try:
                inside = visits[-1].send(found)
            except StopIteration as ended:
                visits.pop()
                found = ended.value
            else:
                visits.append(self._visit(inside))
                found = None
        return found

    def _visit(self, value: Any) -> _Visit:
        key = id(value), self._in_place > 0
        if key not in self._seen:
            # Held, lest another gets its id. What holds itself finds this.
            self._seen[key] = _hash("again", kind_of(value)), value
            self._seen[key] = (yield from self._look_into(value)), value
        return self._seen[key][0]

    def _look_into(self, value: Any) -> _Visit:
        if isinstance(value, nn.Module):
            return (yield from self._module(value))
        if isinstance(value, FunctionType | type):
            return (yield from self._named(value))
        if is_own(type(value)):
            yield type(value)
            return (yield from self._thing(value, kind_of(type(value)), _of_object(value)))
        if isinstance(value, PLAIN):
            return _hash(*description(value))
        if isinstance(value, Mapping):
            return (yield from self._mapping(value))
        if isinstance(value, set | frozenset):
            return (yield from self._unordered(value))
        parts = value if isinstance(value, list | tuple) else _in_object(value)
        return (yield from _in_order(kind_of(value), parts))

    def _thing(self, value: Any, name: str, attributes: _Attributes) -> _Visit:
        """Tell a thing by its name, and which of that name it is; each attribute is a part."""
        if self._in_place:
            return (yield from _in_order(name, chain.from_iterable(attributes)))
        told = _hash(name, str(self._numbers[name]))
        self._numbers[name] += 1
        self._seen[id(value), False] = told, value
        for attribute, held in attributes:
            self._note(f"{name}.{attribute}", (yield held))
        return told

    def _named(self, value: FunctionType | type) -> _Visit:
        if not is_own(value):
            return (yield from _in_order(kind_of(value), _put_into(value)))
        if isinstance(value, type):
            return (yield from self._thing(value, kind_of(value), _of_class(value)))
        for name, held in read_by(value):
            if (name, id(held)) not in self._known:
                self._known.add((name, id(held)))
                self._globals.append((name, held))
        return (yield from self._thing(value, kind_of(value), _of_function(value)))

    def _module(self, module: nn.Module) -> _Visit:
        kind = type(module)
        yield kind
        if id(module) not in self._modules:
            attributes = chain(_of_module(module), _settings(module), _parts(module))
            return (yield from self._thing(module, kind_of(kind), attributes))
        told = yield from self._thing(module, kind_of(kind), _of_module(module))
        for _, held in chain(_settings(module), module.named_children()):
            yield held
        return told

    def _mapping(self, mapping: Mapping[Any, Any]) -> _Visit:
        if not all(isinstance(key, str) for key in mapping):
            return (yield from self._unordered(mapping.items()))
        keys = sorted(shown_keys(mapping))
        return (yield from _in_order("mapping", [keys, *(mapping[key] for key in keys)]))

    def _unordered(self, items: Iterable[Any]) -> _Visit:
        """Tell items in an order that what is in them decides, which is all told in place."""
        self._in_place += 1
        hashes = []
        for item in items:
            hashes.append((yield item))
        self._in_place -= 1
        return _hash("unordered", *sorted(hashes))


def _hash(*parts: Any) -> bytes:
    """Return a hash of texts and bytes, each told from the next."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\0")
    return digest.digest()


def _in_order(name: str, parts: Iterable[Any]) -> _Visit:
    hashes = []
    for part in parts:
        hashes.append((yield part))
    return _hash(name, *hashes)


def _modules_in(networks: Iterable[Any]) -> Iterator[nn.Module]:
    for network in networks:
        for one in [network] if isinstance(network, nn.Module) else network.networks:
            yield from one.modules()


def _of_module(module: nn.Module) -> _Attributes:
    """Yield of a module what `identity` does not tell."""
    for name in _HOOKS:
        if hooks := getattr(module, name, None):
            yield name, list(hooks.values())
    if is_own(type(module)):
        state = state_of(module)
        yield from _sorted({name: state[name] for name in state.keys() - _OF_ANY_MODULE})
    elif isinstance(code := getattr(module, "code", None), str):
        yield "code", code  # that PyTorch has written


def _settings(module: nn.Module) -> _Attributes:
    """Yield the public attributes of an installed module, which `identity` tells of a network."""
    if not is_own(type(module)):
        public = {name: held for name, held in vars(module).items() if not name.startswith("_")}
        yield from _sorted({name: public[name] for name in public.keys() - _OF_ANY_MODULE})


def _parts(module: nn.Module) -> _Attributes:
    yield "_parameters", dict(module.named_parameters(recurse=False))
    yield "_buffers", dict(module.named_buffers(recurse=False))
    yield "_modules", dict(module.named_children())


def _of_object(value: Any) -> _Attributes:
    yield from _sorted(state_of(value))
    if isinstance(value, PLAIN):
        yield "contents", _hash(*description(value))
    elif isinstance(value, dict):
        yield "contents", dict(value)
    elif isinstance(value, list | tuple):
        yield "contents", list(value)
    elif isinstance(value, set | frozenset):
        yield "contents", set(value)


def _of_class(kind: type) -> _Attributes:
    yield "__bases__", kind.__bases__
    yield from _sorted(vars(kind))


def _of_function(function: FunctionType) -> _Attributes:
    yield "__code__", function.__code__
    for name in ("__defaults__", "__kwdefaults__"):
        if defaults := getattr(function, name):
            yield name, defaults
    yield from _cells(function).items()
    yield from _sorted(vars(function))


def _sorted(attributes: Mapping[Any, Any]) -> _Attributes:
    yield from sorted(
        ((str(name), held) for name, held in attributes.items() if name not in _SAYS_NOTHING),
        key=lambda attribute: attribute[0],
    )


def _cells(function: FunctionType) -> dict[str, Any]:
    """Return what a function has from those around it; of what is not there yet, nothing."""
    held = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):
            held[name] = cell.cell_contents
    return held


def _put_into(value: FunctionType | type) -> Iterator[Any]:
    """Yield the functions of one's own that something installed was given."""
    if isinstance(value, type):
        held = chain.from_iterable(vars(kind).values() for kind in value.__mro__)
        yield from (one for one in held if isinstance(one, FunctionType) and is_own(one))
    else:
        # Numbers and texts there are of the library's own business, such as addresses.
        yield from (one for one in vars(value).values() if not isinstance(one, PLAIN))
        yield from (one for one in _cells(value).values() if isinstance(one, FunctionType))


def _in_object(value: Any) -> Iterator[Any]:
    """Yield what an object of no class of one's own is made of: for most, what pickle takes."""
    if isinstance(value, CodeType):
        yield from in_code(value)
    elif isinstance(value, ModuleType):
        yield steady(value.__name__)
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, staticmethod | classmethod):
        yield value.__func__
    elif isinstance(value, property):
        yield from (value.fget, value.fset)
    elif isinstance(value, partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, torch.jit.ScriptFunction):
        yield value.code
    elif "__wrapped__" in getattr(value, "__dict__", ()):  # by a cache, for example
        yield value.__wrapped__
    elif not isinstance(value, _RANDOM):
        yield from _pickled(value)


def _pickled(value: Any) -> Iterator[Any]:
    try:
        reduced = value.__reduce_ex__(2)
    except Exception:  # what cannot be pickled
        return
    if isinstance(reduced, str):
        yield reduced
        return
    make, arguments, state, items, pairs = (*reduced, *[None] * 5)[:5]
    yield from (make, arguments)
    yield dict(_sorted(state)) if isinstance(state, dict) else state
    yield list(items or ())
    yield dict(pairs or ())
