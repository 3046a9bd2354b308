"""Group normalisation with all that surrounds it in a UNet, as one kernel for GPUs.

A UNet's feature maps at high resolution are large and its convolutions there small: on a GPU,
what moves the maps through memory takes longer than the arithmetic. PyTorch's kernels read and
write a map for the bias of a convolution, for its normalisation, for the time's scale and shift
and for the activation; this one reads it twice, the second time in part from the cache, and
writes it once. It also takes maps as channels_last, which convolutions on tensor cores want and
PyTorch's own normalisation copies.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional

# What keeps memory busy: numbers of a tile that a thread holds, and programs that fill a GPU;
# where there are fewer, because maps are large, each has more threads.
_PER_THREAD, _MANY = 32, 512


def group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    *,
    before: Tensor | None = None,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    silu: bool = False,
) -> Tensor:
    """Normalise, scale and shift, and activate a feature map.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, height, width)
        In any floating type; sums are in float32.
    groups : int
        Of neighbouring channels, each normalised with its own mean and variance of an image.
    weight, bias : Tensor, shape (channels,)
        Of the normalisation.
    eps : float
        Added to variances.
    before : Tensor, shape (channels,), optional
        Added to `x` first: the bias of the convolution that made it.
    scale, shift : Tensor, shape (batch, channels), optional
        What is normalised is multiplied by ``1 + scale``, and `shift` is added.
    silu : bool, optional
        Whether ``y * sigmoid(y)`` comes last.

    Returns
    -------
    Tensor
        In the shape and type of `x`, in memory as channels_last.

    References
    ----------
    Wu and He (2018): Group normalization. ECCV. Equation 7.
    Dhariwal and Nichol (2021): Diffusion models beat GANs on image synthesis. NeurIPS.
    Section 3.1, adaptive group normalisation.
    """
    if scale is not None:
        scale, shift = scale.contiguous(), shift.contiguous()
    return torch.ops.dds.group_norm(x, groups, weight, bias, eps, before, scale, shift, silu)


def _plain(
    x: Tensor,
    groups: int,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    before: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    silu: bool,
) -> Tensor:
    """PyTorch's kernels, one after another: what the fused one is held against."""
    y = x.float()
    if before is not None:
        y = y + before.float()[:, None, None]
    y = functional.group_norm(y, groups, weight.float(), bias.float(), eps)
    if scale is not None:
        y = y * (1 + scale.float()[..., None, None]) + shift.float()[..., None, None]
    return _like(x).copy_(functional.silu(y) if silu else y)


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


_group_norm = torch.library.custom_op("dds::group_norm", _plain, mutates_args=())


@_group_norm.register_fake
def _(x, groups, weight, bias, eps, before, scale, shift, silu):
    return _like(x)


@_group_norm.register_kernel("cuda")
def _(x, *arguments):
    if find_spec("triton") is None:  # it comes with PyTorch, but not on every system
        return _plain(x, *arguments)
    return launch(x.contiguous(memory_format=torch.channels_last), *arguments)


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def launch(x, groups, weight, bias, eps, before, scale, shift, silu):
    """Run the fused kernel on a map that is channels_last; the arguments of `group_norm`."""
    import triton

    from dds.networks._group_norm_kernel import normalise

    batch, channels, height, width = x.shape
    size, pixels = channels // groups, height * width
    together = next((n for n in _divisors(groups) if n * size >= 32 and n * size % 16 == 0), groups)
    programs, columns = batch * (groups // together), triton.next_power_of_2(together * size)
    warps = 4 if programs >= _MANY else 16
    rows = min(triton.next_power_of_2(pixels), max(1, 32 * warps * _PER_THREAD // columns))
    y = _like(x)
    normalise[batch, groups // together](
        x, y, weight, bias, before, scale, shift, pixels, channels, eps,
        SIZE=size, GROUPS=together, GROUPS_PADDED=triton.next_power_of_2(together),
        COLUMNS=columns, ROWS=rows,
        HAS_BEFORE=before is not None, HAS_SCALE=scale is not None, SILU=silu,
        num_warps=warps,
    )  # fmt: skip
    return y
