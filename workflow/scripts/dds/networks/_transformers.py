"""Parts of transformers' networks that compute the same with faster kernels."""

from __future__ import annotations

from torch import Tensor, nn
from transformers.activations import GELUActivation

from dds.networks.activations import gelu


class Gelu(GELUActivation):
    """GELUActivation, in fewer operations where it is compiled."""

    def forward(self, input: Tensor) -> Tensor:
        return gelu(input)


FASTER: dict[type[nn.Module], type[nn.Module]] = {GELUActivation: Gelu}
