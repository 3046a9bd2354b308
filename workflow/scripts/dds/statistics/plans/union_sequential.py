"""The union-bound sequential plan: a few looks, each with a share of alpha of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from dds import keys as typed
from dds.keys import key
from dds.statistics.plans._checks import check_samples, check_stops
from dds.statistics.plans._looks import Looking, check_looks, growing_looks

if TYPE_CHECKING:
    import numpy as np

SPENDS_ALPHA = True
ONLY_ITS_RADII = True
LAST_SHARE = "last_share"

#: Ratio of one default look to the one before.
_GROWTH = 1.5


class Keys(typed.Keys):
    """Stop as `sequential` does, with fewer looks and more samples: the plan of earlier counts.

    An experiment with `plan: sequential` and one of `looks`, `last_share` and `futility` means
    this plan.
    """

    radii: typed.Radii = key(
        "The radii that the plan decides. Tables, checks and figures may use no others."
    )
    looks: Annotated[list[typed.Samples], Field(min_length=1)] | None = key(
        "After how many samples to decide whether to stop. They rise in multiples of 100 and "
        "end at `n`. When left out: n, n / 1.5, n / 1.5², ...",
        None,
        allowed="whole numbers",
    )
    last_share: typed.Fraction = key(
        "Share of alpha kept for the last look; the others split the rest evenly.", 0.9
    )
    futility: typed.Fraction = key(
        "Largest fraction of decisions that giving up early may cost. It errs to the safe side.",
        0.01,
    )


def check(keys: Keys, n: int) -> None:
    """Check that the looks, where there are any, fit `n` samples."""
    if keys.looks is not None:
        check_looks(keys.looks, n)


def make(keys: Keys, *, n0: int, n: int, alpha: float, sigma: float) -> UnionSequential:
    """Return the plan that decides the radii."""
    return UnionSequential(
        n0,
        n,
        radii=keys.radii,
        sigma=sigma,
        alpha=alpha,
        looks=keys.looks,
        last_share=keys.last_share,
        futility=keys.futility,
    )


@dataclass(frozen=True)
class UnionSequential(Looking):
    """Look at the counts now and then, each time at a share of alpha.

    Counts drawn by this plan stay readable, and a study can go on with it; for other counts
    `dds.statistics.plans.sequential.Sequential` takes fewer samples.

    At look k the lower bound is computed from all samples drawn so far at error probability
    share_k * alpha, where the shares are fixed beforehand and add up
    to 1. By the union bound all looks hold together with probability at least
    1 - alpha, so the certificate is sound wherever the image stops and for
    whatever reason. An image stops when

    - the highest radius of the grid is certified, or
    - the next radius after those certified is out of reach: had the image ended
      with the successes that `n` samples need for it, so few among the first
      ones would have had probability below ``futility / (looks - 1)``
      (hypergeometric, whatever the image's true probability), or
    - its selected class is not its label: nothing is drawn.

    Giving up errs to the safe side alone: of the images that the last look would
    certify at a radius, it loses at most a fraction `futility`. The radius places
    an image in the grid; between grid points it is sound but not the largest.

    Parameters
    ----------
    n0, n : int
        Selection samples, and the most estimation samples, of an image.
    radii : sequence of float
        The grid of radii of interest in [0,1] pixel units; at 0 it is enough not
        to abstain.
    sigma : float
        Noise level in [0,1] pixel units.
    alpha : float
        Error probability of a certificate over all looks.
    looks : sequence of int, optional
        Numbers of samples to look at, rising, the last one `n`, the others
        multiples of dds.seeds.BLOCK; by default n, n / 1.5, n / 1.5**2, ...
    last_share : float, optional
        Share of alpha kept for the last look; the others split the rest evenly.
    futility : float, optional
        The most decisions that giving up early may cost, as a fraction.

    Examples
    --------
    An image stops at the first look, after 100 samples, where radius 0.25 is certified or
    hopeless, and else goes on to the second:

    >>> import numpy as np
    >>> plan = UnionSequential(100, 1000, radii=[0.25], sigma=0.25, alpha=0.001)
    >>> selection = np.array([80, 20])
    >>> [plan.goal(0, selection, np.array([hits, 100 - hits])) for hits in (100, 90, 60)]
    [100, 200, 100]
    """

    n0: int
    n: int
    _: KW_ONLY
    radii: Sequence[float]
    sigma: float
    alpha: float
    looks: Sequence[int] | None = None
    last_share: float = 0.9
    futility: float = 0.01

    def __post_init__(self) -> None:
        from dds.statistics.bounds import successes_needed

        check_samples(self.n0, self.n)
        looks = growing_looks(self.n, _GROWTH) if self.looks is None else self.looks
        object.__setattr__(self, "looks", tuple(map(int, looks)))
        object.__setattr__(self, "radii", tuple(sorted({float(r) for r in self.radii})))
        check_looks(self.looks, self.n)
        if not self.radii:
            raise ValueError("a union_sequential plan needs radii, the grid to decide")
        for name in ("last_share", "futility"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        successes_needed(self.radii, self.sigma, self.n, self.alpha)  # checks ranges

    @property
    def lowest_radius(self) -> float:
        """The smallest radius that the plan decides."""
        return self.radii[0]

    @property
    def decided_radii(self) -> tuple[float, ...]:
        """The only radii that the plan decides: those of the grid."""
        return self.radii

    def alpha_at(self, drawn: np.ndarray, alpha: float) -> np.ndarray:
        """Return the part of `alpha` that the look after `drawn` samples has.

        Raises
        ------
        ValueError
            If a number is none of the plan's looks.
        """
        import numpy as np

        check_stops(drawn, self.looks)
        return alpha * self._shares[np.searchsorted(self.looks, drawn)]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as an experiment writes it; see `dds.statistics.plans.make_plan`."""
        return {
            "plan": "union_sequential",
            "n0": self.n0,
            "n": self.n,
            "alpha": self.alpha,
            "radii": list(self.radii),
            "looks": list(self.looks),
            "last_share": self.last_share,
            "futility": self.futility,
        }

    def _is_decided(self, drawn: int, successes: int) -> bool:
        look = self.looks.index(drawn)
        certified = int(self._certifying[look].searchsorted(successes, side="right"))
        return certified == len(self.radii) or successes < self._hopeful[look, certified]

    @cached_property
    def _shares(self) -> np.ndarray:
        import numpy as np

        early_looks = len(self.looks) - 1
        if early_looks == 0:
            return np.ones(1)
        early_share = (1 - self.last_share) / early_looks
        return np.array([early_share] * early_looks + [self.last_share])

    @cached_property
    def _certifying(self) -> np.ndarray:
        """The fewest successes that certify each radius at each look: (looks, radii)."""
        import numpy as np

        from dds.statistics.bounds import successes_needed

        looks = np.array(self.looks)[:, None]
        return successes_needed(self.radii, self.sigma, looks, self.alpha * self._shares[:, None])

    @cached_property
    def _hopeful(self) -> np.ndarray:
        """The fewest successes that leave hope for each radius at each look: (looks, radii)."""
        import numpy as np
        from scipy.stats import hypergeom

        hopeful = np.full((len(self.looks), len(self.radii)), self.n + 1)
        out_of_reach = self._certifying[-1] > self.n
        for look, drawn in enumerate(self.looks[:-1]):
            for radius, needed in enumerate(self._certifying[-1]):
                if not out_of_reach[radius]:
                    risk = self.futility / (len(self.looks) - 1)
                    hopeful[look, radius] = hypergeom.ppf(risk, self.n, needed, drawn)
        return hopeful
