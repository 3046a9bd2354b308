"""The radius plan: stops an image once more samples would hardly enlarge its radius."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from dds import keys as typed
from dds.keys import key
from dds.statistics.plans._checks import check_samples, check_stops
from dds.statistics.plans._looks import Looking, growing_looks

if TYPE_CHECKING:
    import numpy as np

SPENDS_ALPHA = True
SHORTFALL = "within"

#: Ratio of one look to the one before.
_GROWTH = 1.1

#: Into how many intervals probabilities are divided, each with a spending of alpha of its own.
_INTERVALS = 64

#: How fast alpha is spent around the look where an image is expected to stop. Tried: 8 to 30.
_STEEPNESS = 14

#: Share of alpha that is taken for granted where that look is estimated.
_EXPECTED_SHARE = 0.5

#: What is spent last, at n, is spent there alone but for (1.1 * 1.5)^-14, a thousandth of it.
_AFTER_THE_LAST = 1.5

#: Probability that n samples have more successes than are reckoned with.
_SURPRISE = 0.05

#: Above it, in units of sigma, 1 - Phi is below what float64 can tell from 0.
_LARGEST = 8.0


class Keys(typed.Keys):
    """Stop an image once its radius is nearly what n samples could give; decides all radii."""

    within: typed.Fraction = key(
        "How much smaller a certified radius may be than the one that n samples could still "
        "give, as a share of that.",
        0.05,
    )


def make(keys: Keys, *, n0: int, n: int, alpha: float, sigma: float) -> Radius:
    """Return the plan; sigma, which all radii are in proportion to, does not change it."""
    return Radius(n0, n, within=keys.within, alpha=alpha)


@dataclass(frozen=True)
class Radius(Looking):
    """Look at the counts now and then, and stop once the certified radius is nearly final.

    At look k the lower bound is that of a sequence of bounds that all hold together with
    probability at least 1 - alpha, so the certificate is sound wherever the image stops and for
    whatever reason, at every radius. Whether a probability p is below the bound is decided by a
    binomial test at look k with a share of alpha that depends on k and on p; over all looks, the
    shares of each p add up to 1. They are largest at the looks where an image is expected to stop
    whose bound is p, and fall off quickly to both sides, so that little is wasted on the others.

    An image stops when

    - its radius is at least 1 - `within` times the largest that `n` samples could still give: the
      fixed plan's for as many successes as will be exceeded with probability 0.05; so an image
      that n samples could not certify stops, too, as soon as that is clear, or
    - its selected class is not its label: nothing is drawn.

    Parameters
    ----------
    n0, n : int
        Selection samples, and the most estimation samples, of an image.
    within : float, optional
        Share of the radius that may be given away, between 0 and 1.
    alpha : float
        Error probability of a certificate over all looks.

    References
    ----------
    Lan and DeMets (1983), Discrete sequential boundaries for clinical trials. Biometrika 70.
    Jennison and Turnbull (1999), Group sequential methods with applications to clinical trials.
    CRC Press: chapter 9, repeated confidence intervals.

    Examples
    --------
    Of an image with 99% hits 2,600 samples suffice, of one with 30% 100; one with 55% takes all:

    >>> import numpy as np
    >>> plan = Radius(100, 10_000, within=0.1, alpha=0.001)
    >>> selection, rates = np.array([80, 20]), (0.99, 0.3, 0.55)
    >>> def stop(rate):
    ...     hits = (rate * np.array(plan.looks)).astype(int)
    ...     votes = np.stack([hits, plan.looks - hits], axis=1)
    ...     goals = [plan.goal(0, selection, some) for some in votes]
    ...     return next(look for look, goal in zip(plan.looks, goals) if goal == look)
    >>> [stop(rate) for rate in rates]
    [2600, 100, 10000]
    """

    n0: int
    n: int
    _: KW_ONLY
    within: float = 0.05
    alpha: float

    #: Every radius is decided.
    lowest_radius = 0.0

    def __post_init__(self) -> None:
        from dds.statistics.bounds import check_alpha

        check_samples(self.n0, self.n)
        check_alpha(self.alpha)
        if not 0 < self.within < 1:
            raise ValueError(f"within must lie between 0 and 1, not {self.within}")

    @cached_property
    def looks(self) -> tuple[int, ...]:
        """Numbers of samples to look at: n, n / 1.1, n / 1.1^2, ... in whole blocks."""
        return growing_looks(self.n, _GROWTH)

    def lower_bound(self, successes: np.ndarray, drawn: np.ndarray, alpha: float) -> np.ndarray:
        """Return the least probability that the look after `drawn` samples does not reject.

        See `dds.statistics.plans.OwnBound.lower_bound`. Another `alpha` than the plan's is spent in
        the same proportions: the bound holds at any.

        Raises
        ------
        ValueError
            If a number of samples is none of the plan's looks, or `alpha` is out of range.
        """
        import numpy as np

        from dds.statistics.bounds import check_alpha, clopper_pearson_lower

        check_stops(drawn, self.looks)
        successes, drawn = np.broadcast_arrays(successes, drawn)
        spending = _spending(self.looks, self.within, self.alpha)
        error = check_alpha(alpha) * spending.shares[np.searchsorted(self.looks, drawn)]
        left, right = spending.edges[:-1], spending.edges[1:]
        # All of an interval is rejected where its right end is, of the same share of alpha.
        tail = _at_least(successes[..., None], drawn[..., None], right)
        first = np.argmax(tail >= error, axis=-1)
        here = np.take_along_axis(error, first[..., None], axis=-1)[..., 0]
        bound = clopper_pearson_lower(successes, drawn, np.maximum(here, np.finfo(float).tiny))
        return np.clip(bound, np.where(first > 0, left[first], 0.0), right[first])

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as an experiment writes it; see `dds.statistics.plans.make_plan`."""
        return {
            "plan": "radius",
            "n0": self.n0,
            "n": self.n,
            "alpha": self.alpha,
            "within": self.within,
        }

    def _is_decided(self, drawn: int, successes: int) -> bool:
        from dds.statistics.bounds import certified_radius, clopper_pearson_lower

        if drawn == self.n:
            return True
        enough = (1 - self.within) * _reachable_radius(successes, drawn, self.n, self.alpha)
        # With all of alpha, which no look has, the bound would be higher, and is sooner computed.
        highest = clopper_pearson_lower(successes, drawn, self.alpha)
        if certified_radius(highest, 1.0) < enough:
            return False
        bound = self.lower_bound(successes, drawn, self.alpha)
        return bool(certified_radius(bound, 1.0) >= enough)


class _Spending(NamedTuple):
    """How much of alpha each look may spend on rejecting each probability.

    Attributes
    ----------
    edges : ndarray of float, shape (intervals + 1,)
        Of the intervals of probabilities, rising from 1/2 to 1; the first one extends to 0.
    shares : ndarray of float, shape (looks, intervals)
        Those of an interval add up to 1.
    """

    edges: np.ndarray
    shares: np.ndarray


@lru_cache(maxsize=64)
def _spending(looks: tuple[int, ...], within: float, alpha: float) -> _Spending:
    """Spend alpha on each probability around the look where an image stops that is certified so.

    Up to look k of n_k samples, 1 / (1 + (n* / n_k)^14) of it, where n* is that look; all of it
    up to the last.
    """
    import numpy as np
    from scipy.special import ndtr
    from scipy.stats import binom

    from dds.statistics.bounds import largest_radius

    n, drawn = looks[-1], np.array(looks)[:, None]
    radii = np.linspace(0, min(largest_radius(n, alpha, 1.0), _LARGEST), 2 * _INTERVALS + 1)
    edges, middles = np.append(ndtr(radii[:-1:2]), 1.0), radii[1::2]
    # How many successes a radius takes at each look, and whether it would then be near enough.
    successes = binom.isf(_EXPECTED_SHARE * alpha, drawn, ndtr(middles)) + 1
    reachable = _reachable_radius(np.minimum(successes, drawn), drawn, n, alpha)
    stops = (successes <= drawn) & (middles >= (1 - within) * reachable)
    stops[-1] = False
    expected = np.where(stops.any(axis=0), drawn[stops.argmax(axis=0), 0], _AFTER_THE_LAST * n)
    ratio = (drawn / expected) ** _STEEPNESS
    spent, left = 1 / (1 + 1 / ratio), 1 / (1 + ratio)
    spent[-1], left[-1] = 1.0, 0.0
    # The smaller of the two is the one whose differences are exact.
    early = np.diff(spent, axis=0, prepend=0.0)
    late = -np.diff(left, axis=0, prepend=1.0)
    return _Spending(edges, np.where(ratio < 1, early, late))


def _reachable_radius(successes: np.ndarray, drawn: np.ndarray, n: int, alpha: float) -> np.ndarray:
    """Return the largest radius, in units of sigma, that n samples are likely to give.

    The rate of successes of n samples is bounded from above as Clopper and Pearson bound a
    probability, with drawn * n / (n - drawn) samples in place of the drawn ones: as many have the
    variance of the rate of `drawn` samples around that of `n`.
    """
    import numpy as np
    from scipy.special import betaincinv

    from dds.statistics.bounds import certified_radius, clopper_pearson_lower

    weight = n / np.maximum(n - drawn, 0.5)
    failures = np.maximum(weight * (drawn - successes), np.finfo(float).tiny)
    rate = np.where(
        drawn > successes, betaincinv(weight * successes + 1, failures, 1 - _SURPRISE), 1.0
    )
    return certified_radius(clopper_pearson_lower(np.floor(rate * n), n, alpha), 1.0)


def _at_least(successes: np.ndarray, drawn: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return the probability of so many successes or more; 1 of none or more."""
    import numpy as np
    from scipy.special import betainc

    some = np.maximum(successes, 1)
    return np.where(successes > 0, betainc(some, drawn - some + 1, p), 1.0)
