"""The curtailed plan: the fixed one without the samples that can change nothing."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from dds import keys as typed
from dds.keys import key
from dds.seeds import BLOCK
from dds.statistics.plans._checks import check_samples, check_stops

if TYPE_CHECKING:
    import numpy as np

SPENDS_ALPHA = True


class Keys(typed.Keys):
    """Stop images that can no longer be certified; certified accuracies stay the same."""

    radii: typed.Radii = key(
        "The radii of interest; the lowest of them is the one that images are stopped at. "
        "Tables, checks and figures may use none below it.",
        [0.0],
    )


def make(keys: Keys, *, n0: int, n: int, alpha: float, sigma: float) -> Curtailed:
    """Return the plan that stops at the lowest of the radii."""
    return Curtailed(n0, n, lowest_radius=min(keys.radii), sigma=sigma, alpha=alpha)


@dataclass(frozen=True)
class Curtailed:
    """Draw `n` estimation samples, but stop where they can no longer certify a radius.

    An image stops as soon as it has missed its selected class so often that not even
    `n` samples could certify `lowest_radius`, and no estimation sample is drawn of an
    image whose selected class is not its label. Only images with all `n` samples get a
    certificate, the very one they would have got from `dds.statistics.plans.fixed.Fixed`.
    So alpha is spent once, and certified accuracy at `lowest_radius` and above comes
    out identical; below it, stopped images are unknown.

    Parameters
    ----------
    n0, n : int
        Selection samples, and the most estimation samples, of an image, at least 1.
    lowest_radius : float, optional
        The smallest radius of interest in [0,1] pixel units; at 0 it is enough not
        to abstain.
    sigma : float
        Noise level in [0,1] pixel units.
    alpha : float
        The largest error probability that certificates will be asked for.

    Examples
    --------
    Of 1,000 samples 877 must be hits to certify radius 0.25, so an image goes on after 100
    misses in 300 samples, and stops after 124:

    >>> import numpy as np
    >>> plan = Curtailed(100, 1000, lowest_radius=0.25, sigma=0.25, alpha=0.001)
    >>> selection = np.array([80, 20])
    >>> plan.goal(0, selection, np.array([200, 100])), plan.goal(0, selection, np.array([176, 124]))
    (400, 300)
    """

    n0: int
    n: int
    _: KW_ONLY
    lowest_radius: float = 0.0
    sigma: float
    alpha: float

    def __post_init__(self) -> None:
        from dds.statistics.bounds import successes_needed

        check_samples(self.n0, self.n)
        needed = successes_needed(self.lowest_radius, self.sigma, self.n, self.alpha)
        object.__setattr__(self, "_misses_allowed", self.n - int(needed))

    def goal(self, label: int | None, selection: np.ndarray, estimation: np.ndarray) -> int:
        """Return how many estimation samples to have drawn before asking again.

        See `dds.statistics.plans.Plan.goal`. The answer is where the image would stop
        at the earliest, did it only miss from here on.
        """
        selected = int(selection.argmax())
        if label is not None and label != selected:
            return 0
        drawn = int(estimation.sum())
        misses = drawn - int(estimation[selected])
        earliest_stop = drawn + max(0, self._misses_allowed + 1 - misses)
        return min(-(-earliest_stop // BLOCK) * BLOCK, self.n)

    def computed(self, drawn: np.ndarray) -> np.ndarray:
        """Tell which images, by the samples drawn of them, have a certificate."""
        import numpy as np

        return np.asarray(drawn) == self.n

    def alpha_at(self, drawn: np.ndarray, alpha: float) -> np.ndarray:
        """Return `alpha` for every image.

        Raises
        ------
        ValueError
            If a number of samples is not `n`, or `alpha` exceeds the one that images
            were stopped by.
        """
        import numpy as np

        check_stops(drawn, (self.n,))
        if alpha > self.alpha:
            raise ValueError(
                f"alpha {alpha:g} is above the {self.alpha:g} that these images were curtailed by"
            )
        return np.full(np.shape(drawn), alpha)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as an experiment writes it; see `dds.statistics.plans.make_plan`."""
        return {
            "plan": "curtailed",
            "n0": self.n0,
            "n": self.n,
            "alpha": self.alpha,
            "radii": [self.lowest_radius],
        }
