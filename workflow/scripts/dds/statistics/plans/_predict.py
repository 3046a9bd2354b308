"""What PREDICT draws. No kind of plan: no experiment asks for predictions alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dds.statistics.plans._checks import check_samples

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Predict:
    """Draw as many samples of every image, for a prediction and no certificate.

    Parameters
    ----------
    n0, n : int, optional
        Selection and estimation samples of an image, one or more together. PREDICT needs one kind
        alone: selection samples are those by which a certificate of the same seed selects its
        class, estimation samples are ones that an attack of the same seed has not seen.

    References
    ----------
    Cohen, Rosenfeld and Kolter (2019), Certified adversarial robustness via randomized
    smoothing: PREDICT.
    """

    n0: int = 0
    n: int = 0

    #: As there are no certificates, none is missing.
    lowest_radius: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        check_samples(1, self.n0 + self.n)

    def goal(self, label: int | None, selection: np.ndarray, estimation: np.ndarray) -> int:
        """Return `n`, whatever the counts; see `dds.statistics.plans.Plan.goal`."""
        return self.n

    def computed(self, drawn: np.ndarray) -> np.ndarray:
        """Tell which images, by the samples drawn of them, have a certificate: none."""
        import numpy as np

        return np.zeros(np.shape(drawn), dtype=bool)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as files of predictions name it."""
        return {"plan": "only_selection", **{key: n for key, n in vars(self).items() if n}}
