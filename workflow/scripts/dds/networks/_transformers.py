"""Parts of transformers' networks that compute the same with faster kernels."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers.models.vit.modeling_vit import ViTAttention, ViTMLP

from dds.networks.linear_gelu import linear_gelu
from dds.networks.parts import computed_in


class ViTSelfAttention(ViTAttention):
    """A layer's attention, whose input is cast once: not for queries, keys and values each."""

    def forward(self, hidden_states: Tensor, *rest: Any, **options: Any) -> tuple[Tensor, Tensor]:
        return super().forward(hidden_states.to(computed_in(hidden_states)), *rest, **options)


class ViTPerceptron(ViTMLP):
    """A layer's perceptron, whose hidden units are written once."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        if self.config.hidden_act != "gelu":
            return super().forward(hidden_states)
        return self.fc2(linear_gelu(hidden_states, self.fc1))


FASTER: dict[type[nn.Module], type[nn.Module]] = {
    ViTAttention: ViTSelfAttention,
    ViTMLP: ViTPerceptron,
}
