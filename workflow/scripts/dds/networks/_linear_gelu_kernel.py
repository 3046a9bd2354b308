"""The kernel of `dds.networks.linear_gelu`, apart because Triton is only there with some GPUs.

A program computes tiles of the product, one after another: as many programs run as a GPU has
multiprocessors, and while one activates a tile, what the next needs is already on its way.
"""

import triton
import triton.language as tl


@triton.jit
def multiply(
    x, weight, bias, y, samples, outputs, inputs,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, BAND: tl.constexpr,
):  # fmt: skip
    """Write ``gelu(x @ weight.T + bias)``; all but `bias` are descriptors of matrices."""
    tiles = tl.cdiv(samples, ROWS) * tl.cdiv(outputs, COLUMNS)
    for tile in tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True):
        row, column = _place(tile, samples, outputs, ROWS, COLUMNS, BAND)
        sums = tl.zeros([ROWS, COLUMNS], tl.float32)
        for depth in range(0, inputs, DEPTH):
            sums = tl.dot(x.load([row, depth]), weight.load([column, depth]).T, sums)
        # In halves, which need less room.
        halves = tl.permute(tl.reshape(sums, (ROWS, 2, COLUMNS // 2)), (0, 2, 1))
        left, right = tl.split(halves)
        _finish(left, bias, y, row, column, outputs, COLUMNS // 2)
        _finish(right, bias, y, row, column + COLUMNS // 2, outputs, COLUMNS // 2)


@triton.jit
def _place(
    tile, samples, outputs, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BAND: tl.constexpr
):  # fmt: skip
    """Return a tile's first row and column: bands of rows, so that neighbours share reading."""
    columns = tl.cdiv(outputs, COLUMNS)
    first = tile // (BAND * columns) * BAND
    height = min(tl.cdiv(samples, ROWS) - first, BAND)
    inside = tile % (BAND * columns)
    return (first + inside % height) * ROWS, inside // height * COLUMNS


@triton.jit
def _finish(sums, bias, y, row, column, outputs, COLUMNS: tl.constexpr):
    at = column + tl.arange(0, COLUMNS)
    values = _gelu(sums + tl.load(bias + at, at < outputs, 0.0).to(tl.float32)[None, :])
    y.store([row, column], values.to(y.dtype))


@triton.jit
def _gelu(x):
    """Return x Phi(x), by Abramowitz and Stegun (1964), 7.1.26: Phi is right to 1e-7."""
    size = tl.abs(x)
    t = 1.0 / (1.0 + 0.23164189 * size)  # 0.3275911 / sqrt(2)
    # Half of its coefficients, for Phi is half of 1 + erf; the exponential is of base 2.
    series = 0.5307027145 * t - 0.7265760135
    series = (series * t + 0.7107068705) * t - 0.142248368
    series = (series * t + 0.127414796) * t
    return tl.maximum(x, 0.0) - size * series * tl.exp2(-0.72134752 * size * size)
