"""Parts of timm's networks that compute the same with faster kernels; see `_guided_diffusion`."""

from __future__ import annotations

import torch
from timm.models.beit import Attention
from torch import Tensor, nn
from torch.nn import functional

# Of the memory that a row of a mask begins at, in numbers: fused attention asks for it.
_ALIGNMENT = 8


class BeitAttention(Attention):
    """BEiT's attention, whose bias by relative position lies in rows that are aligned.

    A bias of 1,025 tokens a row has PyTorch take a kernel that is half as fast.
    """

    def _get_rel_pos_bias(self) -> Tensor:
        bias = super()._get_rel_pos_bias()
        tokens, device = bias.shape[-1], bias.device.type
        # A cast from aligned rows would not keep them so. Where operations are only counted, on the
        # device "meta", there is no autocast to ask for.
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            bias = bias.to(torch.get_autocast_dtype(device))
        return functional.pad(bias, (0, -tokens % _ALIGNMENT))[..., :tokens]


FASTER: dict[type[nn.Module], type[nn.Module]] = {Attention: BeitAttention}
