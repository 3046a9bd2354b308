"""The kernels of `dds.networks.group_norm`, apart because Triton is only there with some GPUs."""

import triton
import triton.language as tl


@triton.jit
def normalise(
    x, y, weight, bias, before, scale, shift, pixels, channels, eps,
    SIZE: tl.constexpr, GROUPS: tl.constexpr, GROUPS_PADDED: tl.constexpr,
    COLUMNS: tl.constexpr, ROWS: tl.constexpr,
    HAS_BEFORE: tl.constexpr, HAS_SCALE: tl.constexpr, SILU: tl.constexpr,
):  # fmt: skip
    """Normalise GROUPS groups of SIZE channels of an image; a program each.

    Rows of a tile are pixels and columns channels, as channels_last has them.
    """
    image = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, COLUMNS)
    inside = column < GROUPS * SIZE
    channel = tl.program_id(1) * (GROUPS * SIZE) + column
    members = (column // SIZE)[None, :] == tl.arange(0, GROUPS_PADDED)[:, None]
    row = tl.arange(0, ROWS)
    x += image * pixels * channels
    y += image * pixels * channels
    at = row[:, None] * channels + channel[None, :]

    added = tl.zeros([COLUMNS], tl.float32)
    if HAS_BEFORE:
        added = tl.load(before + channel, inside, 0.0).to(tl.float32)
    # A channel's first number is taken from all of them before they are squared, so that
    # variances are not small differences of large sums.
    origin = tl.load(x + channel, inside, 0.0).to(tl.float32)
    sums = tl.zeros([ROWS, COLUMNS], tl.float32)
    squares = tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(0, pixels, ROWS):
        there = (start + row[:, None] < pixels) & inside[None, :]
        tile = tl.load(x + start * channels + at, there, 0.0).to(tl.float32)
        apart = tl.where(there, tile - origin[None, :], 0.0)
        sums += apart
        squares += apart * apart
    sums, squares = tl.sum(sums, 0), tl.sum(squares, 0)
    of_channel = origin + added + sums / pixels
    mean = _over_groups(of_channel, members) / SIZE
    spread = tl.where(inside, of_channel - mean, 0.0)
    squares += pixels * spread * spread - sums * sums / pixels
    variance = _over_groups(squares, members) / (SIZE * pixels)

    factor = tl.load(weight + channel, inside, 0.0).to(tl.float32)
    offset = tl.load(bias + channel, inside, 0.0).to(tl.float32)
    factor *= tl.rsqrt(tl.maximum(variance, 0.0) + eps)
    offset += (added - mean) * factor
    if HAS_SCALE:
        scaling = 1.0 + tl.load(scale + image * channels + channel, inside, 0.0).to(tl.float32)
        shifting = tl.load(shift + image * channels + channel, inside, 0.0).to(tl.float32)
        factor *= scaling
        offset = offset * scaling + shifting
    for start in range(0, pixels, ROWS):
        there = (start + row[:, None] < pixels) & inside[None, :]
        tile = tl.load(x + start * channels + at, there, 0.0).to(tl.float32)
        tile = tile * factor[None, :] + offset[None, :]
        if SILU:
            tile = tile * tl.sigmoid(tile)
        tl.store(y + start * channels + at, tile.to(y.dtype.element_ty), there)


@triton.jit
def _over_groups(values, members):
    """Sum over the columns of each group, and give every column its group's sum."""
    sums = tl.sum(tl.where(members, values[None, :], 0.0), 1)
    return tl.sum(tl.where(members, sums[:, None], 0.0), 0)
