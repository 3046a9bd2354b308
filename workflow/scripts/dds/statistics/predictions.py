"""From class counts to predictions that hold with a given confidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc

from dds.statistics.bounds import check_alpha
from dds.statistics.certificates import ABSTAIN


def predict_counts(counts: ArrayLike, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Name the class that a smoothed classifier answers, or abstain: Cohen et al.'s PREDICT.

    The two classes with the most votes are compared by an exact two-sided binomial test of
    whether the votes that either got fell to both with equal probability. For each row, the
    probability that a class is named and the smoothed classifier's answer is another one is at
    most `alpha`.

    Parameters
    ----------
    counts : array_like of int, shape (rows, classes)
        Class counts of independent samples; 2 classes or more.
    alpha : float
        Error probability of each prediction, 0 < alpha < 1.

    Returns
    -------
    prediction : ndarray of int, shape (rows,)
        The class with the most votes, or ABSTAIN where the test does not reject at `alpha`.
    p_value : ndarray of float, shape (rows,)
        Of the test.

    Raises
    ------
    ValueError
        If there are not two classes, or `alpha` is out of range.

    Notes
    -----
    Hung and Fithian (2019) prove that the leader of a multinomial sample may be verified by this
    test of the two largest counts, with no correction for having chosen them by the sample.

    References
    ----------
    Cohen, Rosenfeld and Kolter (2019), Certified adversarial robustness via randomized
    smoothing. ICML: the procedure PREDICT and proposition 1.
    Hung and Fithian (2019), Rank verification for exponential families. Annals of Statistics 47.

    Examples
    --------
    >>> prediction, p_value = predict_counts([[10, 70, 20], [48, 52, 0]], alpha=0.001)
    >>> prediction.tolist(), p_value.round(3).tolist()
    ([1, -1], [0.0, 0.764])
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[1] < 2:
        raise ValueError(f"counts must have shape (rows, 2 classes or more), not {counts.shape}")
    check_alpha(alpha)
    second, first = np.sort(counts, axis=1)[:, -2:].T
    # Twice the probability of as many heads or more: P(X >= k) = I_p(k, n - k + 1).
    tail = betainc(np.maximum(first, 1), second + 1, 0.5)
    p_value = np.where(first > second, np.minimum(2 * tail, 1.0), 1.0)
    return np.where(p_value <= alpha, counts.argmax(axis=1), ABSTAIN), p_value
