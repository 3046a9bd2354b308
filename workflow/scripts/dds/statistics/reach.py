"""The largest radius that samples can certify, and how many a radius takes.

No array library here: the workflow checks radii where Snakemake alone is installed.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import SupportsFloat

from dds.seeds import MOST_SAMPLES


def largest_radius(n: int, alpha: float, sigma: float) -> float | None:
    """Return the radius that `n` successes in `n` samples certify: no image gets more.

    Parameters
    ----------
    n : int
        Samples drawn.
    alpha : float
        Error probability of the lower bound, 0 < alpha < 1.
    sigma : float
        Noise level in [0,1] pixel units.

    Returns
    -------
    float or None
        sigma * Phi^-1(alpha^(1/n)), in [0,1] pixel units; None where so few samples certify
        no image at all.

    Examples
    --------
    >>> round(largest_radius(200, 0.001, 0.25), 3), largest_radius(9, 0.001, 0.25)
    (0.456, None)
    """
    p_lower = alpha ** (1 / n)
    if p_lower <= 0.5:
        return None
    if p_lower == 1:  # alpha is that close to 1
        return math.inf
    return sigma * NormalDist().inv_cdf(p_lower)


def can_reach(radius: float, largest: float) -> bool:
    """Tell whether samples that all agree certify a radius.

    Parameters
    ----------
    radius : float
        In [0,1] pixel units.
    largest : float
        The largest radius that they certify: 0 where they certify nothing, and then not even
        radius 0 can be reached; NaN where that is not known.

    Examples
    --------
    >>> can_reach(0.5, 0.456), can_reach(0.0, 0.0), can_reach(0.5, math.nan)
    (False, False, True)
    """
    return not (radius > largest or radius >= largest == 0)


def down(radius: SupportsFloat) -> str:
    """Return a radius in three decimals that promise no more than it does.

    Examples
    --------
    >>> down(0.4999), down(math.inf)
    ('0.499', 'inf')
    """
    exact = float(radius)
    return f"{math.floor(1000 * exact) / 1000 if math.isfinite(exact) else exact:.3f}"


def samples_needed(radius: float, alpha: float, sigma: float) -> int | None:
    """Return the fewest samples that certify a radius, were all of them successes.

    Parameters
    ----------
    radius, sigma : float
        A radius, at least 0, and a noise level, both in [0,1] pixel units.
    alpha : float
        Error probability of the lower bound, 0 < alpha < 1.

    Returns
    -------
    int or None
        None where more are needed than can be drawn, `dds.seeds.MOST_SAMPLES`.

    Examples
    --------
    >>> samples_needed(0.5, 0.001, 0.25), samples_needed(0, 0.001, 0.25)
    (301, 10)
    """
    missed = math.erfc(radius / sigma / math.sqrt(2)) / 2
    if missed == 0 or (about := math.log(alpha) / math.log1p(-missed)) > MOST_SAMPLES:
        return None
    n = max(math.floor(about) - 1, 1)  # the logarithms are rounded
    while (reached := largest_radius(n, alpha, sigma)) is None or reached < radius:
        n += 1
    return n


def check_enough(n: int, alpha: float) -> None:
    """Refuse so few samples that PREDICT names no class, were all to agree: 2 / 2^n > alpha.

    Raises
    ------
    ValueError
        Saying how many do.

    Examples
    --------
    >>> check_enough(2, alpha=0.1)
    Traceback (most recent call last):
    ValueError: n = 2 samples name no class at alpha 0.1, whatever they answer; take n = 5 or more
    """
    needed = math.ceil(1 - math.log2(alpha))
    if n < needed:
        raise ValueError(
            f"n = {n:,} samples name no class at alpha {alpha:g}, whatever they answer; take "
            f"n = {needed:,} or more"
        )
