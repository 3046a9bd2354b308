"""Parts of timm's networks that compute the same with faster kernels; see `_guided_diffusion`."""

from __future__ import annotations

import torch
from timm.layers import Mlp
from timm.models.beit import Attention
from torch import Tensor, nn
from torch.nn import functional

from dds.networks.biased_attention import ALIGNMENT, biased_attention
from dds.networks.linear_gelu import linear_gelu


class BeitAttention(Attention):
    """BEiT's attention, whose bias by relative position lies in rows that are aligned.

    It is gathered in the precision of attention, from a small table, instead of in float32 and
    cast.
    """

    def forward(self, x: Tensor, shared_rel_pos_bias: Tensor | None = None) -> Tensor:
        if not self._is_plain or shared_rel_pos_bias is not None:
            return super().forward(x, shared_rel_pos_bias)
        added = torch.cat([self.q_bias, self.k_bias, self.v_bias])
        qkv = functional.linear(x, self.qkv.weight, added)
        dropout = self.attn_drop.p if self.training else 0.0
        attended = biased_attention(qkv, self._aligned_bias(qkv.dtype), dropout)
        return self.proj_drop(self.proj(attended))

    @property
    def _is_plain(self) -> bool:
        """Whether it is the attention of BEiT's published networks."""
        return (
            self.relative_position_bias_table is not None
            and self.q_bias is not None
            and not self.qkv_bias_separate
            and self.fused_attn
        )

    def _aligned_bias(self, kind: torch.dtype) -> Tensor:
        """Return the bias (heads, tokens, tokens or more)."""
        index = self.relative_position_index
        bias = self.relative_position_bias_table.to(kind)[index.flatten()]
        bias = bias.unflatten(0, index.shape).permute(2, 0, 1)
        return functional.pad(bias, (0, -bias.shape[-1] % ALIGNMENT))


class Perceptron(Mlp):
    """A layer's perceptron, whose hidden units are written once."""

    def forward(self, x: Tensor) -> Tensor:
        if type(self.act) is not nn.GELU or self.act.approximate != "none":
            return super().forward(x)
        x = self.norm(self.drop1(linear_gelu(x, self.fc1)))
        return self.drop2(self.fc2(x))


FASTER: dict[type[nn.Module], type[nn.Module]] = {Attention: BeitAttention, Mlp: Perceptron}
