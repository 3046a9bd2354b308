"""What networks predict, each as an estimate of the clean image.

A network sees ``x = alpha x_0 + beta z`` for images x_0 in [-1,1] and standard normal z, where
alpha and beta are its schedule's. Each function here is a kind of network: it takes such images
and how to run the network, and returns its estimate of x_0, not clipped. With ``s = beta / alpha``
the noise level is s = 2 sigma.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from dds.networks.schedules import NoiseSchedule, SigmaSchedule

#: Runs the network on images at a time that it is told.
Run = Callable[[Tensor, float], Tensor]


class Level(NamedTuple):
    """A noise level as a network knows it.

    Attributes
    ----------
    time : float
        What the schedule has the network told.
    alpha, beta : float
        Of what the network sees, ``alpha x_0 + beta z``.
    schedule : NoiseSchedule
        The schedule.
    """

    time: float
    alpha: float
    beta: float
    schedule: NoiseSchedule


def from_noise(run: Run, x: Tensor, level: Level) -> Tensor:
    """Read the noise z: Ho, Jain and Abbeel (2020), equation 15."""
    return (x - level.beta * run(x, level.time)) / level.alpha


def from_image(run: Run, x: Tensor, level: Level) -> Tensor:
    """Read the image x_0 itself: Ho, Jain and Abbeel (2020), section 3.2."""
    return run(x, level.time)


def from_v(run: Run, x: Tensor, level: Level) -> Tensor:
    """Read v = alpha z - beta x_0: Salimans and Ho (2022), section 4 and appendix D."""
    return level.alpha * x - level.beta * run(x, level.time)


def from_edm(run: Run, x: Tensor, level: Level) -> Tensor:
    """Read F of c_skip y + c_out F(c_in y; ln(s) / 4), where y = x_0 + s z.

    Karras et al. (2022), equation 7 and table 1.
    """
    y, s, data = _preconditioned(x, level)
    scale = math.sqrt(s**2 + data**2)
    c_skip, c_out, c_in = data**2 / scale**2, s * data / scale, 1 / scale
    return c_skip * y + c_out * run(c_in * y, math.log(s) / 4)


def from_consistency(run: Run, x: Tensor, level: Level) -> Tensor:
    """Read F of a consistency function, as from EDM but for s_min: Song et al. (2023), appendix C.

    c_skip and c_out make it the identity at s_min, and the time is 250 ln(s) as in the authors'
    code and in diffusers.
    """
    y, s, data = _preconditioned(x, level)
    scale, above = math.sqrt(s**2 + data**2), s - _sigmas(level).sigma_min
    c_skip, c_out, c_in = data**2 / (above**2 + data**2), above * data / scale, 1 / scale
    return c_skip * y + c_out * run(c_in * y, 250 * math.log(s))


def from_flow(run: Run, x: Tensor, level: Level) -> Tensor:
    """Read the velocity z - x_0 of the line from image to noise.

    Liu, Gong and Liu (2023), equation 1, where alpha + beta = 1.
    """
    return x - level.beta * run(x, level.time)


def _preconditioned(x: Tensor, level: Level) -> tuple[Tensor, float, float]:
    """Return y = x_0 + s z, s, and the standard deviation of images."""
    return x / level.alpha, level.beta / level.alpha, _sigmas(level).sigma_data


def _sigmas(level: Level) -> SigmaSchedule:
    assert isinstance(level.schedule, SigmaSchedule)  # as `check_prediction` has made sure
    return level.schedule


#: The kinds of networks, by what entries call them.
PREDICTIONS: dict[str, Callable[[Run, Tensor, Level], Tensor]] = {
    "noise": from_noise,
    "x0": from_image,
    "v": from_v,
    "edm": from_edm,
    "consistency": from_consistency,
    "flow": from_flow,
}


def check_prediction(predicts: str, schedule: NoiseSchedule) -> None:
    """Make sure that a kind of network goes with a schedule.

    Raises
    ------
    ValueError
        Saying which kinds do, or that it is no schedule.
    """
    if not isinstance(schedule, NoiseSchedule):
        raise ValueError(
            f"the schedule is a {type(schedule).__name__}; it must be one of dds's, such as "
            "dds.cosine_schedule(1000)"
        )
    if predicts not in PREDICTIONS:
        raise ValueError(f"unknown prediction {predicts!r}; allowed: {', '.join(PREDICTIONS)}")
    if predicts not in schedule.PREDICTIONS:
        raise ValueError(
            f"predicts {predicts} does not go with {type(schedule).__name__}; allowed: "
            f"{', '.join(schedule.PREDICTIONS)}"
        )
