"""Diffusion models as denoisers of images in [0,1] at any noise level.

A denoiser is anything with ``noise_sigma(sigma) -> float`` and
``denoise(noisy, sigma, normal=None) -> clean``. Whatever range, schedule or
timestep the network behind it works in stays behind that interface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dds.networks.predictions import PREDICTIONS, Level, check_prediction
from dds.networks.schedules import FlowSchedule, NoiseSchedule, Schedule, SigmaSchedule, Timestep
from dds.seeds import MOST_STEPS

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
        """Return the noise to add for a nominal noise level.

        Parameters
        ----------
        sigma : float
            What certificates are computed with, in [0,1] pixel units.

        Returns
        -------
        float
            Standard deviation in [0,1] pixel units. Certificates are sound where it is at
            least `sigma`.
        """
        ...

    def denoise(self, noisy: Tensor, sigma: float, normal: Normal | None = None) -> Tensor:
        """Remove noise from images.

        Parameters
        ----------
        noisy : Tensor, shape (batch, channels, height, width)
            Images in [0,1] plus Gaussian noise of ``noise_sigma(sigma)``.
        sigma : float
            Nominal noise level in [0,1] pixel units.
        normal : callable, optional
            ``normal(step)`` gives standard normal noise shaped like `noisy`, from a stream
            for each step 1, 2, ...; a denoiser that needs random numbers takes these alone.

        Returns
        -------
        Tensor, shape (batch, channels, height, width)
            In [0,1].
        """
        ...


def missing_parts(denoiser: Any) -> list[str]:
    """Return which parts of a `Denoiser` something lacks; none of one."""
    parts = ("networks", "runs", "noise_sigma", "denoise")
    return [part for part in parts if not hasattr(denoiser, part)]


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

    Images in [0,1] become images in [-1,1] on the way in, and come back on the way out.

    Parameters
    ----------
    network : Module
        Called as ``network(x_t, time)`` with x_t of shape (batch, channels, height,
        width) and time of shape (batch,); predicts in its first `channels` output
        channels. Further channels (learned variances) are unused. It returns a tensor, or an
        object that holds it as ``.sample``, as networks of diffusers do.
    schedule : NoiseSchedule
        The noise schedule the network was trained with.
    predicts : {"noise", "x0", "v", "edm", "consistency", "flow"}
        What the network returns; see `dds.networks.predictions`. A `Schedule` of timesteps
        goes with the first three; a `SigmaSchedule` with noise, x0, edm and consistency; a
        `FlowSchedule` with flow, noise and x0.
    timestep : {"nearest", "exact", "authors"}
        See `Schedule.timestep`; other schedules meet every noise level exactly.
    steps : int, optional
        1 (the default) denoises in one shot, equation 7. More runs a reverse chain
        of that many steps, evenly spaced from the matching timestep down (of other schedules,
        as their ``chain`` says): the "multi-step" strategy that section 3 compares against.
        0 takes every timestep, where there are some. A noise level has no more steps than
        timesteps, `Schedule.most_steps`. A consistency function's steps add fresh noise to its
        estimate; those of all others draw from the posterior.
    size : int, optional
        Height and width of the images that the network was trained on, where they are known. It
        denoises others, too, if the network can.

    Raises
    ------
    ValueError
        If `steps` is negative or not whole, or what the network predicts does not go with the
        schedule.

    References
    ----------
    Carlini et al. (2023): (Certified!!) Adversarial robustness for free! ICLR. Section 3,
    equations 6 and 7.
    Ho, Jain and Abbeel (2020): Denoising diffusion probabilistic models. NeurIPS. Equations 6,
    7 and 15.
    Song et al. (2023): Consistency models. ICML. Algorithm 1.

    Examples
    --------
    A network that predicts no noise leaves an image as it is, but for what lies outside [0,1]:

    >>> import torch
    >>> from dds import DiffusionDenoiser, cosine_schedule
    >>> class NoNoise(torch.nn.Module):
    ...     def forward(self, x, time):
    ...         return torch.zeros_like(x)
    >>> schedule = cosine_schedule(4000, rescale_timesteps=True)
    >>> denoiser = DiffusionDenoiser(NoNoise(), schedule)
    >>> denoiser.noise_sigma(0.5)
    0.5
    >>> denoiser.denoise(torch.tensor([[[[-0.2, 0.25, 1.4]]]]), sigma=0.5)
    tensor([[[[0.0000, 0.2500, 1.0000]]]])
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: NoiseSchedule,
        *,
        predicts: str = "noise",
        timestep: str = "nearest",
        steps: int = 1,
        size: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= steps <= MOST_STEPS or steps != int(steps):
            raise ValueError(
                f"steps must be whole, from 0 (every timestep) to {MOST_STEPS:,}, not {steps}"
            )
        check_prediction(predicts, schedule)
        if steps == 0 and schedule.steps is None:
            raise ValueError("steps: 0 is every timestep, and the schedule has none; give a number")
        self.network = network
        self.schedule = schedule
        self.predicts = predicts
        self.timestep = timestep
        self.steps = int(steps)
        self._size = size  # not public, as what is computed does not depend on it: see identity

    @property
    def size(self) -> int | None:
        """Height and width of the images that the network was trained on, where they are known."""
        return self._size

    @property
    def networks(self) -> tuple[nn.Module]:
        """The network."""
        return (self.network,)

    @property
    def runs(self) -> int:
        """How often, at most, the network runs on a batch: `steps`, or once a timestep."""
        return self.steps or self.schedule.steps or 1

    def noise_sigma(self, sigma: float) -> float:
        """Return the noise to add for a nominal noise level; see `Denoiser.noise_sigma`.

        Raises
        ------
        ValueError
            If the schedule never reaches `sigma`, or has fewer timesteps up to it than there are
            steps.
        """
        return self._start(sigma).noise_sigma

    def denoise(self, noisy: Tensor, sigma: float, normal: Normal | None = None) -> Tensor:
        """Estimate the clean images (equation 7; with more steps, that many times).

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

        Raises
        ------
        ValueError
            If the schedule never reaches `sigma`, has fewer timesteps up to it than there are
            steps, or the network does not return a number for every pixel.
        """
        start = self._start(sigma)
        # Equation 6: noise first, then the scale of the timestep.
        x = np.sqrt(start.alpha_bar) * (2 * noisy - 1)
        levels = self.schedule.chain(start, self.steps)
        for step, level in enumerate(levels, start=1):
            clean = self._predict_clean(x, level)
            if step < len(levels):
                noise = torch.randn_like(x) if normal is None else normal(step)
                x = self._step(x, clean, level.alpha_bar, levels[step].alpha_bar, noise)
        return (clean + 1) / 2

    def one_shot(self) -> DiffusionDenoiser:
        """Return a denoiser with the same network that takes one step."""
        return self._like(self.schedule, self.predicts)

    def alternatives(self) -> Iterator[tuple[DiffusionDenoiser, str, str]]:
        """Yield what else the network may have been meant as, for one-shot denoising.

        Yields
        ------
        denoiser : DiffusionDenoiser
            With the same network.
        condition : str
            What is otherwise, after "if".
        cure : str
            How to have it so.
        """
        for predicts in self.schedule.PREDICTIONS:
            if predicts != self.predicts:
                yield (
                    self._like(self.schedule, predicts),
                    f"it predicts {predicts}",
                    f"it is read as predicts: {self.predicts}",
                )
        for schedule, condition, cure in _other_schedules(self.schedule):
            yield self._like(schedule, self.predicts), condition, cure

    def _like(self, schedule: NoiseSchedule, predicts: str) -> DiffusionDenoiser:
        return DiffusionDenoiser(self.network, schedule, predicts=predicts, timestep=self.timestep)

    def _start(self, sigma: float) -> Timestep:
        """Return the timestep of a noise level, once it is known that each step has one."""
        there = self.schedule.most_steps(sigma, self.timestep)
        if self.steps > there:
            raise ValueError(
                f"{self.steps} steps are more than the {there} timesteps up to sigma {sigma:g}; "
                f"steps must be at most {there}, or 0 for every timestep"
            )
        if self.steps == 0 and there > MOST_STEPS:
            raise ValueError(
                f"steps: 0 is {there} steps at sigma {sigma:g}; must be at most {MOST_STEPS:,}"
            )
        return self.schedule.timestep(sigma, self.timestep)

    def _predict_clean(self, x: Tensor, level: Timestep) -> Tensor:
        """Predict x_0 in [-1,1] from x_t of equation 3, clipped to the range of images."""
        alpha, beta = self.schedule.scales(level.alpha_bar)
        if (scale := alpha / np.sqrt(level.alpha_bar)) != 1:  # the network sees other scales
            x = scale * x
        at = Level(self.schedule.network_time(level.t), alpha, beta, self.schedule)
        return PREDICTIONS[self.predicts](self._run, x, at).clamp(-1, 1)

    def _run(self, x: Tensor, time: float) -> Tensor:
        """Run the network, and check what it returns."""
        answer = self.network(x, torch.full((len(x),), time, device=x.device))
        return prediction_of(answer, x, self.predicts)

    def _step(
        self, x: Tensor, clean: Tensor, alpha_bar: float, alpha_bar_next: float, noise: Tensor
    ) -> Tensor:
        """Return x at the next lower noise level."""
        if self.predicts == "consistency":
            return _with_noise(clean, alpha_bar_next, self.schedule, noise)
        return _posterior_sample(x, clean, alpha_bar, alpha_bar_next, noise)


def prediction_of(answer: Any, x: Tensor, predicts: str) -> Tensor:
    """Return the prediction in a network's answer to images: the answer, or its ``.sample``.

    Raises
    ------
    ValueError
        If it is none of images of this shape.
    """
    found = getattr(answer, "sample", answer)
    if not isinstance(found, Tensor) or found[:, : x.shape[1]].shape != x.shape:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"the denoiser's network returned {shape} for images of shape {tuple(x.shape)}; "
            f"it must return their {predicts}, in as many channels or more"
        )
    return found[:, : x.shape[1]].to(x.dtype)


def _other_schedules(schedule: NoiseSchedule) -> Iterator[tuple[NoiseSchedule, str, str]]:
    """Yield schedules that a network may be meant for instead: time on another scale."""
    if isinstance(schedule, Schedule) and schedule.steps != 1000:
        told = schedule.rescale_timesteps
        yield (
            replace(schedule, rescale_timesteps=not told),
            f"it is told {'t' if told else 't * 1000 / steps'}",
            f"its schedule wants rescale_timesteps: {str(not told).lower()}",
        )
    if isinstance(schedule, FlowSchedule):
        other = 1000.0 if schedule.time_scale == 1 else 1.0
        yield (
            replace(schedule, time_scale=other),
            f"it is told {'t' if other == 1 else '1000 t'}",
            f"its schedule wants time_scale: {other:g}",
        )


def _with_noise(clean: Tensor, alpha_bar: float, schedule: NoiseSchedule, noise: Tensor) -> Tensor:
    """Return an estimate with the noise of a level, but for that of the least.

    Song et al. (2023), algorithm 1.
    """
    assert isinstance(schedule, SigmaSchedule)  # the only one with consistency functions
    added = (1 - alpha_bar) / alpha_bar - schedule.sigma_min**2
    return np.sqrt(alpha_bar) * (clean + np.sqrt(max(added, 0)) * noise)


def _posterior_sample(
    x: Tensor, clean: Tensor, alpha_bar: float, alpha_bar_next: float, noise: Tensor
) -> Tensor:
    """Sample x at the next lower timestep given x_t and x_0.

    Ho et al. (2020), equations 6 and 7, with the variance of equation 7 (their "fixed small").
    Where timesteps are left out, alpha is the product of all between the two.
    """
    alpha = alpha_bar / alpha_bar_next
    variance = (1 - alpha_bar_next) / (1 - alpha_bar) * (1 - alpha)
    mean = (
        np.sqrt(alpha_bar_next) * (1 - alpha) * clean + np.sqrt(alpha) * (1 - alpha_bar_next) * x
    ) / (1 - alpha_bar)
    return mean + np.sqrt(variance) * noise
