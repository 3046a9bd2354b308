"""Exact binomial bounds, and the certified radius that they give."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtr, ndtri


def clopper_pearson_lower(successes: ArrayLike, n: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """Return exact one-sided lower confidence bounds of binomial probabilities.

    With probability at least 1 - `alpha` over the draws, the bound is at most
    the true probability.

    Parameters
    ----------
    successes, n : array_like of int
        Successes among `n` independent draws, 0 <= successes <= n; broadcast.
    alpha : array_like of float
        Error probability, 0 < alpha < 1; broadcast.

    Returns
    -------
    ndarray or float
        Bounds in [0, 1]; 0 where there is no success.

    Raises
    ------
    ValueError
        If an argument is out of its range or a count is no integer.

    References
    ----------
    Clopper and Pearson (1934), The use of confidence or fiducial limits illustrated in the
    case of the binomial. Biometrika 26, 404-413.

    Examples
    --------
    >>> bounds = clopper_pearson_lower([0, 500, 980, 1000], 1000, alpha=0.001)
    >>> bounds.round(4)
    array([0.    , 0.4508, 0.9623, 0.9931])
    """
    successes, n = _check_counts(successes, n)
    alpha = check_alpha(alpha)
    with np.errstate(invalid="ignore"):
        bound = betaincinv(successes, n - successes + 1, alpha)
    return np.where(successes == 0, 0.0, bound)[()]


def clopper_pearson_upper(successes: ArrayLike, n: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """Return exact one-sided upper confidence bounds of binomial probabilities.

    The mirror image of `clopper_pearson_lower`, with the same errors. Without a success it is
    1 - alpha^(1/n), where statsmodels' ``proportion_confint(..., method="beta")`` goes wrong at
    small alpha (its issues 9141 and 9549): of 0 successes in 1,000 at alpha = 1e-7, split over
    two sides, it says 0.99999986 for 0.01667.

    Parameters
    ----------
    successes, n : array_like of int
        Successes among `n` independent draws, 0 <= successes <= n; broadcast.
    alpha : array_like of float
        Error probability, 0 < alpha < 1; broadcast.

    Returns
    -------
    ndarray or float
        Bounds in [0, 1]; 1 where there is no failure.

    References
    ----------
    Clopper and Pearson (1934), The use of confidence or fiducial limits illustrated in the
    case of the binomial. Biometrika 26, 404-413.
    """
    successes, n = _check_counts(successes, n)
    return 1.0 - clopper_pearson_lower(n - successes, n, alpha)


def binomial_interval(
    successes: ArrayLike, n: ArrayLike, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact two-sided confidence interval of binomial probabilities.

    Meant for accuracies over images: the interval holds the accuracy on the
    population that the images were drawn from with probability `level`.

    Parameters
    ----------
    successes, n : array_like of int
        Successes among `n` independent draws; broadcast.
    level : float, optional
        Coverage, 0 < level < 1, split evenly over the two sides.

    Returns
    -------
    low, high : ndarray or float
        The ends of the interval, in [0, 1].

    Raises
    ------
    ValueError
        If an argument is out of its range or a count is no integer.

    References
    ----------
    Clopper and Pearson (1934), The use of confidence or fiducial limits illustrated in the
    case of the binomial. Biometrika 26, 404-413.

    Examples
    --------
    The accuracy of 196 right answers on 200 images:

    >>> low, high = binomial_interval(196, 200)
    >>> print(low.round(3), high.round(3))
    0.95 0.995
    """
    tail = (1 - _check_open_unit(level, "level")) / 2
    return clopper_pearson_lower(successes, n, tail), clopper_pearson_upper(successes, n, tail)


def certified_radius(p_lower: ArrayLike, sigma: ArrayLike) -> np.ndarray:
    """Return the l2 radius within which a smoothed classifier cannot change its answer.

    sigma * Phi^-1(p_lower): the runner-up's probability is bounded by 1 - p_lower.

    Parameters
    ----------
    p_lower : array_like of float
        Lower bounds of the top class's probability, in [0, 1]; broadcast.
    sigma : array_like of float
        Noise levels in [0,1] pixel units, above 0; broadcast.

    Returns
    -------
    ndarray or float
        Radii in [0,1] pixel units; 0 where p_lower <= 1/2.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Cohen, Rosenfeld and Kolter (2019), Certified adversarial robustness via randomized
    smoothing. ICML: theorem 1.

    Examples
    --------
    >>> certified_radius([0.4, 0.6, 0.95], sigma=0.25).round(4)
    array([0.    , 0.0633, 0.4112])
    """
    p_lower = np.asarray(p_lower, dtype=float)
    _check_all((p_lower >= 0) & (p_lower <= 1), "p_lower must lie in [0, 1]")
    return np.where(p_lower > 0.5, check_sigma(sigma) * ndtri(p_lower), 0.0)[()]


def largest_radius(n: ArrayLike, alpha: ArrayLike, sigma: ArrayLike) -> np.ndarray:
    """Return the radius that `n` successes in `n` samples certify: no image gets more.

    Parameters
    ----------
    n : array_like of int
        Samples drawn; broadcast.
    alpha : array_like of float
        Error probability of the lower bound, 0 < alpha < 1; broadcast.
    sigma : array_like of float
        Noise levels in [0,1] pixel units, above 0; broadcast.

    Returns
    -------
    ndarray or float
        sigma * Phi^-1(alpha^(1/n)), in [0,1] pixel units; 0 where that is negative.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> largest_radius([100, 10_000, 100_000], alpha=0.001, sigma=1).round(4)
    array([1.5005, 3.1986, 3.8115])
    """
    return certified_radius(clopper_pearson_lower(n, n, alpha), sigma)


def successes_needed(
    radius: ArrayLike, sigma: ArrayLike, n: ArrayLike, alpha: ArrayLike
) -> np.ndarray:
    """Return the fewest successes among `n` samples that certify a radius.

    Agrees to the last bit with comparing `certified_radius` to `radius`, as
    tables do. At radius 0 the bound must lie above 1/2: no abstention.

    Parameters
    ----------
    radius, sigma : array_like of float
        Radii, at least 0, and noise levels, both in [0,1] pixel units; broadcast.
    n : array_like of int
        Samples drawn; broadcast.
    alpha : array_like of float
        Error probability of the lower bound; broadcast.

    Returns
    -------
    ndarray of int64 or int64
        In [0, n], or n + 1 where even `n` successes do not certify the radius.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> successes_needed([0.0, 0.25, 0.5, 1.0], sigma=0.25, n=1000, alpha=0.001)
    array([ 550,  877,  991, 1001])
    """
    radius = np.asarray(radius, dtype=float)
    _check_all(radius >= 0, "radius must be at least 0")
    radius, sigma, n, alpha = np.broadcast_arrays(radius, sigma, n, alpha)

    def certifies(successes: np.ndarray) -> np.ndarray:
        p_lower = clopper_pearson_lower(successes, n, alpha)
        return (p_lower > 0.5) & (certified_radius(p_lower, sigma) >= radius)

    too_few = np.zeros(n.shape, dtype=np.int64)
    enough = n.astype(np.int64) + 1
    while np.any(enough - too_few > 1):
        middle = (too_few + enough) // 2
        sufficient = certifies(middle)
        enough = np.where(sufficient, middle, enough)
        too_few = np.where(sufficient, too_few, middle)
    return enough[()]


def probability_needed(radius: ArrayLike, sigma: ArrayLike) -> np.ndarray:
    """Return the probability of the top class that a certified radius needs.

    Phi(radius / sigma), and so little more that `certified_radius` of it is at least `radius`
    to the last bit, as tables compare them, and that it lies above 1/2.

    Parameters
    ----------
    radius, sigma : array_like of float
        Radii, at least 0, and noise levels, both in [0,1] pixel units; broadcast.

    Returns
    -------
    ndarray or float
        In (1/2, 1]; 1, which no count of samples can show, where no other number of float64
        will do.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Cohen, Rosenfeld and Kolter (2019), Certified adversarial robustness via randomized
    smoothing. ICML: theorem 1.

    Examples
    --------
    >>> probability_needed([0.0, 0.25, 0.5], sigma=0.25).round(4)
    array([0.5   , 0.8413, 0.9772])
    """
    radius, sigma = np.asarray(radius, dtype=float), check_sigma(sigma)
    _check_all(radius >= 0, "radius must be at least 0")
    p = np.maximum(ndtr(radius / sigma), np.nextafter(0.5, 1))
    while np.any(short := certified_radius(p, sigma) < radius):
        p = np.where(short, np.nextafter(p, 1), p)
    return p[()]


def check_alpha(alpha: ArrayLike) -> np.ndarray:
    """Return error probabilities as an array, once they are known to lie between 0 and 1.

    Parameters
    ----------
    alpha : array_like of float
        Error probabilities.

    Returns
    -------
    ndarray of float

    Raises
    ------
    ValueError
        If one is not a number above 0 and below 1.
    """
    return _check_open_unit(alpha, "alpha")


def check_sigma(sigma: ArrayLike) -> np.ndarray:
    """Return noise levels as an array, once they are known to be above 0.

    Parameters
    ----------
    sigma : array_like of float
        Noise levels.

    Returns
    -------
    ndarray of float

    Raises
    ------
    ValueError
        If one is not a number above 0.
    """
    sigma = np.asarray(sigma, dtype=float)
    _check_all(np.isfinite(sigma) & (sigma > 0), "sigma must be above 0")
    return sigma


def _check_counts(successes: ArrayLike, n: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    successes, n = np.asarray(successes), np.asarray(n)
    for name, counts in (("successes", successes), ("n", n)):
        _check_all(np.isfinite(counts) & (counts == np.floor(counts)), f"{name} must be whole")
    _check_all((successes >= 0) & (successes <= n), "successes must lie between 0 and n")
    return successes, n


def _check_open_unit(value: ArrayLike, name: str) -> np.ndarray:
    value = np.asarray(value, dtype=float)
    _check_all((value > 0) & (value < 1), f"{name} must lie between 0 and 1, both excluded")
    return value


def _check_all(valid: np.ndarray, message: str) -> None:
    if not np.all(valid):
        raise ValueError(message)
