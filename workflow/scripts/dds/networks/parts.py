"""Parts of libraries' networks that give way to faster ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)


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
