"""Noise schedules of diffusion models, and the timestep that matches a noise level.

A diffusion model sees ``x_t = sqrt(abar_t) x + sqrt(1 - abar_t) z`` for images x in
[-1,1] (equation 3; the paper writes alpha_t for what the diffusion literature and
this module call abar_t). Randomized smoothing adds ``sigma z`` to images in [0,1].
Scaling by sqrt(abar_t) and equating the noise gives equation 4, with twice the
sigma because [-1,1] is twice as wide as [0,1]::

    (2 sigma)^2 = (1 - abar_t) / abar_t

No array library here: the workflow checks sigmas where Snakemake alone is installed.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from operator import mul
from typing import NamedTuple

#: How a timestep is chosen for a noise level; see `Schedule.timestep`.
TIMESTEP_RULES = ("nearest", "exact", "authors")

# Offset of Nichol and Dhariwal's cosine schedule (2021, section 3.2).
_COSINE_OFFSET = 0.008


class Timestep(NamedTuple):
    """Where on a schedule a noise level lies.

    Attributes
    ----------
    t : float
        Timestep, 0 to steps - 1; fractional under the rule ``"exact"`` only.
    alpha_bar : float
        abar at `t`.
    noise_sigma : float
        Standard deviation, in [0,1] pixel units, of the noise to add to an image.
        A certificate for the nominal sigma stands when this is at least sigma.
    """

    t: float
    alpha_bar: float
    noise_sigma: float


@dataclass(frozen=True)
class Schedule:
    """A discrete noise schedule: abar_t of equation 3 for every timestep.

    Attributes
    ----------
    alpha_bar : tuple of float
        abar_t of every timestep, strictly decreasing, each in (0, 1).
    rescale_timesteps : bool
        Whether the network was trained to be told ``t * 1000 / steps`` instead of t.
    """

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
        if rule == "exact":  # equation 4 solved for abar
            return Timestep(position, 1 / (1 + (2 * sigma) ** 2), sigma)
        raise ValueError(f"unknown timestep rule {rule!r}; allowed: {', '.join(TIMESTEP_RULES)}")

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


def linear_schedule(steps: int, *, rescale_timesteps: bool = False) -> Schedule:
    """Build Ho et al.'s (2020) linear schedule, scaled to any number of steps.

    beta rises linearly from 0.0001 to 0.02 when `steps` is 1,000.

    Parameters
    ----------
    steps : int
        Timesteps, the paper's T, at least 21.
    rescale_timesteps : bool, optional
        Whether the network was trained to be told ``t * 1000 / steps`` instead of t.

    Returns
    -------
    Schedule

    Raises
    ------
    ValueError
        If there are fewer steps, so that the last beta would reach 1: nothing is left to denoise.

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
    if steps < 21:
        raise ValueError(f"a linear noise schedule needs at least 21 steps, not {steps}")
    scale = 1000 / steps
    first, last = scale * 1e-4, scale * 0.02
    slope = (last - first) / (steps - 1)
    return _from_betas([first + slope * t for t in range(steps)], rescale_timesteps)


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


def _from_betas(betas: list[float], rescale_timesteps: bool) -> Schedule:
    """Multiply 1 - beta up to abar (Ho et al. 2020, section 2)."""
    return Schedule(tuple(accumulate((1 - beta for beta in betas), mul)), rescale_timesteps)


SCHEDULES = {"linear": linear_schedule, "cosine": cosine_schedule}


@lru_cache
def build_schedule(name: str, steps: int, rescale_timesteps: bool = False) -> Schedule:
    """Build a schedule by its name, as models' entries write it.

    Parameters
    ----------
    name : {"linear", "cosine"}
        See `linear_schedule` and `cosine_schedule`.
    steps, rescale_timesteps
        As those take them.

    Returns
    -------
    Schedule
        The same object for the same arguments.

    Raises
    ------
    ValueError
        If there is no such schedule, or it cannot have so few steps.
    """
    if name not in SCHEDULES:
        raise ValueError(f"unknown noise schedule {name!r}; allowed: {', '.join(SCHEDULES)}")
    return SCHEDULES[name](steps, rescale_timesteps=rescale_timesteps)


def _cosine_curve(fraction: float) -> float:
    """Return f of Nichol and Dhariwal (2021), equation 17, when `fraction` of T has passed."""
    s = _COSINE_OFFSET
    return math.cos((fraction + s) / (1 + s) * math.pi / 2) ** 2
