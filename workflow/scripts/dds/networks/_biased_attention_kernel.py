"""The kernel of `dds.networks.biased_attention`, apart because not every system has Triton.

A program attends with a tile of an image's and a head's queries. Tiles hold all tokens but the
last: BEiT has a class token beside a square of patches, and a tile for one token would cost as much
as a full one. So the last key begins every sum, and the last query has a program of its own.
"""

import triton
import triton.language as tl

# Exponentials are of base 2, as the hardware's are.
_LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)


@triton.jit
def attend(
    qkv, bias, out, qkv_at, bias_at, out_at, images, tokens, heads, pitch, scale,
    TILE: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Write every head's attention; the first three are descriptors of matrices, with their starts.

    Rows of `qkv` and `out` are an image's tokens, of `bias`, `pitch` numbers long, a head's.
    """
    programs = tokens // TILE + 1
    program = tl.program_id(0)
    # Images one after another for a head, whose bias stays near meanwhile.
    tile, image = program % programs, program // programs % images
    head = program // programs // images
    row, last = image * tokens, (image.to(tl.int64) + 1) * tokens - 1
    last_at = qkv_at + (last * 3 * heads + head) * WIDTH + tl.arange(0, WIDTH)
    bias_at += head.to(tl.int64) * tokens * pitch
    key = tl.load(last_at + heads * WIDTH).to(tl.float32)
    value = tl.load(last_at + 2 * heads * WIDTH).to(tl.float32)
    if tile < programs - 1:
        _attend_tile(
            qkv, bias, out, bias_at, key, value, row, tile * TILE, head, tokens, heads, pitch,
            scale, TILE, WIDTH,
        )  # fmt: skip
    else:
        query = tl.load(last_at).to(tl.float32)
        out_at += (last * heads + head) * WIDTH
        _attend_one(
            qkv, out_at, bias_at + (tokens - 1) * pitch, query, key, value, row, head, tokens,
            heads, scale, TILE, WIDTH,
        )  # fmt: skip


@triton.jit
def _attend_tile(
    qkv, bias, out, bias_at, key, value, row, first, head, tokens, heads, pitch, scale,
    TILE: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Attend with a tile of queries: to the last key, and then to tiles of the others.

    Exponentials are taken from the highest score so far, and what was summed up shrinks with it.
    """
    query = qkv.load([row + first, head * WIDTH])
    beside = tl.load(bias_at + (first + tl.arange(0, TILE)) * pitch + tokens - 1).to(tl.float32)
    peak = tl.sum(query.to(tl.float32) * key[None, :], 1) * (scale * _LOG2_E) + beside * _LOG2_E
    total = tl.full([TILE], 1.0, tl.float32)
    sums = tl.zeros([TILE, WIDTH], tl.float32) + value[None, :]
    for start in range(0, tokens - 1, TILE):
        keys = qkv.load([row + start, (heads + head) * WIDTH])
        besides = bias.load([head * tokens + first, start]).to(tl.float32)
        scores = tl.dot(query, keys.T) * (scale * _LOG2_E) + besides * _LOG2_E
        higher = tl.maximum(peak, tl.max(scores, 1))
        weights, shrinks = tl.exp2(scores - higher[:, None]), tl.exp2(peak - higher)
        total = total * shrinks + tl.sum(weights, 1)
        values = qkv.load([row + start, (2 * heads + head) * WIDTH])
        sums = tl.dot(weights.to(values.dtype), values, sums * shrinks[:, None])
        peak = higher
    out.store([row + first, head * WIDTH], (sums / total[:, None]).to(out.dtype))


@triton.jit
def _attend_one(
    qkv, out_at, bias_at, query, key, value, row, head, tokens, heads, scale,
    TILE: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Attend with one query, as `_attend_tile` does with many."""
    beside = tl.load(bias_at + tokens - 1).to(tl.float32)
    peak = tl.sum(query * key, 0) * (scale * _LOG2_E) + beside * _LOG2_E
    total = peak * 0.0 + 1.0
    sums = value
    for start in range(0, tokens - 1, TILE):
        keys = qkv.load([row + start, (heads + head) * WIDTH]).to(tl.float32)
        besides = tl.load(bias_at + start + tl.arange(0, TILE)).to(tl.float32)
        scores = tl.sum(query[None, :] * keys, 1) * (scale * _LOG2_E) + besides * _LOG2_E
        higher = tl.maximum(peak, tl.max(scores, 0))
        weights, shrink = tl.exp2(scores - higher), tl.exp2(peak - higher)
        total = total * shrink + tl.sum(weights, 0)
        values = qkv.load([row + start, (2 * heads + head) * WIDTH]).to(tl.float32)
        sums = sums * shrink + tl.sum(weights[:, None] * values, 0)
        peak = higher
    tl.store(out_at + tl.arange(0, WIDTH), (sums / total).to(out_at.dtype.element_ty))
