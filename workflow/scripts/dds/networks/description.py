"""What decides what a network computes, given its weights, and nothing else.

The workflow's registry of models adds to it where weights come from and who made them.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from dds.keys import Count, Keys, Pixels, Whole, key
from dds.networks.families import FAMILIES

#: Of images in [0,1], or scaled to other units: none lies far beyond bytes.
Mean = Annotated[float, Field(ge=-1000, le=1000)]
Std = Annotated[float, Field(ge=1e-4, le=1000)]


class Input(Keys):
    """The images that a network wants."""

    channels: Count = key("Colour channels, 1 for grey and 3 for RGB.")
    size: Pixels = key(
        "Height and width in pixels. A classifier resizes other images, bicubically.", paper="4"
    )


class NormalizedInput(Input):
    """The images that a classifier wants."""

    mean: Annotated[list[Mean], Field(min_length=1)] = key(
        "Subtracted from [0,1] images, a number for each channel, or one for all.", [0.0]
    )
    std: Annotated[list[Std], Field(min_length=1)] = key(
        "Divides what is left, a number for each channel, or one for all.", [1.0]
    )


class ScheduleKeys(Keys):
    """The noise schedule that a denoiser was trained with."""

    name: Literal["linear", "cosine"] = key(
        "Its form: Ho et al.'s (2020) or Nichol and Dhariwal's (2021).", paper="3"
    )
    steps: Annotated[Whole, Field(ge=2, le=1_000_000)] = key(
        "Its timesteps, the paper's T.", paper="3"
    )
    rescale_timesteps: bool = key(
        "Whether the network is told t * 1000 / steps instead of t.", False
    )


class NetworkKeys(Keys):
    """A network: what builds it, and with what."""

    network: str = key("What builds the network, by name, or FILE.py:FUNCTION.", paper="4")
    arguments: dict[str, Any] = key(
        "What the network is built with.", {}, paper="4", allowed="mapping, see below"
    )


class ClassifierKeys(NetworkKeys):
    """A classifier, but for its weights."""

    input: NormalizedInput = key("The images that the network wants.", paper="4")
    classes: list[str] = key("The names of the classes in the order of the network's outputs.")


class DenoiserKeys(NetworkKeys):
    """A denoiser, but for its weights."""

    input: Input = key("The images that the network wants.", paper="4")
    schedule: ScheduleKeys = key("The noise schedule that the network was trained with.", paper="3")


@cache
def with_arguments(base: type[NetworkKeys], network: str) -> type[NetworkKeys]:
    """Return a class whose ``arguments`` are those of a family; of a user's file, any."""
    if network not in FAMILIES.names:
        return base
    family = FAMILIES[network]
    arguments = key("What the network is built with.", {}, paper="4")
    return create_model(
        base.__name__, __base__=base, __doc__=base.__doc__, arguments=(family.Keys, arguments)
    )
