"""Parts of libraries' networks that give way to faster ones, and what those ask."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dds.reasons import first_line

logger = logging.getLogger(__name__)

Network = TypeVar("Network", bound=nn.Module)

#: How far a fused kernel may be from PyTorch's, as a share: bfloat16 rounds by up to 0.004.
_ROUNDING = 0.02

# The capability of the Hopper generation, whose GPUs read tiles by themselves.
_HOPPER = (9, 0)


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


def _first(x: Tensor, *rest: Any) -> tuple[Any, ...]:
    return x[:1], *rest


def tried(
    fused: Callable[..., Any],
    plain: Callable[..., Any],
    first: Callable[..., tuple[Any, ...]] = _first,
) -> Callable[..., Any]:
    """Return a fused kernel that gives way to PyTorch's where it fails, or answers otherwise.

    Compilers, drivers and GPUs are others than those it was measured with. It is tried on each
    device with the first sample that it is called with; the log says where it is left out.

    Parameters
    ----------
    fused : callable
        What is called with a tensor of samples and others; returns a tensor, or several.
    plain : callable
        Computes the same but for rounding.
    first : callable, optional
        From what these are called with to what is of the first sample. By default only the first
        tensor is of samples each.

    Returns
    -------
    callable
        Computes what both do.
    """
    works: dict[torch.device, bool] = {}

    def run(x: Tensor, *rest: Any) -> Any:
        if x.device not in works and not _is_recorded(x):
            works[x.device] = _works(fused, plain, first(x, *rest))
        return (fused if works.get(x.device, True) else plain)(x, *rest)

    return run


def _is_recorded(x: Tensor) -> bool:
    """Tell whether a CUDA graph records what is run: that has run before, and cannot be read."""
    return x.is_cuda and torch.cuda.is_current_stream_capturing()


def _works(fused: Callable[..., Any], plain: Callable[..., Any], given: tuple[Any, ...]) -> bool:
    """Tell whether a fused kernel runs and answers as PyTorch's do; if not, say so in the log."""
    expected = _values(plain(*given))
    try:
        apart = (_values(fused(*given)) - expected).norm()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # compilers and drivers fail in many ways, none of them fatal here
        reason = type(error).__name__ + ": " + first_line(error)
    else:
        if apart <= _ROUNDING * expected.norm() or not expected.isfinite().all():
            return True
        reason = "it answers otherwise than PyTorch's"
    logger.warning("the fused kernel %s is left out: %s", plain.__module__, reason)
    return False


def _values(answer: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Return the first of what a kernel answers, in float32."""
    return (answer[0] if isinstance(answer, tuple) else answer).float()


def infers_on_hopper(x: Tensor) -> bool:
    """Tell whether a tensor is computed with as was measured on GPUs of the Hopper generation.

    That is on one of them, in bfloat16, where nothing is differentiated.
    """
    return (
        x.is_cuda
        and computed_in(x) == torch.bfloat16
        and not torch.is_grad_enabled()
        and _is_hopper(x.device)
    )


@torch.compiler.assume_constant_result
def _is_hopper(device: torch.device) -> bool:
    is_nvidia = torch.version.cuda is not None  # AMD numbers its GPUs otherwise
    return is_nvidia and torch.cuda.get_device_capability(device) == _HOPPER


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
    >>> computed_in(torch.zeros(1, device="meta"))
    torch.float32
    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     computed_in(torch.zeros(1))
    torch.bfloat16
    """
    kind = x.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):  # no numbers, no autocast
        return x.dtype
    return torch.get_autocast_dtype(kind)
