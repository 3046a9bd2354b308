"""Vision transformers of the transformers library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from dds import keys
from dds.keys import Count, Pixels, Text, key, refuse

if TYPE_CHECKING:
    from torch import nn

ROLE = "classifier"
RECIPE = ("layer_decay", "drop_path")

#: Probability of dropping a unit.
Dropout = Annotated[float, Field(ge=0, lt=1)]


class Keys(keys.Keys):
    """Dosovitskiy et al.'s (2021) vision transformer; the defaults are those of ViT-B/16."""

    image_size: Pixels = key("Height and width of the images in pixels.", 224, paper="4")
    patch_size: Pixels = key("Height and width of a patch in pixels.", 16, paper="4")
    hidden_size: Count = key("Features of a patch.", 768)
    num_hidden_layers: Count = key("Layers.", 12)
    num_attention_heads: Count = key("Attention heads of a layer.", 12)
    intermediate_size: Count = key("Hidden units of a layer's perceptron.", 3072)
    hidden_act: Text = key("Activation function of the perceptrons.", "gelu")
    hidden_dropout_prob: Dropout = key("Probability of dropping a unit while training.", 0.0)
    attention_probs_dropout_prob: Dropout = key(
        "Probability of dropping an attention weight while training.", 0.0
    )
    drop_path_rate: Dropout = key(
        "Probability of skipping the last layer's residual branches, for an image, while training; "
        "it grows linearly from 0 in the first layer. A recipe's `drop_path` sets it.",
        0.0,
    )
    layer_norm_eps: Annotated[float, Field(gt=0, le=1)] = key(
        "Added to the variance that a layer is normalised by.", 1e-12
    )
    qkv_bias: bool = key("Whether queries, keys and values have a bias.", True)
    initializer_range: Annotated[float, Field(gt=0, le=10)] = key(
        "Standard deviation of the initial weights.", 0.02
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise refuse("hidden_size must be a multiple of num_attention_heads")
        return self


def build(arguments: Keys, *, classes: int, channels: int) -> nn.Module:
    """Build the network, untrained.

    Raises
    ------
    ValueError
        If transformers has no such activation function.
    """
    from transformers import AttentionInterface, ViTConfig, ViTForImageClassification
    from transformers.activations import ACT2FN
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    from dds.networks._transformers import FASTER
    from dds.networks.parts import become
    from dds.networks.patches import as_products

    if arguments.hidden_act not in ACT2FN:
        raise ValueError(
            f"arguments.hidden_act: transformers has no {arguments.hidden_act}; allowed: "
            f"{', '.join(ACT2FN)}"
        )
    # Under a name of its own no mask is made. Compiled, the library makes one even where nothing
    # is masked, and with a mask PyTorch has no fused attention: half of the network's time.
    AttentionInterface.register("dds_unmasked", sdpa_attention_forward)
    options = dict(arguments)
    rate = options.pop("drop_path_rate")
    config = ViTConfig(
        num_labels=classes,
        num_channels=channels,
        attn_implementation="dds_unmasked",
        **options,
    )
    network = as_products(become(ViTForImageClassification(config), FASTER))
    if rate:
        _drop_paths(network.vit.layers, rate)
    network.group_matcher, network.no_weight_decay = _layers, _undecayed
    return network


def _drop_paths(layers: nn.ModuleList, rate: float) -> None:
    """Let layers skip their residual branches while training (Huang et al. 2016)."""
    from timm.layers import DropPath
    from torch import linspace, nn

    for layer, share in zip(layers, linspace(0, rate, len(layers)).tolist(), strict=True):
        # A layer's dropout ends both of its branches, attention's and the perceptron's.
        layer.dropout = nn.Sequential(layer.dropout, DropPath(share))


def _layers(coarse: bool = False) -> dict[str, str]:
    """Tell the layers in order, as timm's networks do; what is not named is the last."""
    return {"stem": r"^vit\.embeddings", "blocks": r"^vit\.layers\.(\d+)"}


def _undecayed() -> set[str]:
    """Tell which parameters no weight decay is for, as timm's networks do."""
    return {"vit.embeddings.cls_token", "vit.embeddings.position_embeddings"}
