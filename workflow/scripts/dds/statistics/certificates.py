"""From class counts to certificates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import binom

from dds.statistics.bounds import certified_radius, check_alpha, check_sigma
from dds.statistics.plans import Plan, lower_bound, make_plan

#: The prediction of a smoothed classifier that cannot name a class with confidence.
ABSTAIN = -1


def certify_counts(
    selection: np.ndarray,
    estimation: np.ndarray,
    sigma: ArrayLike,
    label: ArrayLike,
    plan: Plan,
    alpha: float,
) -> dict[str, np.ndarray]:
    """Turn class counts into certificates.

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

    References
    ----------
    Cohen, Rosenfeld and Kolter (2019), Certified adversarial robustness via randomized
    smoothing. ICML: the procedure CERTIFY.

    Examples
    --------
    Two images of class 1: the first one is certified, the second one's vote is too close.

    >>> from dds.statistics.plans.fixed import Fixed
    >>> selection = np.array([[1, 9], [6, 4]])
    >>> estimation = np.array([[20, 980], [510, 490]])
    >>> plan = Fixed(n0=10, n=1000)
    >>> rows = certify_counts(selection, estimation, 0.25, [1, 1], plan, alpha=0.001)
    >>> rows["prediction"]
    array([ 1, -1])
    >>> rows["radius"].round(4)
    array([0.4445, 0.    ])
    """
    selection, estimation = np.asarray(selection), np.asarray(estimation)
    if selection.ndim != 2 or selection.shape != estimation.shape:
        raise ValueError(
            "selection and estimation must both have shape (rows, classes), "
            f"not {selection.shape} and {estimation.shape}"
        )
    rows = len(selection)
    label, sigma = np.asarray(label), np.broadcast_to(check_sigma(sigma), rows)
    if label.shape != (rows,):
        raise ValueError(f"label must have shape ({rows},), not {label.shape}")

    known = (label >= 0) & (label < selection.shape[1])
    selected = selection.argmax(axis=1)
    successes = estimation[np.arange(rows), selected]
    drawn = estimation.sum(axis=1)
    computed = plan.computed(drawn)
    p_lower, radius = np.full((2, rows), np.nan)
    p_lower[computed] = lower_bound(plan, successes[computed], drawn[computed], alpha)
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


def predict_counts(counts: ArrayLike, alpha: float) -> np.ndarray:
    """Name the class that a smoothed classifier answers, or abstain: PREDICT.

    Parameters
    ----------
    counts : array_like of int, shape (..., classes)
        Class counts of independent samples, two classes or more.
    alpha : float
        Probability, at most, of an answer that is not the smoothed classifier's, 0 < alpha < 1.

    Returns
    -------
    ndarray of int, shape (...)
        The class with the most votes where a two-sided binomial test rejects, at level `alpha`,
        that it and the runner-up are equally probable; else ABSTAIN.

    Raises
    ------
    ValueError
        If there are fewer than two classes, a count is negative, or alpha is out of range.

    References
    ----------
    Cohen, Rosenfeld and Kolter (2019), Certified adversarial robustness via randomized
    smoothing. ICML: the procedure PREDICT, proposition 1.

    Examples
    --------
    >>> predict_counts([[20, 980], [510, 490]], alpha=0.001)
    array([ 1, -1])
    """
    counts = np.asarray(counts)
    if counts.ndim == 0 or counts.shape[-1] < 2 or (counts < 0).any():
        raise ValueError("counts must be of two classes or more, none below 0")
    second, first = np.moveaxis(np.sort(counts, axis=-1)[..., -2:], -1, 0)
    p_value = np.minimum(1.0, 2 * binom.sf(first - 1, first + second, 0.5))
    return np.where(p_value <= check_alpha(alpha), counts.argmax(axis=-1), ABSTAIN)


def compute_certificates(
    counts: pd.DataFrame, plan: Mapping[str, Any], alpha: float
) -> pd.DataFrame:
    """Compute the certificate of every row of a table of class counts.

    Parameters
    ----------
    counts : DataFrame
        ``image``, ``label``, ``sigma``, ``classifier``, and the class counts ``selection``
        and ``estimation``, lists of equal length; see `dds.sampling.counts.write_counts`.
    plan : mapping
        How the samples were drawn, as `dds.statistics.plans.make_plan` reads it.
    alpha : float
        Error probability of each certificate, 0 < alpha < 1.

    Returns
    -------
    DataFrame
        One row a row of `counts`, by sigma: ``image``, ``label``, ``sigma``,
        ``classifier``, ``n0``, ``n``, ``prediction``, ``successes``, ``p_lower``,
        ``radius``, ``correct``, ``selected``, ``label_successes``, ``computed`` (see
        `certify_counts`); ``lowest_radius``, below which the plan leaves certificates
        undecided; and ``decided_radii``, the only radii that it decides, in [0,1] pixel
        units with spaces between them: empty for all from ``lowest_radius`` on.

    Raises
    ------
    ValueError
        If the plan cannot have drawn these counts, or an argument is out of its range.
    """
    parts = []
    for sigma, rows in counts.groupby("sigma"):
        drawn_by = make_plan(plan, sigma)
        selection, estimation = (np.stack(rows[k].to_numpy()) for k in ("selection", "estimation"))
        labels = rows["label"].to_numpy()
        columns = certify_counts(selection, estimation, sigma, labels, drawn_by, alpha)
        only = " ".join(map(repr, getattr(drawn_by, "decided_radii", ())))
        reach = {"lowest_radius": drawn_by.lowest_radius, "decided_radii": only}
        parts.append(rows[["image", "classifier"]].assign(**columns, **reach))
    certificates = pd.concat(parts, ignore_index=True)
    first = ["image", "label", "sigma", "classifier"]
    return certificates[[*first, *certificates.columns.drop(first)]]
