"""OpenAI's UNet: improved-diffusion's and guided-diffusion's checkpoints fit it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from dds import keys
from dds.keys import Count, Pixels, Whole, key, refuse

if TYPE_CHECKING:
    from torch import nn

ROLE = "denoiser"

#: Channels of a feature map are normalised in so many groups.
_GROUPS = 32

#: Flags of guided-diffusion's and improved-diffusion's scripts that are no arguments of their
#: UNet, and what says the same here.
_FLAGS = {
    "num_channels": "write model_channels",
    "learn_sigma": "leave it out, and make out_channels twice in_channels where it is true",
    "class_cond": "leave it out; networks that are told the class are not supported",
    "num_classes": "leave it out; networks that are told the class are not supported",
    "num_heads_upsample": "leave it out; attention has num_heads, or num_head_channels, everywhere",
    "use_new_attention_order": "leave it out; the other order of a head's channels is used",
    "use_checkpoint": "leave it out; it saves memory while training alone",
    "use_fp16": "leave it out; precision of the experiment says it",
    "diffusion_steps": "write it as schedule.steps",
    "noise_schedule": "write it as schedule.name",
    "rescale_timesteps": "write it as schedule.rescale_timesteps",
    "timestep_respacing": "leave it out; steps of the experiment says it",
    "use_kl": "leave it out; it is for training alone",
    "predict_xstart": "leave it out, and write predicts: x0 where it is true",
    "rescale_learned_sigmas": "leave it out; learned variances are not used",
    "sigma_small": "leave it out; the variance of reverse steps is the posterior's",
}

#: Probability of dropping a unit.
Dropout = Annotated[float, Field(ge=0, lt=1)]
#: A factor on a number of channels.
Factor = Annotated[float, Field(gt=0, le=1000)]


class Keys(keys.Keys):
    """The UNet of Nichol and Dhariwal (2021) and Dhariwal and Nichol (2021)."""

    image_size: Pixels = key("Height and width in pixels that it was trained on.", paper="4")
    in_channels: Count = key("Channels of the images.")
    out_channels: Count = key(
        "Channels of the output, of which the first are the noise; twice as many as those of the "
        "images for networks that also learn variances."
    )
    model_channels: Count = key("Channels of a feature map, times the factor of its level.")
    num_res_blocks: Count = key("Residual blocks of each level.")
    attention_resolutions: list[Count] = key("Heights of the feature maps that get attention.")
    channel_mult: Annotated[list[Factor], Field(min_length=1)] = key(
        "A factor on the channels for each level; every level halves height and width."
    )
    num_heads: Count = key("Attention heads.", 1)
    num_head_channels: Annotated[Whole, Field(ge=-1, le=100_000)] = key(
        "Channels of an attention head, from which their number follows; -1 for num_heads.", -1
    )
    dropout: Dropout = key("Probability of dropping a unit while training.", 0.0)
    use_scale_shift_norm: bool = key(
        "Whether the time scales and shifts feature maps, or is only added to them.", True
    )
    resblock_updown: bool = key(
        "Whether residual blocks halve and double the resolution, in place of convolutions.", False
    )
    patch_size: Count = key(
        "Above 1, works on patches of so many pixels a side as channels, for quick small models.", 1
    )

    @model_validator(mode="before")
    @classmethod
    def _no_flags(cls, arguments: Any) -> Any:
        for name in arguments if isinstance(arguments, dict) else ():
            if name in _FLAGS:
                raise refuse(f"{name} is a flag of OpenAI's scripts; {_FLAGS[name]}")
        return arguments

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.out_channels < self.in_channels:
            raise refuse(f"out_channels must be at least in_channels, which is {self.in_channels}")
        for factor in self.channel_mult:
            if int(factor * self.model_channels) % _GROUPS:
                raise refuse(f"model_channels times {factor:g} must be a multiple of {_GROUPS}")
        if self.num_head_channels == 0:
            raise refuse("num_head_channels must be at least 1, or -1")
        halvings = 2 ** (len(self.channel_mult) - 1)
        if self.image_size % (self.patch_size * halvings):
            halved = f" times {halvings}, as {len(self.channel_mult)} levels halve it"
            raise refuse(f"image_size must be a multiple of patch_size{halved * (halvings > 1)}")
        self._check_attention()
        return self

    def _check_attention(self) -> None:
        levels = range(len(self.channel_mult))
        level_of = {self.image_size >> level: level for level in levels}
        for height in self.attention_resolutions:
            if height not in level_of:
                allowed = ", ".join(map(str, level_of))
                raise refuse(
                    f"attention_resolutions: {height} is no height of a level; allowed: {allowed}"
                )
        # The last level always has attention.
        for level in {levels[-1], *(level_of[height] for height in self.attention_resolutions)}:
            channels = int(self.channel_mult[level] * self.model_channels)
            name = "num_heads" if self.num_head_channels == -1 else "num_head_channels"
            if channels % getattr(self, name):
                raise refuse(
                    f"{name} must divide {channels}, the channels of a level with attention"
                )


def build(arguments: Keys, *, classes: None, channels: int) -> nn.Module:
    """Build the UNet, untrained; see `dds.guided_diffusion_unet`."""
    from dds.networks.unet import guided_diffusion_unet

    if arguments.in_channels != channels:
        raise ValueError(
            f"arguments.in_channels is {arguments.in_channels}, but input.channels is {channels}"
        )
    return guided_diffusion_unet(**dict(arguments))
