"""From class counts to certificates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dds.statistics.bounds import certified_radius, check_sigma
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
        (estimation samples that got the true class), ``top`` (the class that most
        estimation samples got), ``top_successes`` (how many), ``runner_up_successes`` (how
        many got the class behind it), ``computed``. Where the plan stopped a row before its
        radius could be certified, ``computed`` is False, ``p_lower`` and ``radius`` are NaN
        and the prediction is ABSTAIN.

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
    top, top_successes, runner_up_successes = leading_classes(estimation)
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
        "top": top,
        "top_successes": top_successes,
        "runner_up_successes": runner_up_successes,
        "computed": computed,
    }


def check_table(rows: Any, columns: Iterable[str], what: str = "certificates") -> None:
    """Refuse what is no table of certificates, or lacks columns that are needed of it.

    Parameters
    ----------
    rows : DataFrame
        What is given as one.
    columns : iterable of str
        The columns that are needed.
    what : str, optional
        What its rows are.

    Raises
    ------
    ValueError
        In one line.

    Examples
    --------
    >>> check_table(pd.DataFrame({"radius": [0.4]}), ["radius", "correct"])
    Traceback (most recent call last):
    ValueError: certificates lack the columns correct; they have radius
    """
    if not isinstance(rows, pd.DataFrame):
        cure = "; take their to_frame()" if hasattr(rows, "to_frame") else ""
        raise ValueError(f"{what} must be a DataFrame, not {type(rows).__name__}{cure}")
    if missing := [name for name in columns if name not in rows]:
        there = ", ".join(map(str, rows)) or "none"
        raise ValueError(f"{what} lack the columns {', '.join(missing)}; they have {there}")


def largest_radius_of(plan: Plan, sigma: float, alpha: float) -> float:
    """Return the radius that all samples of a plan certify where they agree: no image gets more.

    Parameters
    ----------
    plan : Plan
        The plan that samples are drawn by.
    sigma : float
        Noise level in [0,1] pixel units.
    alpha : float
        Error probability of each certificate, 0 < alpha < 1.

    Returns
    -------
    float
        In [0,1] pixel units; 0 where they certify nothing.

    Examples
    --------
    >>> from dds.statistics.plans.fixed import Fixed
    >>> round(largest_radius_of(Fixed(n0=100, n=100), 0.25, alpha=0.001), 3)
    0.375
    """
    n = np.array([plan.n])
    return float(certified_radius(lower_bound(plan, n, n, alpha), sigma)[0])


def leading_classes(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which class has most votes, how many, and how many the one behind it has.

    Parameters
    ----------
    counts : ndarray of int, shape (..., classes)
        Class counts.

    Returns
    -------
    top, top_successes, runner_up_successes : ndarray of int, shape (...)
        The last is 0 where there is one class alone.

    Examples
    --------
    >>> [values.tolist() for values in leading_classes(np.array([[1, 9, 3], [4, 0, 4]]))]
    [[1, 0], [9, 4], [3, 4]]
    """
    top = counts.argmax(axis=-1)
    top_successes = counts.max(axis=-1)
    others = np.where(np.arange(counts.shape[-1]) == top[..., None], 0, counts)
    return top, top_successes, others.max(axis=-1)


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
        ``radius``, ``correct``, ``selected``, ``label_successes``, ``top``,
        ``top_successes``, ``runner_up_successes``, ``computed`` (see
        `certify_counts`); ``alpha``; ``lowest_radius``, below which the plan leaves
        certificates undecided; ``decided_radii``, the only radii that it decides, in
        [0,1] pixel units with spaces between them: empty for all from ``lowest_radius`` on; and
        ``largest_radius``, that of `largest_radius_of`.

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
        reach = {
            "alpha": alpha,
            "lowest_radius": drawn_by.lowest_radius,
            "decided_radii": only,
            "largest_radius": largest_radius_of(drawn_by, sigma, alpha),
        }
        parts.append(rows[["image", "classifier"]].assign(**columns, **reach))
    certificates = pd.concat(parts, ignore_index=True)
    first = ["image", "label", "sigma", "classifier"]
    return certificates[[*first, *certificates.columns.drop(first)]]
