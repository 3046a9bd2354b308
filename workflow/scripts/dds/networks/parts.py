"""Parts of libraries' networks that give way to faster ones, and what those ask."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)

#: Triton comes with PyTorch, but not on every system.
HAS_TRITON = find_spec("triton") is not None


def become(network: Network, faster: Mapping[type[nn.Module], type[nn.Module]]) -> Network:
    """Let the parts of a network that have a faster kind become it, in place.

    Parameters
    ----------
    network : Module
        Its parameters keep their names and values.
    faster : mapping of type to type
        From a class to one that is derived from it, computes the same and has no state of its own.

    Returns
    -------
    Module
        The same.
    """
    for module in network.modules():
        module.__class__ = faster.get(type(module), type(module))
    return network


def computed_in(x: Tensor) -> torch.dtype:
    """Return the type in which PyTorch multiplies a tensor by weights.

    Parameters
    ----------
    x : Tensor
        In floating point, on any device.

    Returns
    -------
    dtype
        That of autocast where it is on, else the tensor's own.

    Examples
    --------
    >>> computed_in(torch.zeros(1))
    torch.float32
    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     computed_in(torch.zeros(1))
    torch.bfloat16
    """
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
