"""A number that stands for what a network computes, as far as its object tells."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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


def network_digest(network: Any) -> str:
    """Return a hash of a network's weights, buffers, classes and settings.

    Equal digests mean equal functions, but for code and objects of other classes: of a function
    or a class only the name is taken, of an object in a setting only that of its class. What of a
    user's own runs, `dds.networks.own_code` tells.

    Parameters
    ----------
    network : Module, or a denoiser that is none
        Of a Module all parts are taken, of any other object its public attributes. The device
        and the mode (training or evaluation) do not count.

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
    parts = [description(network)]
    if not isinstance(network, nn.Module):
        parts = [_of_object(network, "denoiser"), *map(description, network.networks)]
    for part in chain.from_iterable(parts):
        digest.update(part)
    return digest.hexdigest()


def description(value: Any) -> Iterator[bytes]:
    """Yield what a value is: its kind first, then what is in it.

    Parameters
    ----------
    value : object
        Of one that is not of the `PLAIN` kinds, and holds none, the class alone is told.
    """
    if isinstance(value, nn.Module):
        for name, module in value.named_modules():
            yield from _of_object(module, f"module {name}")
            tensors = chain(
                module.named_parameters(recurse=False), module.named_buffers(recurse=False)
            )
            for key, tensor in tensors:
                yield f"tensor {key}".encode()
                yield from description(tensor)
    elif isinstance(value, Tensor):
        yield from description(_numbers(value.detach().cpu()))
    elif isinstance(value, np.ndarray):
        yield f"array {value.dtype} {value.shape}".encode()
        yield value.tobytes()
    elif isinstance(value, Enum):
        yield kind_of(value).encode()
        yield str(value.name).encode()
    elif isinstance(value, _WRITTEN):
        yield f"{type(value).__name__} {value!r}".encode()
    elif isinstance(value, Mapping):
        yield f"mapping {len(value)}".encode()
        for key in sorted(value, key=repr):
            yield repr(key).encode()
            yield from description(value[key])
    elif isinstance(value, set | frozenset):
        yield f"set {sorted(map(repr, value))}".encode()
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


def _of_object(value: Any, label: str) -> Iterator[bytes]:
    """Yield an object's class and its public attributes; modules in it have a turn of their own."""
    yield label.encode()
    yield kind_of(value).encode()
    for key, setting in sorted(vars(value).items()):
        if not key.startswith("_") and key != "training" and not isinstance(setting, nn.Module):
            yield key.encode()
            yield from description(setting)
    if hasattr(value, "code_with_constants"):  # of TorchScript, where all settings lie in these
        code, constants = value.code_with_constants
        yield code.encode()
        yield from description(constants.const_mapping)


def kind_of(value: Any) -> str:
    """Return the full name of a function or class, and of any other object that of its class."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(named, '__module__', '')}.{named.__qualname__}"


def _numbers(tensor: Tensor) -> np.ndarray:
    """Return a tensor's bytes, of whatever type, as an array."""
    flat = tensor.contiguous().reshape(-1)
    kind = np.frombuffer(str((tensor.dtype, tuple(tensor.shape))).encode(), np.uint8)
    return np.concatenate([kind, flat.view(torch.uint8).numpy()])
