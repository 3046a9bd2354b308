"""Networks of the diffusers library, as a repository's config.json describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import ConfigDict, model_validator

from dds import keys
from dds.keys import Text, key, refuse
from dds.networks.hub import arguments_of

if TYPE_CHECKING:
    from torch import nn

ROLE = "denoiser"

#: What a network that is told the class, or a text, is built with.
_CONDITIONS = ("num_class_embeds", "class_embed_type", "num_embeds_ada_norm", "cross_attention_dim")


class Keys(keys.Keys):
    """What a config.json holds, copied as it is: the class, and any argument of its network."""

    model_config = ConfigDict(extra="allow")

    class_name: Text = key(
        "The class of the network in diffusers, such as UNet2DModel; it must denoise images "
        "without being told a class or a text.",
        "UNet2DModel",
        alias="_class_name",
        allowed="a network of diffusers'",
    )

    @model_validator(mode="before")
    @classmethod
    def _copied(cls, arguments: Any) -> Any:
        return arguments_of(arguments) if isinstance(arguments, dict) else arguments

    @model_validator(mode="after")
    def _needs_no_condition(self) -> Self:
        for name in _CONDITIONS:
            if (self.__pydantic_extra__ or {}).get(name) is not None:
                raise refuse(f"{name}: networks that are told a class or a text are not supported")
        return self


def build(arguments: Keys, *, classes: None, channels: int) -> nn.Module:
    """Build the network, untrained.

    Raises
    ------
    ValueError
        If diffusers has no such network, it takes no such arguments, or cannot denoise images
        of these channels by itself.
    """
    from dds.networks.hub_denoisers import build_network

    options = dict(arguments)
    wanted = options.get("in_channels", channels)
    if wanted != channels:
        raise ValueError(f"arguments.in_channels is {wanted}, but input.channels is {channels}")
    return build_network(options.pop("class_name"), {"in_channels": channels, **options})
