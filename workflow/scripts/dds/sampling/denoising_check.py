"""Whether a denoiser denoises: a few noisy images, before and after, ahead of the work.

A network that is read in a wrong way still returns images. Their classes are counted, and all
that shows it in the end is a low accuracy.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dds.networks.denoisers import Denoiser, NoDenoiser, Normal
from dds.sampling.checks import check_denoised, explained, in_one_line
from dds.sampling.smoothing import SmoothedClassifier

logger = logging.getLogger(__name__)

#: How many noisy images are looked at, of as many images at most.
SAMPLES = 16

#: Decibels that count as a difference. At the smallest noise levels a network's own error may
#: outweigh the little noise there is, and of a few images none is exact. Of the trained denoiser of
#: the digits another reading gains 0.2 dB at most, and the right one 0.9 to 10 over others.
TOLERANCE = 1.0

#: Decibels that another reading of the network must gain for a warning. A trained UNet of CIFAR-10
#: that is told unscaled timesteps loses no more than 0.6 dB at sigma 0.25.
WORTH_SAYING = 0.4

#: Keys the noise, which is none that is certified against.
_SEED = 20_230_501

#: A reading of a denoiser: from noisy images and sigma to clean images.
_Reading = Callable[[Tensor, float], Tensor]


class Denoising(NamedTuple):
    """What a denoiser gains on a few images.

    Attributes
    ----------
    sigma : float
        Noise level in [0,1] pixel units.
    psnr_noisy, psnr_denoised : float
        Peak signal-to-noise ratio of the noisy and of the denoised images in decibels:
        10 log10 of 1 over the mean squared error of all pixels in [0,1].
    samples : int
        How many noisy images were looked at.
    """

    sigma: float
    psnr_noisy: float
    psnr_denoised: float
    samples: int

    def __str__(self) -> str:
        return (
            f"at sigma {self.sigma:g} a PSNR of {self.psnr_denoised:.1f} dB, "
            f"of the noisy images {self.psnr_noisy:.1f} dB"
        )


def few(images: int) -> np.ndarray:
    """Return which of so many images are looked at: `SAMPLES` numbers, spread evenly."""
    return np.linspace(0, images - 1, SAMPLES).round().astype(int)


def check_denoising(smoothed: SmoothedClassifier, images: np.ndarray) -> Denoising | None:
    """Make sure that the denoiser of a smoothed classifier denoises.

    A few images, spread over those given, get seeded noise, and are denoised in one shot. That
    is an error where they come out worse than the noisy images, or where the denoiser names
    other readings of its network (``alternatives``) and one of them denoises much better. No
    certificate depends on the check, nor does it draw from the noise of the samples.

    Parameters
    ----------
    smoothed : SmoothedClassifier
        Its denoiser is run as its samples are: on its device, in its precision.
    images : ndarray of float, shape (images, channels, height, width)
        In [0,1], at least one.

    Returns
    -------
    Denoising or None
        None without a denoiser.

    Raises
    ------
    ValueError
        If the denoiser fails, or the images come out worse, or much worse than another reading
        of the network has them; the line names the likely cause.
    torch.OutOfMemoryError
        If not even one image fits into memory.

    Notes
    -----
    It refuses what cannot be meant, not what is weak: a denoiser that does less than mixing noisy
    images with grey would, or one of the user's own that does more when told another sigma, gets
    a warning.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from dds import SmoothedClassifier, make_plan
    >>> from dds.sampling.denoising_check import check_denoising
    >>> class Blur:
    ...     networks, runs = (), 1
    ...
    ...     def noise_sigma(self, sigma):
    ...         return sigma
    ...
    ...     def denoise(self, noisy, sigma, normal=None):
    ...         return torch.nn.functional.avg_pool2d(noisy, 3, stride=1, padding=1)
    ...
    >>> plan = make_plan({"plan": "fixed", "n0": 10, "n": 100}, sigma=0.5)
    >>> smoothed = SmoothedClassifier({"f": torch.nn.Flatten()}, Blur(), 0.5, plan, seed=1)
    >>> found = check_denoising(smoothed, np.full((1, 3, 8, 8), 0.4))
    >>> print(found)
    at sigma 0.5 a PSNR of 14.9 dB, of the noisy images 6.2 dB
    """
    denoiser = smoothed.denoiser
    if isinstance(denoiser, NoDenoiser):
        return None

    def look(rows: int) -> tuple[Denoising, float, list[_Tried]]:
        trial = _Trial(smoothed, images, rows)
        return trial.result(), trial.psnr_of_grey, list(trial.readings())

    networks = [("the denoiser", network) for network in denoiser.networks]
    what = f"denoiser {type(denoiser).__name__} fails on images of shape {images.shape[1:]}"
    with (
        in_one_line(what, "give images of the size and channels that it was trained on"),
        explained(networks),
        smoothed.runner.inference(),
    ):
        found, grey, readings = smoothed.runner.try_out(look, SAMPLES)
    _judge(denoiser, found, grey, readings)
    return found


def _judge(denoiser: Denoiser, found: Denoising, grey: float, readings: list[_Tried]) -> None:
    """Raise, warn or log what was found, beside noisy images mixed with grey and other readings."""
    fails = not found.psnr_denoised >= found.psnr_noisy - TOLERANCE  # nor is NaN good
    name, worse = type(denoiser).__name__, "denoised images are worse than noisy ones: "
    what = f"denoiser {name}: {worse * fails}{found}"
    gains = [
        (psnr - found.psnr_denoised, *told) for psnr, *told in readings if psnr > grey + TOLERANCE
    ]
    for gain, condition, cure, is_sure in sorted(gains, reverse=True):
        if gain >= TOLERANCE and (fails or is_sure):
            raise ValueError(f"{what}, but {gain:.1f} dB more if {condition}; {cure}")
    if fails:
        raise ValueError(
            f"{what}; it may be told time on another scale, want images in another range than "
            "[-1,1] or sigma in another unit, predict something else than is said, or have "
            "weights that are not its own"
        )
    worth = [told for told in gains if told[0] >= (WORTH_SAYING if told[-1] else TOLERANCE)]
    if worth:
        gain, condition, cure, _ = max(worth)
        logger.warning("%s, but %.1f dB more if %s; %s", what, gain, condition, cure)
    elif found.psnr_denoised < grey - TOLERANCE:
        logger.warning("%s, and mixed with grey %.1f dB", what, grey)
    else:
        logger.info("%s", what)


class _Tried(NamedTuple):
    """Another reading of a denoiser: how well it denoises, what is otherwise, and how to have it.

    It is an error by itself where `is_sure`. Images that are smoother or rougher than those of
    the training may gain by another sigma, and so may denoisers that are only weak.
    """

    psnr: float
    condition: str
    cure: str
    is_sure: bool


class _Trial:
    """A few images, their noisy versions, and how well readings of a denoiser undo the noise."""

    def __init__(self, smoothed: SmoothedClassifier, images: np.ndarray, rows: int) -> None:
        denoiser, device = smoothed.denoiser, smoothed.runner.device
        # One step, as the many steps of a chain draw from what an image may be, with twice the
        # error of the estimate.
        self._denoiser = in_one_shot(denoiser)
        self._sigma, self._rows = smoothed.sigma, rows
        self._begin_batch = smoothed.runner.begin_batch
        chosen = np.asarray(images[few(len(images))], np.float32)
        self._clean = torch.from_numpy(chosen).to(device)
        normal = seeded_normal(self._clean.shape, _SEED).to(device)
        self._noise_sigma = denoiser.noise_sigma(self._sigma)
        self._noisy = self._clean + self._noise_sigma * normal

    def result(self) -> Denoising:
        """Measure the denoiser as it is."""
        noisy = round(self._psnr(self._noisy), 1)
        denoised = round(self._psnr_of(self._reading(self._denoiser)), 1)
        return Denoising(self._sigma, noisy, denoised, SAMPLES)

    @property
    def psnr_of_grey(self) -> float:
        """PSNR of the best mixture of noisy images and the best grey: what needs no denoiser."""
        variance, noise = float(self._clean.var()), self._noise_sigma**2
        return _decibels(variance * noise / (variance + noise))

    def readings(self) -> Iterator[_Tried]:
        """Measure the other readings that there are, the unit of sigma and the range for all."""
        for reading, condition, cure, is_sure in (*self._generic(), *self._own()):
            try:
                yield _Tried(self._psnr_of(reading), condition, cure, is_sure)
            except torch.OutOfMemoryError:
                raise
            except (ValueError, RuntimeError):  # such as a schedule that never reaches that sigma
                continue

    def _generic(self) -> Iterator[tuple[_Reading, str, str, bool]]:
        denoise = self._reading(self._denoiser)

        def told(factor: float) -> _Reading:
            return lambda noisy, sigma: denoise(noisy, factor * sigma)

        def in_unit_range(noisy: Tensor, sigma: float) -> Tensor:
            return 2 * denoise((noisy + 1) / 2, sigma / 2) - 1

        unit = "sigma is in [0,1] pixel units; the same noise is 2 sigma in [-1,1]"
        yield told(2), "it is told twice the sigma", unit, False
        yield told(0.5), "it is told half the sigma", unit, False
        yield told(255), "it is told 255 times the sigma", unit, False
        yield (
            in_unit_range,
            "it is given images in [0,1]",
            "its network wants them so, and gets them in [-1,1]",
            hasattr(self._denoiser, "alternatives"),
        )

    def _own(self) -> Iterator[tuple[_Reading, str, str, bool]]:
        for other, condition, cure in getattr(self._denoiser, "alternatives", list)():
            yield self._reading(other), condition, cure, True

    @staticmethod
    def _reading(denoiser: Denoiser) -> _Reading:
        def normal_like(noisy: Tensor) -> Normal:
            return lambda step: seeded_normal(noisy.shape, _SEED + step).to(noisy.device)

        return lambda noisy, sigma: denoiser.denoise(noisy, sigma, normal_like(noisy))

    def _psnr_of(self, reading: _Reading) -> float:
        denoised = []
        for noisy in self._noisy.split(self._rows):
            self._begin_batch()
            clean = reading(noisy, self._sigma)
            check_denoised(clean, noisy, type(self._denoiser).__name__)
            denoised.append(clean.clone())  # the next may be written over it
        return self._psnr(torch.cat(denoised))

    def _psnr(self, images: Tensor) -> float:
        error = float((images.float() - self._clean).square().mean())
        return _decibels(error) if math.isfinite(error) else -math.inf


def _decibels(error: float) -> float:
    """Return the PSNR of a mean squared error; 100 dB stands for all that is above."""
    return -10 * math.log10(max(error, 1e-10))


def in_one_shot(denoiser: Denoiser) -> Denoiser:
    """Return a denoiser that takes one step with the same network, where there is one."""
    return denoiser.one_shot() if hasattr(denoiser, "one_shot") else denoiser


def seeded_normal(shape: torch.Size, seed: int) -> Tensor:
    """Return standard normal noise on the CPU, none that is certified against."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
