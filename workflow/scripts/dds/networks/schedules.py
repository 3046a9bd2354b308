"""Noise schedules of diffusion models, and the timestep that matches a noise level.

A diffusion model sees ``x_t = sqrt(abar_t) x + sqrt(1 - abar_t) z`` for images x in
[-1,1] (equation 3; the paper writes alpha_t for what the diffusion literature and
this module call abar_t). Randomized smoothing adds ``sigma z`` to images in [0,1].
Scaling by sqrt(abar_t) and equating the noise gives equation 4, with twice the
sigma because [-1,1] is twice as wide as [0,1]::

    (2 sigma)^2 = (1 - abar_t) / abar_t

Other models have noise levels in place of timesteps (`SigmaSchedule`), or a straight line from
image to noise (`FlowSchedule`). All see ``alpha x + beta z`` for some alpha and beta, and
equation 4 becomes ``2 sigma = beta / alpha``; abar stands for ``1 / (1 + (2 sigma)^2)``.

No array library here: the workflow checks sigmas where Snakemake alone is installed.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from operator import mul
from typing import Any, ClassVar, NamedTuple

from dds.seeds import MOST_STEPS

#: How a timestep is chosen for a noise level; see `Schedule.timestep`.
TIMESTEP_RULES = ("nearest", "exact", "authors")

# Offset of Nichol and Dhariwal's cosine schedule (2021, section 3.2).
_COSINE_OFFSET = 0.008


class Timestep(NamedTuple):
    """Where on a schedule a noise level lies.

    Attributes
    ----------
    t : float
        Timestep, 0 to steps - 1; fractional under the rule ``"exact"`` only. Of a schedule
        without timesteps, how it calls the noise level.
    alpha_bar : float
        abar at `t`.
    noise_sigma : float
        Standard deviation, in [0,1] pixel units, of the noise to add to an image.
        A certificate for the nominal sigma stands when this is at least sigma.
    """

    t: float
    alpha_bar: float
    noise_sigma: float


class NoiseSchedule(ABC):
    """How a diffusion model calls noise levels, and how it wants noisy images scaled.

    Attributes
    ----------
    PREDICTIONS : tuple of str
        What a network with such a schedule may predict; see `dds.networks.predictions`.
    steps : int or None
        How many timesteps there are; None where any noise level is one.
    """

    PREDICTIONS: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def steps(self) -> int | None:
        """How many timesteps there are; None where any noise level is one."""

    @abstractmethod
    def network_time(self, t: float) -> float:
        """Return what the network is told for a timestep."""

    @abstractmethod
    def scales(self, alpha_bar: float) -> tuple[float, float]:
        """Return alpha and beta of what the network sees, ``alpha x + beta z``."""

    @abstractmethod
    def timestep(self, sigma: float, rule: str = "nearest") -> Timestep:
        """Find the timestep for a noise level; see `Schedule.timestep`."""

    @abstractmethod
    def chain(self, start: Timestep, steps: int) -> list[Timestep]:
        """Return the timesteps of a reverse chain, from `start` down; 0 steps are all."""

    @abstractmethod
    def most_steps(self, sigma: float, rule: str = "nearest") -> int:
        """Return how many steps a reverse chain from a noise level can have."""


@dataclass(frozen=True)
class Schedule(NoiseSchedule):
    """A discrete noise schedule: abar_t of equation 3 for every timestep.

    Attributes
    ----------
    alpha_bar : tuple of float
        abar_t of every timestep, strictly decreasing, each in (0, 1).
    rescale_timesteps : bool
        Whether the network was trained to be told ``t * 1000 / steps`` instead of t.
    """

    PREDICTIONS = ("noise", "x0", "v")

    alpha_bar: tuple[float, ...]
    rescale_timesteps: bool = False

    @property
    def steps(self) -> int:
        """How many timesteps the schedule has."""
        return len(self.alpha_bar)

    @cached_property
    def sigmas(self) -> tuple[float, ...]:
        """Noise level of every timestep in [0,1] pixel units, increasing (equation 4)."""
        return tuple(math.sqrt((1 - abar) / abar) / 2 for abar in self.alpha_bar)

    def network_time(self, t: float) -> float:
        """Return what the network is told for a timestep.

        Parameters
        ----------
        t : float
            Timestep, 0 to steps - 1; a tensor of them does as well.

        Returns
        -------
        float
            `t`, or ``t * 1000 / steps``.
        """
        return t * 1000 / self.steps if self.rescale_timesteps else t

    def scales(self, alpha_bar: float) -> tuple[float, float]:
        """Return alpha and beta of equation 3: sqrt(abar) and sqrt(1 - abar)."""
        return math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)

    def timestep(self, sigma: float, rule: str = "nearest") -> Timestep:
        """Find the timestep for a noise level (the paper's Figure 1, line "t*").

        Parameters
        ----------
        sigma : float
            Noise level in [0,1] pixel units.
        rule : {"nearest", "exact", "authors"}
            ``"nearest"``: noise at exactly `sigma`, the timestep whose noise level
            is nearest in logarithm. ``"exact"``: noise at exactly `sigma`, a
            fractional timestep (equation 4 solved by interpolating log sigma
            between timesteps; equation 5 is its closed form for the cosine schedule).
            ``"authors"``: the first timestep whose noise level is at least `sigma`,
            and noise at that level, as in the authors' released code; the radius
            still uses the nominal `sigma`, which is the smaller of the two.

        Returns
        -------
        Timestep

        Raises
        ------
        ValueError
            If the schedule never reaches `sigma`, or the rule is unknown.

        References
        ----------
        Carlini et al. (2023): (Certified!!) Adversarial robustness for free! ICLR. Section 3,
        equation 4; the authors' code rounds up.

        Examples
        --------
        The network, the noise, or neither is a little off the noise level that is asked for:

        >>> from dds import cosine_schedule
        >>> schedule = cosine_schedule(4000)
        >>> for rule in ("nearest", "exact", "authors"):
        ...     t, _, noise_sigma = schedule.timestep(0.25, rule)
        ...     print(f"{rule}: t = {t:.2f}, noise {noise_sigma:.6f}")
        nearest: t = 1158.00, noise 0.250000
        exact: t = 1157.51, noise 0.250000
        authors: t = 1158.00, noise 0.250119
        """
        sigmas = self.sigmas
        if not sigmas[0] <= sigma <= sigmas[-1]:
            raise ValueError(
                f"sigma {sigma:g} is outside what the noise schedule covers: "
                f"{sigmas[0]:.3g} to {sigmas[-1]:.3g}"
            )
        t = bisect_left(sigmas, sigma)
        if rule == "authors":
            return Timestep(t, self.alpha_bar[t], sigmas[t])
        position = float(t)
        if sigma < sigmas[t]:
            below, here = math.log(sigmas[t - 1]), math.log(sigmas[t])
            position -= (here - math.log(sigma)) / (here - below)
        if rule == "nearest":
            t = round(position)
            return Timestep(t, self.alpha_bar[t], sigma)
        _check_rule(rule)
        # "exact": equation 4 solved for abar
        return Timestep(position, 1 / (1 + (2 * sigma) ** 2), sigma)

    def most_steps(self, sigma: float, rule: str = "nearest") -> int:
        """Return how many steps a reverse chain can have: the timesteps up to a noise level's.

        Parameters
        ----------
        sigma, rule
            As `timestep` takes them.

        Returns
        -------
        int

        Raises
        ------
        ValueError
            As `timestep` does.
        """
        return int(self.timestep(sigma, rule).t) + 1

    def chain(self, start: Timestep, steps: int) -> list[Timestep]:
        """Return the timesteps of a reverse chain.

        Parameters
        ----------
        start : Timestep
            The first.
        steps : int
            How many, evenly spaced from the first down; 0 for every timestep.

        Returns
        -------
        list of Timestep
        """
        count = steps or int(start.t) + 1
        step = (-1 - start.t) / count
        lower = [round(i * step + start.t) for i in range(1, count)]
        return [start, *(Timestep(t, self.alpha_bar[t], self.sigmas[t]) for t in lower)]


class _Continuous(NoiseSchedule):
    """A schedule without timesteps, which meets any noise level exactly."""

    steps = None

    @property
    @abstractmethod
    def range(self) -> tuple[float, float]:
        """The noise levels that it covers, in [0,1] pixel units."""

    @abstractmethod
    def _at(self, ratio: float) -> float:
        """Return how it calls the noise level ``beta / alpha``."""

    @abstractmethod
    def _levels(self, ratio: float, steps: int) -> list[float]:
        """Return ``beta / alpha`` of steps down from one."""

    def timestep(self, sigma: float, rule: str = "nearest") -> Timestep:
        """Return the noise level itself, whatever the rule.

        Raises
        ------
        ValueError
            If the schedule does not cover `sigma`, or the rule is unknown.
        """
        lowest, highest = self.range
        if not lowest <= sigma <= highest:
            raise ValueError(
                f"sigma {sigma:g} is outside what the noise schedule covers: "
                f"{lowest:.3g} to {highest:.3g}"
            )
        _check_rule(rule)
        return Timestep(self._at(2 * sigma), 1 / (1 + (2 * sigma) ** 2), sigma)

    def chain(self, start: Timestep, steps: int) -> list[Timestep]:
        """Return the noise levels of a reverse chain of at least 1 step, from `start` down."""
        ratios = self._levels(2 * start.noise_sigma, steps)
        lower = [Timestep(self._at(s), 1 / (1 + s**2), s / 2) for s in ratios[1:]]
        return [start, *lower]

    def most_steps(self, sigma: float, rule: str = "nearest") -> int:
        """Return `dds.seeds.MOST_STEPS`: as many as there is noise for.

        Raises
        ------
        ValueError
            As `timestep` does.
        """
        self.timestep(sigma, rule)
        return MOST_STEPS


@dataclass(frozen=True)
class SigmaSchedule(_Continuous):
    """Noise levels themselves: a network that sees ``x + s z`` and is told s = 2 sigma.

    Attributes
    ----------
    sigma_min, sigma_max : float
        The least and the largest s that the network was trained with.
    sigma_data : float
        Standard deviation of the images in [-1,1], which networks with ``edm`` or
        ``consistency`` preconditioning are scaled by.

    References
    ----------
    Karras et al. (2022): Elucidating the design space of diffusion-based generative models.
    NeurIPS. Table 1, and equation 5 for the levels of a chain, with rho 7.

    Examples
    --------
    >>> from dds import SigmaSchedule
    >>> schedule = SigmaSchedule()
    >>> schedule.timestep(0.25)
    Timestep(t=0.5, alpha_bar=0.8, noise_sigma=0.25)
    >>> [round(level.t, 3) for level in schedule.chain(schedule.timestep(0.25), 3)]
    [0.5, 0.123, 0.021]
    """

    PREDICTIONS = ("noise", "x0", "edm", "consistency")

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    sigma_data: float = 0.5

    def network_time(self, t: float) -> float:
        """Return `t`: the network is told the noise level."""
        return t

    def scales(self, alpha_bar: float) -> tuple[float, float]:
        """Return 1 and s."""
        return 1.0, math.sqrt((1 - alpha_bar) / alpha_bar)

    @property
    def range(self) -> tuple[float, float]:
        """Half of `sigma_min` and of `sigma_max`: [0,1] is half as wide as [-1,1]."""
        return self.sigma_min / 2, self.sigma_max / 2

    def _at(self, ratio: float) -> float:
        return ratio

    def _levels(self, ratio: float, steps: int) -> list[float]:
        first, last = ratio ** (1 / 7), self.sigma_min ** (1 / 7)
        return [(first + i / steps * (last - first)) ** 7 for i in range(steps)]


@dataclass(frozen=True)
class FlowSchedule(_Continuous):
    """A straight line from image to noise: a network that sees ``(1 - t) x + t z``.

    Attributes
    ----------
    time_scale : float
        The network is told ``time_scale * t``: 1, or the timesteps it was trained with.

    References
    ----------
    Liu, Gong and Liu (2023): Flow straight and fast: learning to generate and transfer data
    with rectified flow. ICLR. Equation 1, with time from the image to the noise.

    Examples
    --------
    >>> from dds import FlowSchedule
    >>> schedule = FlowSchedule()
    >>> start = schedule.timestep(0.5)
    >>> start.t, schedule.network_time(start.t), schedule.scales(start.alpha_bar)
    (0.5, 500.0, (0.5, 0.5))
    """

    PREDICTIONS = ("flow", "noise", "x0")

    time_scale: float = 1000.0

    def network_time(self, t: float) -> float:
        """Return ``time_scale * t``."""
        return t * self.time_scale

    def scales(self, alpha_bar: float) -> tuple[float, float]:
        """Return 1 - t and t."""
        t = self._at(math.sqrt((1 - alpha_bar) / alpha_bar))
        return 1 - t, t

    @property
    def range(self) -> tuple[float, float]:
        """Any noise level."""
        return 0.0, math.inf

    def _at(self, ratio: float) -> float:
        return ratio / (1 + ratio)

    def _levels(self, ratio: float, steps: int) -> list[float]:
        first = self._at(ratio)
        times = [first * (1 - i / steps) for i in range(steps)]
        return [t / (1 - t) for t in times]


def _check_rule(rule: str) -> None:
    if rule not in TIMESTEP_RULES:
        raise ValueError(f"unknown timestep rule {rule!r}; allowed: {', '.join(TIMESTEP_RULES)}")


def linear_schedule(
    steps: int,
    *,
    rescale_timesteps: bool = False,
    beta_start: float | None = None,
    beta_end: float | None = None,
) -> Schedule:
    """Build Ho et al.'s (2020) linear schedule, scaled to any number of steps.

    beta rises linearly from 0.0001 to 0.02 when `steps` is 1,000.

    Parameters
    ----------
    steps : int
        Timesteps, the paper's T, at least 21 unless betas are given.
    rescale_timesteps : bool, optional
        Whether the network was trained to be told ``t * 1000 / steps`` instead of t.
    beta_start, beta_end : float, optional
        The first and the last beta, in (0, 1); by default Ho et al.'s times ``1000 / steps``.

    Returns
    -------
    Schedule

    Raises
    ------
    ValueError
        If the last beta would reach 1, so that nothing is left to denoise, or only one is given.

    References
    ----------
    Ho, Jain and Abbeel (2020): Denoising diffusion probabilistic models. NeurIPS. Section 4.

    Examples
    --------
    >>> from dds import linear_schedule
    >>> schedule = linear_schedule(1000)
    >>> [round(schedule.alpha_bar[t], 6) for t in (0, 1, 999)]
    [0.9999, 0.99978, 4e-05]
    """
    if (beta_start is None) != (beta_end is None):
        raise ValueError("a linear noise schedule has both beta_start and beta_end, or neither")
    if beta_start is None or beta_end is None:
        if steps < 21:
            raise ValueError(f"a linear noise schedule needs at least 21 steps, not {steps}")
        scale = 1000 / steps
        beta_start, beta_end = scale * 1e-4, scale * 0.02
    return _from_betas(_evenly(beta_start, beta_end, steps), rescale_timesteps)


def scaled_linear_schedule(
    steps: int,
    *,
    rescale_timesteps: bool = False,
    beta_start: float = 0.00085,
    beta_end: float = 0.012,
) -> Schedule:
    """Build the schedule of latent diffusion models: sqrt(beta) rises linearly.

    Parameters
    ----------
    steps : int
        Timesteps.
    rescale_timesteps : bool, optional
        Whether the network was trained to be told ``t * 1000 / steps`` instead of t.
    beta_start, beta_end : float, optional
        The first and the last beta, in (0, 1); by default those of Stable Diffusion.

    Returns
    -------
    Schedule

    References
    ----------
    Rombach et al. (2022): High-resolution image synthesis with latent diffusion models. CVPR.
    The schedule is in their code, as in diffusers under the name ``scaled_linear``.

    Examples
    --------
    >>> from dds import scaled_linear_schedule
    >>> schedule = scaled_linear_schedule(1000)
    >>> [round(schedule.alpha_bar[t], 6) for t in (0, 999)]
    [0.99915, 0.00466]
    """
    roots = _evenly(math.sqrt(beta_start), math.sqrt(beta_end), steps)
    return _from_betas([root**2 for root in roots], rescale_timesteps)


def cosine_schedule(steps: int, *, rescale_timesteps: bool = False) -> Schedule:
    """Build Nichol and Dhariwal's (2021) cosine schedule.

    No beta exceeds 0.999, which keeps the last timestep short of pure noise.

    Parameters
    ----------
    steps : int
        Timesteps, the paper's T.
    rescale_timesteps : bool, optional
        Whether the network was trained to be told ``t * 1000 / steps`` instead of t.

    Returns
    -------
    Schedule

    References
    ----------
    Nichol and Dhariwal (2021): Improved denoising diffusion probabilistic models. ICML.
    Equation 17.

    Examples
    --------
    >>> from dds import cosine_schedule
    >>> schedule = cosine_schedule(4000, rescale_timesteps=True)
    >>> schedule.steps, schedule.network_time(2000)
    (4000, 500.0)
    >>> [round(schedule.alpha_bar[t], 6) for t in (0, 1999)]
    [0.99999, 0.493844]
    """
    edges = [_cosine_curve(t / steps) for t in range(steps + 1)]
    betas = [min(1 - after / before, 0.999) for before, after in pairwise(edges)]
    return _from_betas(betas, rescale_timesteps)


def given_schedule(alphas_cumprod: Sequence[float], *, rescale_timesteps: bool = False) -> Schedule:
    """Build a schedule from abar of every timestep.

    Parameters
    ----------
    alphas_cumprod : sequence of float
        abar, which diffusers calls so: strictly decreasing, each in (0, 1), at least 2.
    rescale_timesteps : bool, optional
        Whether the network was trained to be told ``t * 1000 / steps`` instead of t.

    Returns
    -------
    Schedule

    Raises
    ------
    ValueError
        Naming the first abar that cannot be.

    Examples
    --------
    >>> from dds.networks.schedules import given_schedule
    >>> given_schedule([0.9, 0.5, 0.1]).timestep(0.5).t
    1
    """
    alpha_bar = tuple(map(float, alphas_cumprod))
    for t, (before, here) in enumerate(pairwise((1.0, *alpha_bar))):
        if not 0 < here < before:
            raise ValueError(
                f"alphas_cumprod: {here:g} at timestep {t} must be above 0 and below {before:g}"
            )
    if len(alpha_bar) < 2:
        raise ValueError(f"alphas_cumprod has {len(alpha_bar)} timesteps; at least 2 are needed")
    return Schedule(alpha_bar, rescale_timesteps)


def _evenly(first: float, last: float, steps: int) -> list[float]:
    slope = (last - first) / (steps - 1)
    return [first + slope * t for t in range(steps)]


def _from_betas(betas: list[float], rescale_timesteps: bool) -> Schedule:
    """Multiply 1 - beta up to abar (Ho et al. 2020, section 2)."""
    if not all(0 < beta < 1 for beta in (betas[0], betas[-1])):
        raise ValueError(
            f"beta_start and beta_end must be above 0 and below 1, not {betas[0]:g} and "
            f"{betas[-1]:g}"
        )
    return Schedule(tuple(accumulate((1 - beta for beta in betas), mul)), rescale_timesteps)


#: What builds a schedule, by the name that models' entries give it; its parameters are their keys.
SCHEDULES: dict[str, Callable[..., NoiseSchedule]] = {
    "linear": linear_schedule,
    "cosine": cosine_schedule,
    "scaled_linear": scaled_linear_schedule,
    "alphas_cumprod": given_schedule,
    "sigma": SigmaSchedule,
    "flow": FlowSchedule,
}

#: What a network may predict, by the name of its schedule.
PREDICTIONS = dict.fromkeys(SCHEDULES, Schedule.PREDICTIONS) | {
    "sigma": SigmaSchedule.PREDICTIONS,
    "flow": FlowSchedule.PREDICTIONS,
}


def check_schedule_keys(name: str, given: Sequence[str]) -> None:
    """Make sure that a schedule has the keys that are given, and those that it needs.

    Parameters
    ----------
    name : str
        One of `SCHEDULES`.
    given : sequence of str
        Names of keys.

    Raises
    ------
    ValueError
        Naming the first key that it lacks or has no use for.
    """
    known = inspect.signature(SCHEDULES[name]).parameters
    for key in given:
        if key not in known:
            others = [
                other
                for other, build in SCHEDULES.items()
                if key in inspect.signature(build).parameters
            ]
            raise ValueError(f"{key} is for {', '.join(others)} alone; leave it out")
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in given:
            raise ValueError(f"{key} is missing, which {name} needs")


def build_schedule(
    name: str, steps: int | None = None, rescale_timesteps: bool = False, **keys: Any
) -> NoiseSchedule:
    """Build a schedule by its name, as models' entries write it.

    Parameters
    ----------
    name : {"linear", "cosine", "scaled_linear", "alphas_cumprod", "sigma", "flow"}
        See `linear_schedule`, `cosine_schedule`, `scaled_linear_schedule`, `given_schedule`,
        `SigmaSchedule` and `FlowSchedule`.
    steps, rescale_timesteps, **keys
        As those take them; None stands for a key that is not given.

    Returns
    -------
    NoiseSchedule
        The same object for the same arguments.

    Raises
    ------
    ValueError
        If there is no such schedule, or it cannot have these keys.
    """
    if name not in SCHEDULES:
        raise ValueError(f"unknown noise schedule {name!r}; allowed: {', '.join(SCHEDULES)}")
    keys |= {"steps": steps, "rescale_timesteps": rescale_timesteps or None}
    given = {key: value for key, value in keys.items() if value is not None}
    check_schedule_keys(name, list(given))
    return _built(
        name,
        **{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()},
    )


@lru_cache
def _built(name: str, **keys: Any) -> NoiseSchedule:
    return SCHEDULES[name](**keys)


def _cosine_curve(fraction: float) -> float:
    """Return f of Nichol and Dhariwal (2021), equation 17, when `fraction` of T has passed."""
    s = _COSINE_OFFSET
    return math.cos((fraction + s) / (1 + s) * math.pi / 2) ** 2
