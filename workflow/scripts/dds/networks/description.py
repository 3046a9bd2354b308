"""What decides what a network computes, given its weights, and nothing else.

The workflow's registry of models adds to it where weights come from and who made them.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import Field, create_model, model_validator

from dds.keys import Count, Fraction, Keys, Pixels, Whole, key, refuse
from dds.networks.families import FAMILIES
from dds.networks.schedules import (
    PREDICTIONS,
    NoiseSchedule,
    build_schedule,
    check_schedule_keys,
)

#: Of images in [0,1], or scaled to other units: none lies far beyond bytes.
Mean = Annotated[float, Field(ge=-1000, le=1000)]
Std = Annotated[float, Field(ge=1e-4, le=1000)]
#: The variance that a timestep adds, and what all together leave of the image's.
Beta = Fraction
#: A noise level of images in [-1,1].
NetworkSigma = Annotated[float, Field(gt=0, le=1000)]


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

    name: Literal["linear", "cosine", "scaled_linear", "alphas_cumprod", "sigma", "flow"] = key(
        "Its form: Ho et al.'s (2020), Nichol and Dhariwal's (2021), that of latent diffusion "
        "models, or `alphas_cumprod` written out; `sigma` for networks that are told the noise "
        "level itself, `flow` for a straight line from image to noise.",
        paper="3",
    )
    steps: Annotated[Whole, Field(ge=2, le=1_000_000)] | None = key(
        "Its timesteps, the paper's T; `alphas_cumprod`, `sigma` and `flow` have none to give.",
        None,
        paper="3",
    )
    rescale_timesteps: bool = key(
        "Whether the network is told t * 1000 / steps instead of t.", False
    )
    beta_start: Beta | None = key(
        "With `linear` and `scaled_linear`: the first beta, where it is not the usual one.", None
    )
    beta_end: Beta | None = key(
        "With `linear` and `scaled_linear`: the last beta, where it is not the usual one.", None
    )
    alphas_cumprod: Annotated[list[Beta], Field(min_length=2)] | None = key(
        "With `alphas_cumprod`: the product of 1 - beta up to every timestep, falling.", None
    )
    sigma_min: NetworkSigma | None = key(
        "With `sigma`: the least noise level that the network knows, in [-1,1]; 0.002 by default.",
        None,
    )
    sigma_max: NetworkSigma | None = key(
        "With `sigma`: the largest noise level that the network knows, in [-1,1]; 80 by default.",
        None,
    )
    sigma_data: NetworkSigma | None = key(
        "With `sigma`: the standard deviation of images in [-1,1] that `edm` and `consistency` "
        "networks are scaled by; 0.5 by default.",
        None,
    )

    time_scale: Annotated[float, Field(gt=0, le=1_000_000)] | None = key(
        "With `flow`: what the network is told at pure noise; 1000 by default.", None
    )

    @model_validator(mode="after")
    def _fits_its_name(self) -> Self:
        given = self.model_dump(exclude_defaults=True, exclude={"name"})
        try:
            check_schedule_keys(self.name, list(given))
        except ValueError as error:
            raise refuse(str(error)) from None
        return self

    def build(self) -> NoiseSchedule:
        """Build the schedule; see `dds.networks.schedules.build_schedule`.

        Raises
        ------
        ValueError
            If there can be none with these numbers.
        """
        return build_schedule(**self.model_dump())


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
    predicts: Literal["noise", "x0", "v", "edm", "consistency", "flow"] = key(
        "What the network returns: the noise, the image, Salimans and Ho's (2022) v, what Karras "
        "et al. (2022) or Song et al. (2023) scale into the image, or the velocity of a flow. The "
        "first three go with schedules of timesteps; `noise`, `x0`, `edm` and `consistency` with "
        "`sigma`; `flow`, `noise` and `x0` with `flow`.",
        "noise",
        paper="3",
    )

    @model_validator(mode="after")
    def _prediction_goes_with_the_schedule(self) -> Self:
        allowed = PREDICTIONS[self.schedule.name]
        if self.predicts not in allowed:
            raise refuse(
                f"predicts {self.predicts} does not go with schedule.name {self.schedule.name}; "
                f"allowed: {', '.join(allowed)}"
            )
        return self


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
