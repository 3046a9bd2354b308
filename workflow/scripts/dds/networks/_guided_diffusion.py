"""Parts of guided_diffusion's UNet that compute the same in fewer passes over memory.

Each takes the place of the part it is derived from by becoming its class: parameters keep
their names and values.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional

from dds.networks.group_norm import group_norm

with warnings.catch_warnings():  # of how it names parts of PyTorch that have moved
    warnings.simplefilter("ignore", FutureWarning)
    from guided_diffusion.nn import GroupNorm32
    from guided_diffusion.unet import AttentionBlock, ResBlock, UNetModel


class Norm(GroupNorm32):
    """GroupNorm32, on a GPU as one kernel, on a CPU without its copies to float32."""

    def forward(self, x: Tensor) -> Tensor:
        return self.activated(x, silu=False)

    def activated(
        self,
        x: Tensor,
        *,
        before: Tensor | None = None,
        scale: Tensor | None = None,
        shift: Tensor | None = None,
        silu: bool = True,
    ) -> Tensor:
        """Normalise, with what `dds.networks.group_norm.group_norm` does before and after."""
        if x.is_cuda:
            return group_norm(
                x, self.num_groups, self.weight, self.bias, self.eps,
                before=before, scale=scale, shift=shift, silu=silu,
            )  # fmt: skip
        y = self._plain(x if before is None else x + before[:, None, None].to(x.dtype))
        if scale is not None:
            y = y * (1 + scale[..., None, None]) + shift[..., None, None]
        return functional.silu(y) if silu else y

    def _plain(self, x: Tensor) -> Tensor:
        arguments = self.num_groups, self.weight, self.bias, self.eps
        if x.is_cpu and not torch.is_grad_enabled():
            # The kernel reads bfloat16, sums in float32 and rounds once, as the copies do.
            with torch.autocast("cpu", enabled=False):
                return functional.group_norm(x, *arguments)
        return functional.group_norm(x.float(), *arguments).type(x.dtype)


class Residual(ResBlock):
    """ResBlock, its activations and a convolution's bias left to the normalisations."""

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        norm, _, conv = self.in_layers
        h = norm.activated(x)
        if self.updown:
            h, x = self.h_upd(h), self.x_upd(x)
        emb = self.emb_layers(emb).type(h.dtype)
        norm, _, dropout, out_conv = self.out_layers
        if self.use_scale_shift_norm:
            scale, shift = emb.chunk(2, dim=1)
            h = functional.conv2d(h, conv.weight, padding=conv.padding)
            h = norm.activated(h, before=conv.bias, scale=scale, shift=shift)
        else:
            h = norm.activated(conv(h) + emb[..., None, None])
        return self.skip_connection(x) + out_conv(dropout(h))


class Attention(AttentionBlock):
    """AttentionBlock on pixels in rows, the order of channels_last, by fused attention."""

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        rows = self.norm(x).flatten(2).mT  # (batch, pixels, channels)
        qkv = functional.linear(rows, self.qkv.weight.squeeze(2), self.qkv.bias)
        # For each head its query, key and value, then their channels.
        heads = qkv.unflatten(2, (self.num_heads, 3, -1)).transpose(1, 2)
        attended = functional.scaled_dot_product_attention(*heads.unbind(3))
        rows = attended.transpose(1, 2).flatten(2)
        out = functional.linear(rows, self.proj_out.weight.squeeze(2), self.proj_out.bias)
        return x + out.mT.unflatten(2, (height, width))


class UNet(UNetModel):
    """UNetModel, which does not leave the networks' precision before its last convolution."""

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        emb = self.time_embed(_waves(time, self.model_channels))
        h, skipped = x, []
        for block in self.input_blocks:
            h = block(h, emb)
            skipped.append(h)
        h = self.middle_block(h, emb)
        for block in self.output_blocks:
            h = block(torch.cat([h, skipped.pop()], dim=1), emb)
        norm, _, conv = self.out
        return conv(norm.activated(h))


def _waves(time: Tensor, channels: int) -> Tensor:
    """Embed times (batch,) as cosines and sines of falling frequency, on their own device."""
    half = channels // 2
    frequency = torch.exp(torch.arange(half, device=time.device) * (-math.log(10_000) / half))
    angle = time[:, None].float() * frequency
    return functional.pad(torch.cat([angle.cos(), angle.sin()], dim=1), (0, channels % 2))


FASTER: dict[type[nn.Module], type[nn.Module]] = {
    GroupNorm32: Norm,
    ResBlock: Residual,
    AttentionBlock: Attention,
    UNetModel: UNet,
}
