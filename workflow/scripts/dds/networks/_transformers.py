"""Parts of transformers' networks that compute the same with faster kernels."""

from __future__ import annotations

from torch import Tensor, nn
from transformers.models.vit.modeling_vit import ViTMLP

from dds.networks.linear_gelu import linear_gelu


class ViTPerceptron(ViTMLP):
    """A layer's perceptron, whose hidden units are written once."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        if self.config.hidden_act != "gelu":
            return super().forward(hidden_states)
        return self.fc2(linear_gelu(hidden_states, self.fc1))


FASTER: dict[type[nn.Module], type[nn.Module]] = {ViTMLP: ViTPerceptron}
