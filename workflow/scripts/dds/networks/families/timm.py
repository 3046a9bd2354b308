"""Networks of the timm library, by the names it gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ConfigDict

from dds import keys
from dds.keys import Text, key

if TYPE_CHECKING:
    from torch import nn

ROLE = "classifier"


class Keys(keys.Keys):
    """A network of timm's; any further argument of timm.create_model may stand beside its name."""

    model_config = ConfigDict(extra="allow")

    model: Text = key("Its name in timm.", paper="4", allowed="a name that timm.list_models knows")


def build(arguments: Keys, *, classes: int, channels: int) -> nn.Module:
    """Build the network, untrained.

    Raises
    ------
    ValueError
        If timm has no such network, or its network no such argument.
    """
    import timm

    options = dict(arguments)
    name = options.pop("model")
    try:
        return timm.create_model(
            name, pretrained=False, num_classes=classes, in_chans=channels, **options
        )
    except Exception as error:  # timm and its many networks raise whatever they like
        raise ValueError(f"timm cannot build {name}: {error}") from error
