"""The sequential plan: looks at the counts now and then, and stops where the case is clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from dds import keys as typed
from dds.keys import key
from dds.statistics.plans._checks import check_samples, check_stops
from dds.statistics.plans._looks import Looking, growing_looks
from dds.statistics.plans._radii import given_radii, radii_at

if TYPE_CHECKING:
    import numpy as np

SPENDS_ALPHA = True
ONLY_ITS_RADII = True

#: Ratio of one look to the one before.
_GROWTH = 1.1

#: What of the error of rounding is kept off alpha: see `dds.statistics.pass_marks`.
_FOR_ROUNDING = 1e-9


class Spending(NamedTuple):
    """How fast a plan spends its two kinds of error, by the share x of n samples drawn.

    Up to a look before the last, ``certifying * x ** 0.5`` of alpha, and
    ``giving_up * x ** exponent`` for giving up an image that the last look would just certify.
    """

    certifying: float
    giving_up: float
    exponent: float


#: docs/measurements.md has what each of them draws and loses.
_CAREFUL, _FRUGAL = Spending(0.3, 0.1, 1.0), Spending(0.5, 0.3, 0.7)


class Keys(typed.Keys):
    """Stop an image once its place among `radii` is clear; certificates stay sound."""

    radii: typed.RadiiBySigma = key(
        "The radii that the plan decides: a list, or one for each sigma, as in "
        '`{"0.25": [0.0, 0.5], "1.0": [0.0, 1.0]}`. Tables, checks and figures may use no others.',
        allowed="numbers, 0 to 100, each once; or such a list for each sigma",
    )
    frugal: bool = key(
        "Draw fewer samples still, for certificates that a few more images lose.", False
    )


def make(keys: Keys, *, n0: int, n: int, alpha: float, sigma: float) -> Sequential:
    """Return the plan that decides the radii."""
    return Sequential(n0, n, radii=keys.radii, sigma=sigma, alpha=alpha, frugal=keys.frugal)


@dataclass(frozen=True)
class Sequential(Looking):
    """Look at the counts now and then, and stop once an image's place in a grid is clear.

    A group-sequential test of each radius of the grid, all of them at once. A radius is
    certified after the look at which the image stops if the successes reach its pass mark
    there. Marks are set such that an image whose probability is just too small for the radius
    reaches the mark of any look with probability at most alpha, which is computed exactly
    (`dds.statistics.pass_marks`). They rise from radius to radius. So whatever the image, and
    wherever and for whatever reason it stops, it certifies a false radius only if it reaches
    a mark of the lowest radius that is false: with probability at most alpha in all. An image
    stops when

    - the highest radius of the grid is certified, or
    - the next radius after those certified is out of reach: an image with just the success
      rate that the last look needs for it would have so few at this or an earlier look with
      probability at most 0.1 n_k / n, or
    - its selected class is not its label: nothing is drawn.

    Of alpha, 0.3 (n_k / n)^(1/2) is spent up to look k, and all of it up to the last. The radius
    of a certificate is that of the grid, not the largest that could be certified.

    Parameters
    ----------
    n0, n : int
        Selection samples, and the most estimation samples, of an image.
    radii : sequence of float, or mapping of float to sequence of float
        The grid of radii of interest in [0,1] pixel units, for all noise levels or for each;
        at 0 it is enough not to abstain.
    sigma : float
        Noise level in [0,1] pixel units.
    alpha : float
        Error probability of a certificate over all looks.
    frugal : bool, optional
        Spend more of alpha early, 0.5 (n_k / n)^(1/2), and give up sooner, at
        0.3 (n_k / n)^0.7.

    References
    ----------
    Jennison and Turnbull (1999), Group sequential methods with applications to clinical trials.
    CRC Press: chapters 7, 12.

    Examples
    --------
    An image stops at the first look, after 100 samples, where radius 0.25 is certified or
    hopeless, and else goes on to the second:

    >>> import numpy as np
    >>> plan = Sequential(100, 1000, radii=[0.25], sigma=0.25, alpha=0.001)
    >>> selection = np.array([80, 20])
    >>> [plan.goal(0, selection, np.array([hits, 100 - hits])) for hits in (100, 90, 60)]
    [100, 200, 100]
    """

    n0: int
    n: int
    _: KW_ONLY
    radii: Sequence[float] | Mapping[float, Sequence[float]]
    sigma: float
    alpha: float
    frugal: bool = False

    def __post_init__(self) -> None:
        from dds.statistics.bounds import check_alpha, probability_needed

        check_samples(self.n0, self.n)
        object.__setattr__(self, "radii", given_radii(self.radii))
        if not self.decided_radii:
            raise ValueError("a sequential plan needs radii, the grid to decide")
        check_alpha(self.alpha)
        probability_needed(self.decided_radii, self.sigma)  # checks ranges

    @cached_property
    def looks(self) -> tuple[int, ...]:
        """Numbers of samples to look at: n, n / 1.1, n / 1.1^2, ... in whole blocks."""
        return growing_looks(self.n, _GROWTH)

    @cached_property
    def decided_radii(self) -> tuple[float, ...]:
        """The only radii that the plan decides: those of the grid."""
        return radii_at(self.radii, self.sigma)

    @property
    def lowest_radius(self) -> float:
        """The smallest radius that the plan decides."""
        return self.decided_radii[0]

    def lower_bound(self, successes: np.ndarray, drawn: np.ndarray, alpha: float) -> np.ndarray:
        """Return the probability that the highest radius needs whose mark the successes reach.

        See `dds.statistics.plans.OwnBound.lower_bound`. Marks are those of `alpha`, wherever images
        were stopped by those of the plan's: at any other alpha, too, the bound holds.

        Raises
        ------
        ValueError
            If a number of samples is none of the plan's looks, or `alpha` is out of range.
        """
        import numpy as np

        check_stops(drawn, self.looks)
        marks = self._marks(alpha)
        reached = np.asarray(successes)[..., None] >= marks.certifying[self._look(drawn)]
        return np.append(0.0, marks.probabilities)[reached.sum(axis=-1)]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as an experiment writes it; see `dds.statistics.plans.make_plan`."""
        radii = self.radii
        if isinstance(radii, Mapping):
            radii = {repr(sigma): list(grid) for sigma, grid in radii.items()}
        else:
            radii = list(radii)
        return {
            "plan": "sequential",
            "n0": self.n0,
            "n": self.n,
            "alpha": self.alpha,
            "radii": radii,
            "frugal": self.frugal,
        }

    def _is_decided(self, drawn: int, successes: int) -> bool:
        marks, look = self._marks(self.alpha), self.looks.index(drawn)
        certified = int(marks.certifying[look].searchsorted(successes, side="right"))
        if certified == len(self.decided_radii) or drawn == self.n:
            return True
        return drawn - successes >= marks.giving_up[look, certified]

    def _look(self, drawn: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.searchsorted(self.looks, drawn)

    def _marks(self, alpha: float) -> _Marks:
        spending = _FRUGAL if self.frugal else _CAREFUL
        return _marks(self.looks, self.decided_radii, self.sigma, alpha, spending)


class _Marks(NamedTuple):
    """What decides radii at looks.

    Attributes
    ----------
    probabilities : ndarray of float, shape (radii,)
        That the top class needs for each radius.
    certifying : ndarray of int, shape (looks, radii)
        The fewest successes that certify each radius.
    giving_up : ndarray of int, shape (looks - 1, radii)
        The fewest failures to give up each radius.
    """

    probabilities: np.ndarray
    certifying: np.ndarray
    giving_up: np.ndarray


@lru_cache(maxsize=64)
def _marks(
    looks: tuple[int, ...],
    radii: tuple[float, ...],
    sigma: float,
    alpha: float,
    spending: Spending,
) -> _Marks:
    import numpy as np

    from dds.statistics.bounds import check_alpha, probability_needed
    from dds.statistics.pass_marks import pass_marks

    n, shares = looks[-1], np.array(looks) / looks[-1]
    error = check_alpha(alpha) * spending.certifying * shares**0.5
    error[-1] = alpha * (1 - _FOR_ROUNDING)
    probabilities = probability_needed(radii, sigma)
    certifying = np.stack([pass_marks(looks, p, error) for p in probabilities], axis=1)
    # A mark may be raised without harm, and who reaches that of a radius reaches all below it.
    certifying = np.maximum.accumulate(certifying, axis=1)

    giving_up = np.zeros((len(looks) - 1, len(radii)), np.int64)  # at once, where none can pass
    if len(looks) > 1:
        risk = spending.giving_up * shares[:-1] ** spending.exponent
        for at, needed in enumerate(certifying[-1]):
            if needed <= n:
                giving_up[:, at] = pass_marks(looks[:-1], (n - needed) / n, risk)
    return _Marks(probabilities, certifying, giving_up)
