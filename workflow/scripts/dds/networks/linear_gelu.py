"""The first half of a vision transformer's perceptrons as one kernel: linear layer and GELU.

The hidden units of a perceptron are the widest that a transformer has. PyTorch writes them, reads
them for the activation and writes them again, and on a GPU that takes half as long as the matrix
product that made them; here the product's program activates them before it writes them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import register_flop_formula

from dds.networks.parts import infers_on_hopper, tried

# What was the fastest of what was tried on an H100: the tile of a program, how much of the inputs
# it reads at a time and how often ahead, and how many rows of tiles lie in a band.
_ROWS, _COLUMNS, _DEPTH, _STAGES, _WARPS, _BAND = 128, 256, 64, 3, 8, 8

_ALIGNMENT = 8  # in numbers of 2 bytes: rows of what is read so begin at multiples of 16 bytes


def linear_gelu(x: Tensor, linear: nn.Module) -> Tensor:
    """Return ``gelu(linear(x))``, as one kernel where there is one.

    There is one for bfloat16 on GPUs of the Hopper generation, where nothing is differentiated.

    Parameters
    ----------
    x : Tensor, shape (..., inputs)
        What is fed to the layer.
    linear : Module
        A linear layer, or what stands for one.

    Returns
    -------
    Tensor, shape (..., outputs)

    References
    ----------
    Hendrycks and Gimpel (2016): Gaussian error linear units. arXiv:1606.08415. Its exact form,
    x times the standard normal distribution function of x.

    Examples
    --------
    >>> linear = nn.Linear(2, 3)
    >>> x = torch.ones(1, 2)
    >>> bool(torch.equal(linear_gelu(x, linear), functional.gelu(linear(x))))
    True
    """
    if not _has_kernel(x, linear):
        return functional.gelu(linear(x))
    # Not as a matrix: what ends in a view the compiler copies, in a kernel of its own.
    return torch.ops.dds.linear_gelu(
        x.to(torch.bfloat16), linear.weight.to(torch.bfloat16), linear.bias
    )


def _has_kernel(x: Tensor, linear: nn.Module) -> bool:
    return (
        x.ndim > 1
        and type(linear) is nn.Linear
        and linear.bias is not None
        and not (linear._forward_pre_hooks or linear._forward_hooks)  # which wait for its call
        and not any(size % _ALIGNMENT for size in linear.weight.shape)
        and infers_on_hopper(x)
    )


def _plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """PyTorch's kernels, one after another: what the fused one is held against."""
    return functional.gelu(functional.linear(x, weight, bias.to(x.dtype)))


_operator = torch.library.custom_op("dds::linear_gelu", _plain, mutates_args=())


@_operator.register_fake
def _(x, weight, bias):
    return x.new_empty(*x.shape[:-1], len(weight))


def launch(x: Tensor, weight: Tensor, bias: Tensor, programs: int) -> Tensor:
    """Run the fused kernel on matrices whose rows lie one after another, in so many programs."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    from dds.networks._linear_gelu_kernel import multiply

    y = x.new_empty(len(x), len(weight))
    multiply[(programs,)](
        TensorDescriptor.from_tensor(x, [_ROWS, _DEPTH]),
        TensorDescriptor.from_tensor(weight, [_COLUMNS, _DEPTH]),
        bias,
        TensorDescriptor.from_tensor(y, [_ROWS, _COLUMNS // 2]),
        len(x), len(weight), x.shape[1],
        ROWS=_ROWS, COLUMNS=_COLUMNS, DEPTH=_DEPTH, BAND=_BAND,
        num_stages=_STAGES, num_warps=_WARPS,
    )  # fmt: skip
    return y


def _fill(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Run the fused kernel in as many programs as the GPU has multiprocessors."""
    programs = torch.cuda.get_device_properties(x.device).multi_processor_count
    y = launch(x.flatten(0, -2), weight, bias, programs)
    return y.reshape(*x.shape[:-1], len(weight))


_tried = tried(_fill, _plain)


@_operator.register_kernel("cuda")
def _(x, weight, bias):
    return _tried(x.contiguous(), weight.contiguous(), bias)


@register_flop_formula(torch.ops.dds.linear_gelu)
def _flop(x, weight, bias, *, out_shape, **_) -> int:
    return 2 * math.prod(x) * weight[0]
