"""Diffusion models as denoisers of images in [0,1] at any noise level.

A denoiser is anything with ``noise_sigma(sigma) -> float`` and
``denoise(noisy, sigma, normal=None) -> clean``. Whatever range, schedule or
timestep the network behind it works in stays behind that interface.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dds.networks.schedules import Schedule

#: Gives the standard normal noise of a reverse step, in the shape of the batch.
Normal = Callable[[int], Tensor]


class Denoiser(Protocol):
    """What the smoothed classifier asks of a denoiser.

    Examples
    --------
    Any class with these two attributes and two methods will do, such as one that blurs:

    >>> import torch
    >>> class Blur:
    ...     networks, runs = (), 1
    ...
    ...     def noise_sigma(self, sigma):
    ...         return sigma
    ...
    ...     def denoise(self, noisy, sigma, normal=None):
    ...         return torch.nn.functional.avg_pool2d(noisy, 3, stride=1, padding=1)
    ...
    >>> Blur().denoise(torch.zeros(5, 3, 8, 8), sigma=0.5).shape
    torch.Size([5, 3, 8, 8])
    """

    @property
    def networks(self) -> Sequence[nn.Module]:
        """All modules it runs; they are moved to a device, kept in evaluation mode, compiled."""
        ...

    @property
    def runs(self) -> int:
        """How often, at most, each network runs on a batch; 1 for one-shot denoising."""
        ...

    def noise_sigma(self, sigma: float) -> float:
        """Return the standard deviation of the noise to add for the nominal `sigma`."""
        ...

    def denoise(self, noisy: Tensor, sigma: float, normal: Normal | None = None) -> Tensor:
        """Remove noise of level `sigma` from images around [0,1]."""
        ...


class NoDenoiser:
    """Hands noisy images on as they are: randomized smoothing without denoising."""

    networks = ()
    runs = 1

    def noise_sigma(self, sigma: float) -> float:
        """Return `sigma`."""
        return sigma

    def denoise(self, noisy: Tensor, sigma: float, normal: Normal | None = None) -> Tensor:
        """Return `noisy`."""
        return noisy


class DiffusionDenoiser(nn.Module):
    """An off-the-shelf denoising diffusion model as a denoiser (section 3, Figure 1).

    Parameters
    ----------
    network : Module
        Called as ``network(x_t, time)`` with x_t of shape (batch, channels, height,
        width) and time of shape (batch,); predicts the noise in its first
        `channels` output channels. Further channels (learned variances) are unused.
    schedule : Schedule
        The noise schedule the network was trained with.
    timestep : {"nearest", "exact", "authors"}
        See `Schedule.timestep`.
    steps : int, optional
        1 (the default) denoises in one shot, equation 7. More runs a reverse chain
        of that many steps, evenly spaced from the matching timestep down: the
        "multi-step" strategy that section 3 compares against. 0 takes every timestep.
    """

    def __init__(
        self, network: nn.Module, schedule: Schedule, *, timestep: str = "nearest", steps: int = 1
    ) -> None:
        super().__init__()
        if steps < 0:
            raise ValueError(f"steps must be 0 (every timestep) or more, not {steps}")
        self.network = network
        self.schedule = schedule
        self.timestep = timestep
        self.steps = steps

    @property
    def networks(self) -> tuple[nn.Module]:
        """The network."""
        return (self.network,)

    @property
    def runs(self) -> int:
        """How often, at most, the network runs on a batch: `steps`, or once a timestep."""
        return self.steps or len(self.schedule.alpha_bar)

    def noise_sigma(self, sigma: float) -> float:
        """Return the noise level to draw for the nominal `sigma`, both in [0,1] units."""
        return self.schedule.timestep(sigma, self.timestep).noise_sigma

    def denoise(self, noisy: Tensor, sigma: float, normal: Normal | None = None) -> Tensor:
        """Estimate the clean images.

        Parameters
        ----------
        noisy : Tensor, shape (batch, channels, height, width)
            Images in [0,1] plus Gaussian noise of ``noise_sigma(sigma)``.
        sigma : float
            Nominal noise level in [0,1] pixel units.
        normal : callable, optional
            ``normal(step)`` gives the standard normal noise that reverse step 1, 2,
            ... adds, shaped like `noisy`. Fresh noise by default; one-shot denoising
            draws none.

        Returns
        -------
        Tensor, shape (batch, channels, height, width)
            In [0,1].
        """
        start = self.schedule.timestep(sigma, self.timestep)
        x = np.sqrt(start.alpha_bar) * (2 * noisy - 1)
        times = self._times(start.t)
        alpha_bars = [start.alpha_bar, *(self.schedule.alpha_bar[int(t)] for t in times[1:])]
        for step, (t, alpha_bar) in enumerate(zip(times, alpha_bars, strict=True), start=1):
            clean = self._predict_clean(x, t, alpha_bar)
            if step < len(times):
                noise = torch.randn_like(x) if normal is None else normal(step)
                x = _posterior_sample(x, clean, alpha_bar, alpha_bars[step], noise)
        return (clean + 1) / 2

    def _times(self, start: float) -> list[float]:
        """Return the timesteps visited, from `start` down."""
        count = int(start) + 1 if self.steps == 0 else self.steps
        return [start, *np.linspace(start, -1, count + 1)[1:-1].round()]

    def _predict_clean(self, x: Tensor, t: float, alpha_bar: float) -> Tensor:
        """Predict x_0 in [-1,1] from x_t by way of the predicted noise."""
        time = torch.full((len(x),), self.schedule.network_time(t), device=x.device)
        noise = self.network(x, time)[:, : x.shape[1]].to(x.dtype)
        clean = (x - np.sqrt(1 - alpha_bar) * noise) / np.sqrt(alpha_bar)
        return clean.clamp(-1, 1)


def _posterior_sample(
    x: Tensor, clean: Tensor, alpha_bar: float, alpha_bar_next: float, noise: Tensor
) -> Tensor:
    """Sample x at the next lower timestep given x_t and x_0 (Ho et al. 2020, equation 7)."""
    alpha = alpha_bar / alpha_bar_next
    variance = (1 - alpha_bar_next) / (1 - alpha_bar) * (1 - alpha)
    mean = (
        np.sqrt(alpha_bar_next) * (1 - alpha) * clean + np.sqrt(alpha) * (1 - alpha_bar_next) * x
    ) / (1 - alpha_bar)
    return mean + np.sqrt(variance) * noise


def guided_diffusion_unet(
    *, image_size: int, in_channels: int, out_channels: int, model_channels: int,
    num_res_blocks: int, attention_resolutions: list[int], channel_mult: list[int],
    num_heads: int = 1, num_head_channels: int = -1, dropout: float = 0.0,
    use_scale_shift_norm: bool = True, resblock_updown: bool = False, patch_size: int = 1,
) -> nn.Module:  # fmt: skip
    """Build the UNet of Nichol and Dhariwal (2021) and Dhariwal and Nichol (2021).

    One class serves OpenAI's improved-diffusion checkpoints and their
    guided-diffusion ones: without `resblock_updown` the parameters have the former's
    names and shapes.

    Parameters
    ----------
    image_size : int
        Height and width in pixels.
    attention_resolutions : list of int
        Heights (pixels) of the feature maps that get attention.
    out_channels : int
        Twice `in_channels` for networks that also learn variances.
    patch_size : int, optional
        Above 1, the UNet works on patches of so many pixels a side as channels: fewer
        and wider feature maps, for quick small models.

    Notes
    -----
    The remaining parameters are those of ``guided_diffusion.unet.UNetModel``.
    """
    with warnings.catch_warnings():  # of how it names parts of PyTorch that have moved
        warnings.simplefilter("ignore", FutureWarning)
        from guided_diffusion.nn import GroupNorm32
        from guided_diffusion.unet import AttentionBlock, UNetModel

    unet = UNetModel(
        image_size=image_size // patch_size, in_channels=in_channels * patch_size**2,
        out_channels=out_channels * patch_size**2, model_channels=model_channels,
        num_res_blocks=num_res_blocks,
        attention_resolutions=tuple(image_size // height for height in attention_resolutions),
        channel_mult=tuple(channel_mult), num_heads=num_heads,
        num_head_channels=num_head_channels, dropout=dropout,
        use_scale_shift_norm=use_scale_shift_norm, resblock_updown=resblock_updown,
    )  # fmt: skip
    for module in unet.modules():
        if isinstance(module, AttentionBlock):
            module.attention = _Attention(module.num_heads)
        elif isinstance(module, GroupNorm32):
            module.__class__ = _GroupNorm  # neither has state of its own
    return unet if patch_size == 1 else _Patched(unet, patch_size)


class _Attention(nn.Module):
    """What guided_diffusion's QKVAttentionLegacy computes, by PyTorch's fused attention."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, qkv: Tensor) -> Tensor:
        batch, _, length = qkv.shape  # (batch, heads * 3 * channels, length)
        query, key, value = qkv.reshape(batch, self.heads, 3, -1, length).mT.unbind(2)
        attended = functional.scaled_dot_product_attention(query, key, value)
        return attended.mT.reshape(batch, -1, length)


class _GroupNorm(nn.GroupNorm):
    """What guided_diffusion's GroupNorm32 computes, on a CPU without its copies to float32.

    There the kernel reads bfloat16, sums in float32 and rounds once, as the copies do.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cpu and not torch.is_grad_enabled():
            with torch.autocast("cpu", enabled=False):
                return super().forward(x)
        return super().forward(x.float()).type(x.dtype)


class _Patched(nn.Module):
    """A network that sees patches of pixels as channels."""

    def __init__(self, network: nn.Module, patch_size: int) -> None:
        super().__init__()
        self.network = network
        self.patch_size = patch_size

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        patches = self.network(functional.pixel_unshuffle(x, self.patch_size), time)
        return functional.pixel_shuffle(patches, self.patch_size)
