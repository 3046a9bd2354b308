"""A number that stands for what a network computes, as far as its object tells."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dds.networks.own import is_own, state_of, steady

#: Kinds of settings that are told from each other by how they are written.
_WRITTEN = (
    str,
    int,
    float,
    bool,
    type(None),
    complex,
    bytes,
    range,
    slice,
    np.generic,
    torch.dtype,
)
#: All kinds of which everything is told here.
PLAIN = (*_WRITTEN, Enum, Tensor, np.ndarray)


def network_digest(network: Any, without: Collection[str] = ()) -> str:
    """Return a hash of a network's weights, buffers, classes and settings.

    Equal digests mean equal functions, but for code and objects of other classes: of a function
    or a class only the name is taken, of an object in a setting only that of its class. What of a
    user's own runs, `dds.networks.own_code` tells.

    Parameters
    ----------
    network : Module, or a denoiser that is none
        Of a Module all parts are taken, of any other object its public attributes. The device
        and the mode (training or evaluation) do not count.
    without : collection of str, optional
        Attributes of modules, and of the denoiser, that are left out, such as
        ``mine.Network.calls``.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> network = nn.Linear(2, 2)
    >>> before = network_digest(network)
    >>> with torch.no_grad():
    ...     _ = network.weight.add_(1)
    >>> network_digest(network) == before
    False
    """
    digest = hashlib.sha256()
    parts = [description(network, without)]
    if not isinstance(network, nn.Module):
        inner = [description(one, without) for one in network.networks]
        parts = [_of_object(network, "denoiser", without), *inner]
    for part in chain.from_iterable(parts):
        digest.update(part)
    return digest.hexdigest()


def description(value: Any, without: Collection[str] = ()) -> Iterator[bytes | memoryview]:
    """Yield what a value is: its kind first, then what is in it.

    Parameters
    ----------
    value : object
        Of one that is not of the `PLAIN` kinds, and holds none, the class alone is told.
    without : collection of str, optional
        Attributes of a module, and of those in it, that are left out.
    """
    if isinstance(value, nn.Module):
        for name, module in value.named_modules():
            yield from _of_object(module, f"module {name}", without)
            tensors = chain(
                module.named_parameters(recurse=False), module.named_buffers(recurse=False)
            )
            for key, tensor in tensors:
                yield f"tensor {key}".encode()
                yield from description(tensor)
    elif isinstance(value, Tensor):
        kind = str((value.dtype, tuple(value.shape))).encode()
        numbers = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        yield f"array uint8 ({len(kind) + len(numbers)},)".encode()
        yield kind
        yield numbers.data
    elif isinstance(value, np.ndarray) and value.dtype.hasobject:
        yield from description(value.tolist())
    elif isinstance(value, np.ndarray):
        yield f"array {value.dtype} {value.shape}".encode()
        yield np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
    elif isinstance(value, Enum):
        yield kind_of(value).encode()
        yield str(value.name).encode()
    elif isinstance(value, _WRITTEN):
        yield f"{type(value).__name__} {value!r}".encode()
    elif isinstance(value, Mapping):
        keys = shown_keys(value)
        if not all(map(_is_written, keys)):  # what is in one says how they are sorted
            yield from description(frozenset(_written((key, value[key])) for key in keys))
            return
        yield f"mapping {len(keys)}".encode()
        for key in sorted(keys, key=repr):
            yield repr(key).encode()
            yield from description(value[key])
    elif isinstance(value, set | frozenset):
        yield f"set {sorted(map(_written, value))}".encode()
    elif isinstance(value, partial):
        yield b"partial"
        yield from description([value.func, value.args, value.keywords])
    elif isinstance(value, list | tuple):
        yield f"sequence {len(value)}".encode()
        for item in value:
            yield from description(item)
    elif is_dataclass(value) and not isinstance(value, type):
        yield kind_of(value).encode()
        for field in fields(value):
            yield field.name.encode()
            yield from description(getattr(value, field.name))
    else:
        yield kind_of(value).encode()


def _of_object(value: Any, label: str, without: Collection[str]) -> Iterator[bytes | memoryview]:
    """Yield an object's class and its public attributes; modules in it have a turn of their own."""
    yield label.encode()
    yield kind_of(value).encode()
    attributes = vars(value)
    if is_own(type(value)):  # whose ``__getstate__`` may leave some out
        state = state_of(value)
        attributes = {key: state[key] for key in attributes.keys() & state.keys()}
    for key, setting in sorted(attributes.items()):
        told = not (key.startswith("_") or f"{kind_of(type(value))}.{key}" in without)
        if told and key != "training" and not isinstance(setting, nn.Module):
            yield key.encode()
            yield from description(setting)
    if hasattr(value, "code_with_constants"):  # of TorchScript, where all settings lie in these
        code, constants = value.code_with_constants
        yield code.encode()
        yield from description(constants.const_mapping)


def shown_keys(mapping: Mapping[Any, Any]) -> list[Any]:
    """Return the keys of a mapping, of one of an installed class the public ones.

    A configuration of diffusers', for one, keeps a list in its own keys that each process orders
    otherwise.
    """
    every = type(mapping) is dict or is_own(type(mapping))
    return [key for key in mapping if every or not str(key).startswith("_")]


def _is_written(value: Any) -> bool:
    return isinstance(value, (*_WRITTEN, Enum, type)) or (
        isinstance(value, tuple) and all(map(_is_written, value))
    )


def _written(value: Any) -> str:
    """Return a text for a value, the same in every process; that of an object has its address."""
    if _is_written(value):
        return repr(value)
    digest = hashlib.sha256()
    for part in description(value):
        digest.update(part)
    return digest.hexdigest()


def kind_of(value: Any) -> str:
    """Return the full name of a function or class, and of any other object that of its class."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{steady(getattr(named, '__module__', ''))}.{named.__qualname__}"
