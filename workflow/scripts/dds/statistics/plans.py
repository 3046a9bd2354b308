"""Sampling plans: how many estimation samples an image gets, and what that costs in alpha.

A plan decides from class counts alone, so that the samples of an image do not
depend on batches, shards, restarts or the other images. Under every plan each
certificate holds with probability at least 1 - alpha.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import hypergeom

from dds.seeds import BLOCK
from dds.statistics.certificates import successes_needed
from dds.statistics.looks import check_looks, default_looks


@dataclass(frozen=True)
class Fixed:
    """Draw `n` estimation samples of every image (Cohen et al., 2019, CERTIFY).

    With `curtail`, an image stops as soon as it has missed its selected class so
    often that not even `n` samples could certify `lowest_radius`, and no
    estimation sample is drawn of an image whose selected class is not its label.
    Only images with all `n` samples get a certificate, the very one they would
    have got without `curtail`. So alpha is spent once, and certified accuracy
    at `lowest_radius` and above comes out identical; below it, stopped images
    are unknown.

    Parameters
    ----------
    n0, n : int
        Selection and estimation samples of an image, at least 1.
    curtail : bool, optional
        Whether to stop images that can no longer be certified.
    lowest_radius : float, optional
        The smallest radius of interest in [0,1] pixel units; at 0 it is
        enough not to abstain. Used by `curtail` alone.
    sigma : float, optional
        The noise level in [0,1] pixel units. Needed by `curtail` alone.
    alpha : float, optional
        The largest error probability that certificates will be asked for.
        Needed by `curtail` alone.
    """

    n0: int
    n: int
    _: KW_ONLY
    curtail: bool = False
    lowest_radius: float = 0.0
    sigma: float | None = None
    alpha: float | None = None

    def __post_init__(self) -> None:
        _check_samples(self.n0, self.n)
        if self.curtail and (self.sigma is None or self.alpha is None):
            raise ValueError("a curtailed plan needs sigma and alpha")
        if self.curtail:
            successes_needed(self.lowest_radius, self.sigma, self.n, self.alpha)  # checks ranges

    def goal(self, label: int | None, selection: np.ndarray, estimation: np.ndarray) -> int:
        """Return how many estimation samples to have drawn before asking again.

        Parameters
        ----------
        label : int or None
            The true class; None where it is unknown, so that no image is
            skipped for being misclassified.
        selection : ndarray of int, shape (classes,)
            Class counts of all `n0` selection samples.
        estimation : ndarray of int, shape (classes,)
            Class counts of the estimation samples drawn so far.

        Returns
        -------
        int
            A multiple of dds.seeds.BLOCK, or `n`; the number drawn so far when
            the image is finished.
        """
        if not self.curtail:
            return self.n
        selected = int(np.argmax(selection))
        if _is_misclassified(label, selected):
            return 0
        drawn = int(estimation.sum())
        misses = drawn - int(estimation[selected])
        earliest_stop = drawn + max(0, self._misses_allowed + 1 - misses)
        return min(-(-earliest_stop // BLOCK) * BLOCK, self.n)

    def computed(self, drawn: np.ndarray) -> np.ndarray:
        """Tell which images, by the samples drawn of them, have a certificate."""
        drawn = np.asarray(drawn)
        return drawn == self.n if self.curtail else np.ones(drawn.shape, dtype=bool)

    def alpha_at(self, drawn: np.ndarray, alpha: float) -> np.ndarray:
        """Return the error probability of a bound computed after `drawn` samples.

        Raises
        ------
        ValueError
            If the plan never computes a bound after so many samples, or `alpha`
            exceeds the one that images were stopped by.
        """
        drawn = np.asarray(drawn)
        _check_stops(drawn, (self.n,))
        if self.curtail and alpha > self.alpha:
            raise ValueError(
                f"alpha {alpha:g} is above the {self.alpha:g} that these images were curtailed by"
            )
        return np.full(drawn.shape, alpha)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as a study file writes it, without sigma; see `make_plan`."""
        settings = {"plan": "fixed", "n0": self.n0, "n": self.n, "curtail": self.curtail}
        if self.curtail:
            settings |= {"alpha": self.alpha, "radii": [self.lowest_radius]}
        return settings

    @cached_property
    def _misses_allowed(self) -> int:
        return self.n - int(successes_needed(self.lowest_radius, self.sigma, self.n, self.alpha))


@dataclass(frozen=True)
class Sequential:
    """Look at the counts now and then, and stop once an image's place in a grid is clear.

    At look k the lower bound is computed from all samples drawn so far at error
    probability share_k * alpha, where the shares are fixed beforehand and add up
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
        _check_samples(self.n0, self.n)
        looks = default_looks(self.n) if self.looks is None else self.looks
        object.__setattr__(self, "looks", tuple(map(int, looks)))
        object.__setattr__(self, "radii", tuple(sorted({float(r) for r in self.radii})))
        check_looks(self.looks, self.n)
        if not self.radii:
            raise ValueError("a sequential plan needs radii, the grid to decide")
        for name in ("last_share", "futility"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        successes_needed(self.radii, self.sigma, self.n, self.alpha)  # checks ranges

    @property
    def lowest_radius(self) -> float:
        """The smallest radius that the plan decides."""
        return self.radii[0]

    def goal(self, label: int | None, selection: np.ndarray, estimation: np.ndarray) -> int:
        """Return how many estimation samples to have drawn before asking again.

        See `Fixed.goal`; the answer is always a look, or 0.
        """
        selected = int(np.argmax(selection))
        if _is_misclassified(label, selected):
            return 0
        drawn = int(estimation.sum())
        if drawn in self.looks and self._is_decided(drawn, int(estimation[selected])):
            return drawn
        return next((look for look in self.looks if look > drawn), self.n)

    def computed(self, drawn: np.ndarray) -> np.ndarray:
        """Tell which images, by the samples drawn of them, have a certificate."""
        return np.asarray(drawn) > 0

    def alpha_at(self, drawn: np.ndarray, alpha: float) -> np.ndarray:
        """Return the error probability of a bound computed after `drawn` samples.

        Raises
        ------
        ValueError
            If a number is none of the plan's looks.
        """
        drawn = np.asarray(drawn)
        _check_stops(drawn, self.looks)
        return alpha * self._shares[np.searchsorted(self.looks, drawn)]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as a study file writes it, without sigma; see `make_plan`."""
        return {
            "plan": "sequential",
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
        certified = int(np.searchsorted(self._certifying[look], successes, side="right"))
        return certified == len(self.radii) or successes < self._hopeful[look, certified]

    @cached_property
    def _shares(self) -> np.ndarray:
        early_looks = len(self.looks) - 1
        if early_looks == 0:
            return np.ones(1)
        early_share = (1 - self.last_share) / early_looks
        return np.array([early_share] * early_looks + [self.last_share])

    @cached_property
    def _certifying(self) -> np.ndarray:
        """The fewest successes that certify each radius at each look: (looks, radii)."""
        looks = np.array(self.looks)[:, None]
        return successes_needed(self.radii, self.sigma, looks, self.alpha * self._shares[:, None])

    @cached_property
    def _hopeful(self) -> np.ndarray:
        """The fewest successes that leave hope for each radius at each look: (looks, radii)."""
        hopeful = np.full((len(self.looks), len(self.radii)), self.n + 1)
        out_of_reach = self._certifying[-1] > self.n
        for look, drawn in enumerate(self.looks[:-1]):
            for radius, needed in enumerate(self._certifying[-1]):
                if not out_of_reach[radius]:
                    risk = self.futility / (len(self.looks) - 1)
                    hopeful[look, radius] = hypergeom.ppf(risk, self.n, needed, drawn)
        return hopeful


Plan = Fixed | Sequential


def make_plan(settings: Mapping[str, Any], sigma: float) -> Plan:
    """Build the sampling plan that an experiment of a study file asks for.

    ``make_plan(plan.to_dict(), plan.sigma)`` gives the same plan again.

    Parameters
    ----------
    settings : mapping
        ``plan`` ("fixed" or "sequential"), ``n0``, ``n`` and, where the plan
        uses them, ``alpha``, ``curtail``, ``radii``, ``looks``, ``last_share``
        and ``futility``. Other keys are ignored.
    sigma : float
        Noise level in [0,1] pixel units.

    Returns
    -------
    Fixed or Sequential

    Raises
    ------
    ValueError
        If the plan is unknown, or its settings are out of range.
    """
    kind, samples = settings["plan"], {"n0": settings["n0"], "n": settings["n"]}
    if kind == "fixed" and not settings.get("curtail", False):
        return Fixed(**samples)
    if kind == "fixed":
        lowest_radius = min(settings.get("radii", [0.0]))
        return Fixed(
            **samples, curtail=True, lowest_radius=lowest_radius, sigma=sigma,
            alpha=settings["alpha"],
        )  # fmt: skip
    if kind == "sequential":
        options = {k: settings[k] for k in ("looks", "last_share", "futility") if k in settings}
        return Sequential(
            **samples, radii=settings.get("radii", ()), sigma=sigma, alpha=settings["alpha"],
            **options,
        )  # fmt: skip
    raise ValueError(f"plan must be fixed or sequential, not {kind!r}")


def _is_misclassified(label: int | None, selected: int) -> bool:
    return label is not None and selected != label


def _check_samples(n0: int, n: int) -> None:
    if n0 < 1 or n < 1:
        raise ValueError(f"n0 ({n0}) and n ({n}) must be at least 1")


def _check_stops(drawn: np.ndarray, allowed: Sequence[int]) -> None:
    strangers = np.setdiff1d(drawn, allowed)
    if strangers.size:
        raise ValueError(
            f"{strangers[0]} estimation samples is no stop of this plan; "
            f"it stops at {', '.join(map(str, allowed))}"
        )
