"""The kernels of `dds.networks.group_norm`, apart because Triton is only there with some GPUs.

A program has GROUPS groups of SIZE channels of an image. Rows of its tiles are pixels and columns
channels, as channels_last has them. Where a tile holds all pixels, it is read once.
"""

import triton
import triton.language as tl


@triton.jit
def normalise(
    x, y, moments, weight, bias, before, scale, shift, pixels, channels, eps,
    SIZE: tl.constexpr, GROUPS: tl.constexpr, GROUPS_PADDED: tl.constexpr,
    COLUMNS: tl.constexpr, ROWS: tl.constexpr, ONCE: tl.constexpr,
    HAS_BEFORE: tl.constexpr, HAS_SCALE: tl.constexpr, SILU: tl.constexpr,
):  # fmt: skip
    """Normalise, and write each channel's mean (without `before`) and 1 / standard deviation."""
    image, inside, channel, members = _place(SIZE, GROUPS, GROUPS_PADDED, COLUMNS)
    row = tl.arange(0, ROWS)
    of_image = image * channels + channel
    x += image * pixels * channels
    y += image * pixels * channels
    at = row[:, None] * channels + channel[None, :]

    added = tl.zeros([COLUMNS], tl.float32)
    if HAS_BEFORE:
        added = tl.load(before + channel, inside, 0.0).to(tl.float32)
    # A channel's first number is taken from all of them before they are squared, so that
    # variances are not small differences of large sums.
    origin = tl.load(x + channel, inside, 0.0).to(tl.float32)
    if ONCE:
        all_there = (row[:, None] < pixels) & inside[None, :]
        whole = tl.load(x + at, all_there, 0.0)
        apart = tl.where(all_there, whole.to(tl.float32) - origin[None, :], 0.0)
        sums, squares = tl.sum(apart, 0), tl.sum(apart * apart, 0)
    else:
        summed = tl.zeros([ROWS, COLUMNS], tl.float32)
        squared = tl.zeros([ROWS, COLUMNS], tl.float32)
        for start in range(0, pixels, ROWS):
            there = (start + row[:, None] < pixels) & inside[None, :]
            tile = tl.load(x + start * channels + at, there, 0.0).to(tl.float32)
            apart = tl.where(there, tile - origin[None, :], 0.0)
            summed += apart
            squared += apart * apart
        sums, squares = tl.sum(summed, 0), tl.sum(squared, 0)
    of_channel = origin + added + sums / pixels
    mean = _over_groups(of_channel, members) / SIZE
    spread = tl.where(inside, of_channel - mean, 0.0)
    squares += pixels * spread * spread - sums * sums / pixels
    variance = _over_groups(squares, members) / (SIZE * pixels)
    inverse = tl.rsqrt(tl.maximum(variance, 0.0) + eps)
    mean -= added
    tl.store(moments + of_image, mean, inside)
    tl.store(moments + tl.num_programs(0) * channels + of_image, inverse, inside)

    factor = tl.load(weight + channel, inside, 0.0).to(tl.float32) * inverse
    offset = tl.load(bias + channel, inside, 0.0).to(tl.float32) - mean * factor
    if HAS_SCALE:
        factor, offset = _scaled(factor, offset, scale + of_image, shift + of_image, inside)
    if ONCE:
        tile = _activate(whole.to(tl.float32) * factor[None, :] + offset[None, :], SILU)
        tl.store(y + at, tile.to(y.dtype.element_ty), all_there)
    else:
        for start in range(0, pixels, ROWS):
            there = (start + row[:, None] < pixels) & inside[None, :]
            tile = tl.load(x + start * channels + at, there, 0.0).to(tl.float32)
            tile = _activate(tile * factor[None, :] + offset[None, :], SILU)
            tl.store(y + start * channels + at, tile.to(y.dtype.element_ty), there)


@triton.jit
def differentiate(
    dy, x, moments, weight, bias, scale, shift, dx, sums, pixels, channels,
    SIZE: tl.constexpr, GROUPS: tl.constexpr, GROUPS_PADDED: tl.constexpr,
    COLUMNS: tl.constexpr, ROWS: tl.constexpr,
    HAS_SCALE: tl.constexpr, SILU: tl.constexpr,
):  # fmt: skip
    """Write the gradient of `x`, and sums over pixels, a row each of (3, batch, channels).

    The first two are of the gradient before the activation: alone, and times what is normalised.
    The third is of the gradient of `x`.
    """
    image, inside, channel, members = _place(SIZE, GROUPS, GROUPS_PADDED, COLUMNS)
    row = tl.arange(0, ROWS)
    x += image * pixels * channels
    dy += image * pixels * channels
    dx += image * pixels * channels
    at = row[:, None] * channels + channel[None, :]
    of_image = image * channels + channel
    of_next = tl.num_programs(0) * channels

    mean = tl.load(moments + of_image, inside, 0.0)
    inverse = tl.load(moments + of_next + of_image, inside, 0.0)
    factor = tl.load(weight + channel, inside, 0.0).to(tl.float32)
    offset = tl.load(bias + channel, inside, 0.0).to(tl.float32)
    if HAS_SCALE:
        factor, offset = _scaled(factor, offset, scale + of_image, shift + of_image, inside)

    gradients = tl.zeros([ROWS, COLUMNS], tl.float32)
    products = tl.zeros([ROWS, COLUMNS], tl.float32)
    normalised = tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(0, pixels, ROWS):
        there = (start + row[:, None] < pixels) & inside[None, :]
        tile = tl.load(x + start * channels + at, there, 0.0).to(tl.float32)
        tile = tl.where(there, (tile - mean[None, :]) * inverse[None, :], 0.0)
        gradient = tl.load(dy + start * channels + at, there, 0.0).to(tl.float32)
        gradient = _undo(gradient, tile * factor[None, :] + offset[None, :], SILU)
        gradients += gradient
        products += gradient * tile
        normalised += tile
    gradient_sum, product_sum = tl.sum(gradients, 0), tl.sum(products, 0)
    common = _over_groups(factor * gradient_sum, members) / (SIZE * pixels)
    slope = _over_groups(factor * product_sum, members) / (SIZE * pixels)
    of_x = factor * gradient_sum - pixels * common - tl.sum(normalised, 0) * slope
    tl.store(sums + of_image, gradient_sum, inside)
    tl.store(sums + of_next + of_image, product_sum, inside)
    tl.store(sums + 2 * of_next + of_image, inverse * of_x, inside)

    for start in range(0, pixels, ROWS):
        there = (start + row[:, None] < pixels) & inside[None, :]
        tile = tl.load(x + start * channels + at, there, 0.0).to(tl.float32)
        tile = (tile - mean[None, :]) * inverse[None, :]
        gradient = tl.load(dy + start * channels + at, there, 0.0).to(tl.float32)
        gradient = _undo(gradient, tile * factor[None, :] + offset[None, :], SILU)
        gradient = factor[None, :] * gradient - common[None, :] - tile * slope[None, :]
        gradient *= inverse[None, :]
        tl.store(dx + start * channels + at, gradient.to(dx.dtype.element_ty), there)


@triton.jit
def _place(
    SIZE: tl.constexpr, GROUPS: tl.constexpr, GROUPS_PADDED: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    """Return a program's image, which of its columns there are, their channels and their groups."""
    image = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, COLUMNS)
    inside = column < GROUPS * SIZE
    channel = tl.program_id(1) * (GROUPS * SIZE) + column
    members = (column // SIZE)[None, :] == tl.arange(0, GROUPS_PADDED)[:, None]
    return image, inside, channel, members


@triton.jit
def _scaled(factor, offset, scale, shift, inside):
    """Return what an image's scale and shift make of a factor and an offset of each channel."""
    scaling = 1.0 + tl.load(scale, inside, 0.0).to(tl.float32)
    factor *= scaling
    return factor, offset * scaling + tl.load(shift, inside, 0.0).to(tl.float32)


@triton.jit
def _activate(values, SILU: tl.constexpr):
    if SILU:
        values = values * tl.sigmoid(values)
    return values


@triton.jit
def _undo(gradient, values, SILU: tl.constexpr):
    """Carry a gradient from after the activation of `values` to before it."""
    if SILU:
        share = tl.sigmoid(values)
        gradient = gradient * share * (1.0 + values * (1.0 - share))
    return gradient


@triton.jit
def _over_groups(values, members):
    """Sum over the columns of each group, and give every column its group's sum."""
    sums = tl.sum(tl.where(members, values[None, :], 0.0), 1)
    return tl.sum(tl.where(members, sums[:, None], 0.0), 0)
