"""Wide residual networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from dds import keys
from dds.keys import Count, Whole, key, refuse

if TYPE_CHECKING:
    from torch import nn

ROLE = "classifier"


def _three_groups(depth: int) -> int:
    if depth % 6 != 4:
        raise refuse(f"must be one of 10, 16, 22, 28, ..., not {depth}")
    return depth


class Keys(keys.Keys):
    """Zagoruyko and Komodakis's (2016) wide residual network WRN-depth-width."""

    depth: Annotated[Whole, Field(ge=10, le=10_000), AfterValidator(_three_groups)] = key(
        "Number of convolutional layers.", paper="4.1", allowed="10, 16, 22, 28, ..."
    )
    width: Annotated[float, Field(gt=0, le=1000)] = key(
        "Factor on the channels of the three groups.", paper="4.1"
    )
    base: Count = key("Channels of the first layer and, times width, of the first group.", 16)
    dropout: Annotated[float, Field(ge=0, lt=1)] = key(
        "Probability of dropping a unit between the two convolutions of a block.", 0.0
    )


def build(arguments: Keys, *, classes: int, channels: int) -> nn.Module:
    """Build the network, untrained."""
    from dds.networks.wide_resnet import WideResNet

    return WideResNet(**dict(arguments), classes=classes, channels=channels)
