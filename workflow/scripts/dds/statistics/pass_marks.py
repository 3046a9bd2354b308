"""Pass marks of a test that looks at binomial counts again and again: exact, by recursion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binom

#: Share of the first look's error that each look may leave out on a side, to follow fewer counts.
_LEFT_OUT = 1e-13


def pass_marks(looks: Sequence[int], p: float, error: Sequence[float]) -> np.ndarray:
    """Return at each look the fewest successes that pass, so that passing by luck is rare.

    With success probability `p`, or a smaller one, the probability that the successes reach the
    mark of any of the first k looks is at most ``error[k - 1]``. Each mark is the lowest one
    that allows it, given those before. This is error spending (Lan and DeMets, 1983) without
    the normal approximation: the probability of every count that has reached no mark yet is
    carried from look to look.

    Parameters
    ----------
    looks : sequence of int
        Numbers of samples drawn by each look, rising, at least 1.
    p : float
        Success probability, 0 <= p <= 1.
    error : sequence of float
        The probability that may be spent up to each look, rising, above 0.

    Returns
    -------
    ndarray of int64, shape (looks,)
        Above the number of samples where no count may pass.

    Notes
    -----
    Counts far from the expected ones are not followed. Their probability, below 1e-13 of
    ``error[0]`` at each side of a look, is spent as if they had passed, so that leaving them out
    errs to the safe side. All that is added up and multiplied is positive, nothing is
    subtracted but what is spent from what may be; so rounding changes the probability of
    passing by less than 1e-9 of it, for up to `dds.seeds.MOST_SAMPLES` samples.

    References
    ----------
    Lan and DeMets (1983), Discrete sequential boundaries for clinical trials. Biometrika 70.
    Jennison and Turnbull (1999), Group sequential methods with applications to clinical trials.
    CRC Press: chapters 7, 12.

    Examples
    --------
    By fair coin tosses, 10 of 10 have probability 0.00098. Beside them 17 or more of 20 have
    0.00112, too much, and 18 or more 0.00015:

    >>> pass_marks([10, 20], 0.5, [0.001, 0.002])
    array([10, 18])
    """
    steps = np.diff(looks, prepend=0)
    tolerance = _LEFT_OUT * error[0]
    fewest = np.clip(binom.ppf(tolerance, steps, p), 0, steps).astype(np.int64)
    most = steps - np.clip(binom.ppf(tolerance, steps, 1 - p), 0, steps).astype(np.int64)
    outside = binom.cdf(fewest - 1, steps, p) + binom.sf(most, steps, p)
    marks = np.empty(len(steps), np.int64)
    chances, start = np.ones(1), 0  # of start, start + 1, ... successes, without a mark reached
    spent = 0.0
    for look, step in enumerate(steps):
        more = np.arange(fewest[look], most[look] + 1)
        chances, start = np.convolve(chances, binom.pmf(more, step, p)), start + int(more[0])
        spent += outside[look]
        at_least = np.cumsum(chances[::-1])[::-1]
        below_mark = np.count_nonzero(at_least > error[look] - spent)
        marks[look] = start + below_mark
        spent += at_least[below_mark:].max(initial=0.0)
        chances = chances[:below_mark]
        at_most = np.cumsum(chances)
        hopeless = np.searchsorted(at_most, tolerance, side="right")
        spent += at_most[:hopeless].max(initial=0.0)
        chances, start = chances[hopeless:], start + int(hopeless)
    return marks
