"""From class counts to certified radii: exact binomial bounds and the radius they give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtri

if TYPE_CHECKING:
    from dds.statistics.plans import Plan

#: The prediction of a smoothed classifier that cannot name a class with confidence.
ABSTAIN = -1


def clopper_pearson_lower(successes: ArrayLike, n: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """Return exact one-sided lower confidence bounds of binomial probabilities.

    With probability at least 1 - `alpha` over the draws, the bound is at most
    the true probability (Clopper and Pearson, 1934).

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
    """
    successes, n = _check_counts(successes, n)
    alpha = _check_open_unit(alpha, "alpha")
    with np.errstate(invalid="ignore"):
        bound = betaincinv(successes, n - successes + 1, alpha)
    return np.where(successes == 0, 0.0, bound)[()]


def clopper_pearson_upper(successes: ArrayLike, n: ArrayLike, alpha: ArrayLike) -> np.ndarray:
    """Return exact one-sided upper confidence bounds of binomial probabilities.

    The mirror image of `clopper_pearson_lower`, with the same arguments and
    errors; 1 where there is no failure.
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
    """
    tail = (1 - _check_open_unit(level, "level")) / 2
    return clopper_pearson_lower(successes, n, tail), clopper_pearson_upper(successes, n, tail)


def certified_radius(p_lower: ArrayLike, sigma: ArrayLike) -> np.ndarray:
    """Return the l2 radius within which a smoothed classifier cannot change its answer.

    sigma * Phi^-1(p_lower), from Cohen et al. (2019), theorem 1, with the
    runner-up's probability bounded by 1 - p_lower.

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
    """
    p_lower = np.asarray(p_lower, dtype=float)
    _check_all((p_lower >= 0) & (p_lower <= 1), "p_lower must lie in [0, 1]")
    return np.where(p_lower > 0.5, _check_sigma(sigma) * ndtri(p_lower), 0.0)[()]


def largest_radius(n: ArrayLike, alpha: ArrayLike, sigma: ArrayLike) -> np.ndarray:
    """Return the radius that `n` successes in `n` samples certify: no image gets more."""
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


def certify_counts(
    selection: np.ndarray,
    estimation: np.ndarray,
    sigma: ArrayLike,
    label: ArrayLike,
    plan: Plan,
    alpha: float,
) -> dict[str, np.ndarray]:
    """Turn class counts into certificates (Cohen et al., 2019, CERTIFY).

    For each row, with probability at least 1 - `alpha` over the samples, either
    the row abstains or the smoothed classifier answers `prediction` everywhere
    within `radius` of the image. The guarantee needs selection and estimation
    samples to be independent, and one fixed base classifier for all of them.

    Parameters
    ----------
    selection : ndarray of int, shape (rows, classes)
        Class counts of the samples that pick the class.
    estimation : ndarray of int, shape (rows, classes)
        Class counts of the samples that bound the probability of that class.
    sigma : array_like of float, shape (rows,) or ()
        Noise levels in [0,1] pixel units.
    label : array_like of int, shape (rows,)
        The true classes.
    plan : Plan
        The plan that the samples were drawn by; it says which rows it finished
        and how `alpha` is spent.
    alpha : float
        Error probability of each certificate, 0 < alpha < 1.

    Returns
    -------
    dict of ndarray, each of shape (rows,)
        ``label``, ``sigma``, ``n0``, ``n`` (samples drawn), ``prediction``
        (ABSTAIN where p_lower <= 1/2), ``successes``, ``p_lower``, ``radius``
        (0 where it abstains), ``correct``, ``selected``, ``label_successes``
        (estimation samples that got the true class), ``computed``. Where
        the plan stopped a row before its radius could be certified,
        ``computed`` is False, ``p_lower`` and ``radius`` are NaN and the
        prediction is ABSTAIN.

    Raises
    ------
    ValueError
        If the arrays do not fit each other, or the plan cannot have stopped
        after as many samples as a row has.
    """
    selection, estimation = np.asarray(selection), np.asarray(estimation)
    if selection.ndim != 2 or selection.shape != estimation.shape:
        raise ValueError(
            "selection and estimation must both have shape (rows, classes), "
            f"not {selection.shape} and {estimation.shape}"
        )
    rows = len(selection)
    label, sigma = np.asarray(label), np.broadcast_to(_check_sigma(sigma), rows)
    if label.shape != (rows,):
        raise ValueError(f"label must have shape ({rows},), not {label.shape}")

    known = (label >= 0) & (label < selection.shape[1])
    selected = selection.argmax(axis=1)
    successes = estimation[np.arange(rows), selected]
    drawn = estimation.sum(axis=1)
    computed = plan.computed(drawn)
    p_lower, radius = np.full((2, rows), np.nan)
    p_lower[computed] = clopper_pearson_lower(
        successes[computed], drawn[computed], plan.alpha_at(drawn[computed], alpha)
    )
    radius[computed] = certified_radius(p_lower[computed], sigma[computed])
    prediction = np.where(p_lower > 0.5, selected, ABSTAIN)
    return {
        "label": label,
        "sigma": sigma,
        "n0": selection.sum(axis=1),
        "n": drawn,
        "prediction": prediction,
        "successes": successes,
        "p_lower": p_lower,
        "radius": radius,
        "correct": (prediction != ABSTAIN) & (prediction == label),
        "selected": selected,
        "label_successes": np.where(known, estimation[np.arange(rows), label * known], 0),
        "computed": computed,
    }


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


def _check_sigma(sigma: ArrayLike) -> np.ndarray:
    sigma = np.asarray(sigma, dtype=float)
    _check_all(np.isfinite(sigma) & (sigma > 0), "sigma must be above 0")
    return sigma


def _check_all(valid: np.ndarray, message: str) -> None:
    if not np.all(valid):
        raise ValueError(message)
