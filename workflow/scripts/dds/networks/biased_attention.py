"""Attention with a bias that all images share, as BEiT's by relative position.

A bias is as large as the scores of one image, and PyTorch's fused attention takes nearly twice as
long with one as without. Here it is read in tiles beside keys and values.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import register_flop_formula, sdpa_flop_count

from dds.networks.parts import infers_on_hopper, tried

# What was the fastest of what was tried on an H100, for heads of this width, which BEiT's have:
# queries of a program, which are keys at a time, too, and how often it reads ahead.
_WIDTH, _TILE, _STAGES, _WARPS = 64, 64, 2, 4

#: Rows of a bias begin at multiples of so many numbers: fused kernels ask for it.
ALIGNMENT = 8


def biased_attention(qkv: Tensor, bias: Tensor, dropout: float = 0.0) -> Tensor:
    """Return ``softmax(q k' / sqrt(width) + bias) v`` of every head.

    It is one kernel for bfloat16 on GPUs of the Hopper generation, where nothing is differentiated,
    for heads 64 wide and a token more than a multiple of 64.

    Parameters
    ----------
    qkv : Tensor, shape (batch, tokens, 3 heads width)
        Of each token the queries of all heads, then their keys, then their values.
    bias : Tensor, shape (heads, tokens, tokens or more)
        What is added to a query's scores of all keys; what rows hold beyond those is not read. Rows
        of a multiple of `ALIGNMENT` numbers let PyTorch take a faster kernel, too.
    dropout : float, optional
        Probability of dropping a weight.

    Returns
    -------
    Tensor, shape (batch, tokens, heads width)

    References
    ----------
    Bao et al. (2022): BEiT: BERT pre-training of image transformers. ICLR. Its bias by relative
    position is section 2.5's. Dao et al. (2022): FlashAttention. NeurIPS. Sums in tiles.

    Examples
    --------
    Two tokens of one head, whose keys are equal, so that the bias decides: each attends to itself.

    >>> qkv = torch.tensor([[[1.0, 1.0, 5.0], [1.0, 1.0, 7.0]]])
    >>> biased_attention(qkv, 100 * torch.eye(2)[None]).squeeze()
    tensor([5., 7.])
    """
    if dropout or not _has_kernel(qkv, bias):
        return _attend(qkv, bias, dropout)
    return torch.ops.dds.biased_attention(qkv, bias)


def _has_kernel(qkv: Tensor, bias: Tensor) -> bool:
    heads, tokens, pitch = bias.shape
    return (
        qkv.dtype == bias.dtype == torch.bfloat16
        and qkv.shape[2] == 3 * heads * _WIDTH
        and tokens % _TILE == 1
        and tokens > _TILE
        and pitch % ALIGNMENT == 0
        and infers_on_hopper(qkv)
    )


def _attend(qkv: Tensor, bias: Tensor, dropout: float = 0.0) -> Tensor:
    """Attend as PyTorch does, by what it finds fastest."""
    heads, tokens, _ = bias.shape
    query, key, value = qkv.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    attended = functional.scaled_dot_product_attention(
        query, key, value, bias[None, :, :, :tokens], dropout_p=dropout
    )
    return attended.transpose(1, 2).flatten(2)


def _plain(qkv: Tensor, bias: Tensor) -> Tensor:
    """PyTorch's kernels: what the fused one is held against."""
    return _attend(qkv, bias).contiguous()


_operator = torch.library.custom_op("dds::biased_attention", _plain, mutates_args=())


@_operator.register_fake
def _(qkv, bias):
    return qkv.new_empty(*qkv.shape[:2], qkv.shape[2] // 3)


def launch(qkv: Tensor, bias: Tensor) -> Tensor:
    """Run the fused kernel on tensors whose rows lie one after another."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    from dds.networks._biased_attention_kernel import attend

    heads, tokens, pitch = bias.shape
    out = qkv.new_empty(*qkv.shape[:2], qkv.shape[2] // 3)
    programs = (tokens // _TILE + 1) * len(qkv) * heads
    attend[(programs,)](
        TensorDescriptor.from_tensor(qkv.flatten(0, 1), [_TILE, _WIDTH]),
        TensorDescriptor.from_tensor(bias.flatten(0, 1), [_TILE, _TILE]),
        TensorDescriptor.from_tensor(out.flatten(0, 1), [_TILE, _WIDTH]),
        qkv, bias, out, len(qkv), tokens, heads, pitch, _WIDTH**-0.5,
        TILE=_TILE, WIDTH=_WIDTH, num_stages=_STAGES, num_warps=_WARPS,
    )  # fmt: skip
    return out


_tried = tried(launch, _plain)


@_operator.register_kernel("cuda")
def _(qkv, bias):
    return _tried(qkv.contiguous(), bias.contiguous())


@register_flop_formula(torch.ops.dds.biased_attention)
def _flop(qkv, bias, *, out_shape, **_) -> int:
    shape = qkv[0], bias[0], qkv[1], qkv[2] // 3 // bias[0]
    return sdpa_flop_count(shape, shape, shape)
