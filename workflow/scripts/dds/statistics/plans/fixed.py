"""The fixed plan: all samples of every image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dds import keys as typed
from dds.statistics.plans._checks import check_samples, check_stops

if TYPE_CHECKING:
    import numpy as np

SPENDS_ALPHA = False


class Keys(typed.Keys):
    """Draw n estimation samples of every image."""


def make(keys: Keys, *, n0: int, n: int, alpha: float | None, sigma: float) -> Fixed:
    """Return the plan; neither alpha nor sigma changes it."""
    return Fixed(n0, n)


@dataclass(frozen=True)
class Fixed:
    """Draw `n` estimation samples of every image.

    Parameters
    ----------
    n0, n : int
        Selection and estimation samples of an image, at least 1.

    References
    ----------
    Cohen, Rosenfeld and Kolter (2019), Certified adversarial robustness via randomized
    smoothing: CERTIFY.
    """

    n0: int
    n: int

    #: Every radius is decided.
    lowest_radius: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        check_samples(self.n0, self.n)

    def goal(self, label: int | None, selection: np.ndarray, estimation: np.ndarray) -> int:
        """Return `n`, whatever the counts; see `dds.statistics.plans.Plan.goal`."""
        return self.n

    def computed(self, drawn: np.ndarray) -> np.ndarray:
        """Tell which images, by the samples drawn of them, have a certificate: all."""
        import numpy as np

        return np.ones(np.shape(drawn), dtype=bool)

    def alpha_at(self, drawn: np.ndarray, alpha: float) -> np.ndarray:
        """Return `alpha` for every image.

        Raises
        ------
        ValueError
            If a number of samples is not `n`.
        """
        import numpy as np

        check_stops(drawn, (self.n,))
        return np.full(np.shape(drawn), alpha)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as an experiment writes it; see `dds.statistics.plans.make_plan`."""
        return {"plan": "fixed", "n0": self.n0, "n": self.n}
