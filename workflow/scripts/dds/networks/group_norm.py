"""Group normalisation with all that surrounds it in a UNet, as one kernel for GPUs.

A UNet's feature maps at high resolution are large and its convolutions there small: on a GPU,
what moves the maps through memory takes longer than the arithmetic. PyTorch's kernels read and
write a map for the bias of a convolution, for its normalisation, for the time's scale and shift
and for the activation; this one writes it once, and reads it once where that fits, else twice. It
also takes maps as channels_last, which convolutions on tensor cores want and PyTorch's own
normalisation copies. Another kernel differentiates it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from dds.networks.parts import tried

# What was the fastest of what was tried on an H100. A program that can hold all pixels of so many
# channels, with so many numbers a thread, reads them once; another one takes more channels, because
# memory is read in long rows, and so many numbers of them a thread at a time.
_HELD_COLUMNS, _HELD, _MOST_WARPS = 32, 64, 16
_COLUMNS, _PER_THREAD, _PER_THREAD_BACKWARD = 64, 32, 16
# Programs that fill a GPU; where there are fewer, because maps are large, each has more threads.
_MANY = 512


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
    y, _ = torch.ops.dds.group_norm(x, groups, weight, bias, eps, before, scale, shift, silu)
    return y


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
) -> tuple[Tensor, Tensor]:
    """PyTorch's kernels, one after another: what the fused one is held against."""
    y = x.float()
    if before is not None:
        y = y + before.float()[:, None, None]
    variance, mean = torch.var_mean(y.unflatten(1, (groups, -1)), (2, 3, 4), correction=0)
    moments = torch.stack([mean, (variance + eps).rsqrt()])
    moments = moments.repeat_interleave(x.shape[1] // groups, dim=2)
    if before is not None:
        moments[0] -= before.float()
    y = functional.group_norm(y, groups, weight.float(), bias.float(), eps)
    if scale is not None:
        y = y * (1 + scale.float()[..., None, None]) + shift.float()[..., None, None]
    return _like(x).copy_(functional.silu(y) if silu else y), moments


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


def _moments(x: Tensor) -> Tensor:
    return x.new_empty(2, x.shape[0], x.shape[1], dtype=torch.float32)


def _sums(x: Tensor) -> Tensor:
    return x.new_empty(3, x.shape[0], x.shape[1], dtype=torch.float32)


def _plain_backward(
    dy: Tensor,
    x: Tensor,
    groups: int,
    moments: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    silu: bool,
) -> tuple[Tensor, Tensor]:
    """Differentiate the same, for the gradient of `x` and the sums of the fused kernel."""
    mean, inverse = moments[..., None, None]
    normalised, gradient = (x.float() - mean) * inverse, dy.float()
    factor, offset = weight.float()[:, None, None], bias.float()[:, None, None]
    if scale is not None:
        scaling = 1 + scale.float()[..., None, None]
        factor, offset = factor * scaling, offset * scaling + shift.float()[..., None, None]
    if silu:
        values = factor * normalised + offset
        share = values.sigmoid()
        gradient = gradient * share * (1 + values * (1 - share))

    def over_group(values: Tensor) -> Tensor:
        means = values.unflatten(1, (groups, -1)).mean((2, 3, 4))
        return means.repeat_interleave(x.shape[1] // groups, dim=1)[..., None, None]

    slope = over_group(factor * gradient * normalised)
    dx = inverse * (factor * gradient - over_group(factor * gradient) - normalised * slope)
    sums = [values.sum((2, 3)) for values in (gradient, gradient * normalised, dx)]
    return _like(x).copy_(dx), torch.stack(sums)


_group_norm = torch.library.custom_op("dds::group_norm", _plain, mutates_args=())
_backward = torch.library.custom_op("dds::group_norm_backward", _plain_backward, mutates_args=())


@_group_norm.register_fake
def _(x, groups, weight, bias, eps, before, scale, shift, silu):
    return _like(x), _moments(x)


@_backward.register_fake
def _(dy, x, groups, moments, weight, bias, scale, shift, silu):
    return _like(x), _sums(x)


def _keep(ctx, inputs, output):
    x, ctx.groups, weight, bias, _, before, scale, shift, ctx.silu = inputs
    ctx.has_before = before is not None
    ctx.save_for_backward(x, output[1], weight, bias, scale, shift)


def _differentiate(ctx, dy, _):
    x, moments, weight, bias, scale, shift = ctx.saved_tensors
    dx, (gradient, product, of_x) = torch.ops.dds.group_norm_backward(
        dy, x, ctx.groups, moments, weight, bias, scale, shift, ctx.silu
    )
    of_scaling = (None, None)
    if scale is not None:
        of_scaling = weight * product + bias * gradient, gradient
        of_scaling = [values.to(scale.dtype) for values in of_scaling]
        gradient, product = (1 + scale) * gradient, (1 + scale) * product
    of_weight, of_bias, of_before = (
        values.sum(0).to(weight.dtype) for values in (product, gradient, of_x)
    )
    of_before = of_before if ctx.has_before else None
    return dx, None, of_weight, of_bias, None, of_before, *of_scaling, None


_group_norm.register_autograd(_differentiate, setup_context=_keep)


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _power_of_2(number: int) -> int:
    """Return the lowest power of 2 that is not below a number: all sizes of Triton's are such."""
    return 1 << (number - 1).bit_length()


def _share(x, groups, least):
    """Return the grid and settings of programs with so many channels of an image, or more."""
    size = x.shape[1] // groups
    aligned = (n for n in _divisors(groups) if n * size >= least and n * size % 16 == 0)
    together = next(aligned, groups)
    settings = {
        "SIZE": size, "GROUPS": together, "GROUPS_PADDED": _power_of_2(together),
        "COLUMNS": _power_of_2(together * size),
    }  # fmt: skip
    return (x.shape[0], groups // together), settings


def _tile_by_tile(x, groups, per_thread):
    """Return the grid and settings of programs that read tiles of an image one after another."""
    grid, settings = _share(x, groups, _COLUMNS)
    warps = 4 if math.prod(grid) >= _MANY else 16
    rows = max(1, 32 * warps * per_thread // settings["COLUMNS"])
    pixels = _power_of_2(x.shape[2] * x.shape[3])
    return grid, settings | {"ROWS": min(rows, pixels), "num_warps": warps}


def _at_once(x, groups):
    """Return the grid and settings of programs that hold all pixels, or None if they cannot."""
    grid, settings = _share(x, groups, _HELD_COLUMNS)
    pixels = _power_of_2(x.shape[2] * x.shape[3])
    warps = math.ceil(pixels * settings["COLUMNS"] / (32 * _HELD))
    if warps > _MOST_WARPS:
        return None
    return grid, settings | {"ROWS": pixels, "num_warps": max(warps, 4)}


def launch(x, groups, weight, bias, eps, before, scale, shift, silu):
    """Run the fused kernel on a map that is channels_last; the arguments of `group_norm`."""
    from dds.networks._group_norm_kernel import normalise

    y, moments = _like(x), _moments(x)
    held = _at_once(x, groups)
    grid, settings = held or _tile_by_tile(x, groups, _PER_THREAD)
    normalise[grid](
        x, y, moments, weight, bias, before, scale, shift, x[0, 0].numel(), x.shape[1], eps,
        ONCE=held is not None, HAS_BEFORE=before is not None, HAS_SCALE=scale is not None,
        SILU=silu, **settings,
    )  # fmt: skip
    return y, moments


def launch_backward(dy, x, groups, moments, weight, bias, scale, shift, silu):
    """Run the fused backward kernel on maps that are channels_last."""
    from dds.networks._group_norm_kernel import differentiate

    dx, sums = _like(x), _sums(x)
    grid, settings = _tile_by_tile(x, groups, _PER_THREAD_BACKWARD)
    differentiate[grid](
        dy, x, moments, weight, bias, scale, shift, dx, sums, x[0, 0].numel(), x.shape[1],
        HAS_SCALE=scale is not None, SILU=silu, **settings,
    )  # fmt: skip
    return dx, sums


def _first(x, groups, weight, bias, eps, before, scale, shift, silu):
    """Return the arguments of `launch` for the first image alone."""
    scale, shift = (each if each is None else each[:1] for each in (scale, shift))
    return x[:1], groups, weight, bias, eps, before, scale, shift, silu


def _first_backward(dy, x, groups, moments, weight, bias, scale, shift, silu):
    """Return the arguments of `launch_backward` for the first image alone."""
    scale, shift = (each if each is None else each[:1] for each in (scale, shift))
    return dy[:1], x[:1], groups, moments[:, :1].contiguous(), weight, bias, scale, shift, silu


_tried = tried(launch, _plain, _first)
_tried_backward = tried(launch_backward, _plain_backward, _first_backward)


@_group_norm.register_kernel("cuda")
def _(x, *arguments):
    return _tried(x.contiguous(memory_format=torch.channels_last), *arguments)


@_backward.register_kernel("cuda")
def _(dy, x, *arguments):
    dy, x = (each.contiguous(memory_format=torch.channels_last) for each in (dy, x))
    return _tried_backward(dy, x, *arguments)
