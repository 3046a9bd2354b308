"""Sampling plans: how many estimation samples an image gets, and what that costs in alpha.

A plan decides from class counts alone, so that the samples of an image do not
depend on batches, shards, restarts or the other images. Under every plan each
certificate holds with probability at least 1 - alpha.

A module of this package is a kind of plan, and so is a ``FILE.py`` of the user's own.
It holds

- ``Keys``: the keys that the plan adds to an experiment;
- ``SPENDS_ALPHA``: whether it depends on alpha which samples are drawn;
- ``ONLY_ITS_RADII``, where it is True: ``keys.radii`` are all the radii that it decides;
- ``make(keys, *, n0, n, alpha, sigma)``: returns the `Plan`. ``keys`` has the attributes
  of ``Keys``; ``alpha`` may be None where ``SPENDS_ALPHA`` is False;
- ``LAST_SHARE``, where the bound after all ``n`` samples does not have the whole of alpha: the
  key that says which share it has;
- ``SHORTFALL``, where the largest radius that it certifies may be smaller than the largest that
  ``n`` samples can: the key that says by which share;
- ``check(keys, n)``, where the types of ``Keys`` do not say it all: raises ValueError for
  keys that do not fit ``n`` samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, cast

from dds.keys import checked
from dds.kinds import Kinds

if TYPE_CHECKING:
    import numpy as np

#: The kinds of plans, by name.
PLANS = Kinds(__name__)

#: Keys that are no plan's own; curtail is of counts of earlier versions.
_OF_EVERY_PLAN = {"plan", "n0", "n", "alpha", "curtail"}

#: Keys that make a sequential plan one of kind union_sequential.
UNION_KEYS = {"looks", "last_share", "futility"}


class Plan(Protocol):
    """What is asked of a sampling plan.

    Beside what stands here, a plan has one of `SharedAlpha.alpha_at` and `OwnBound.lower_bound`.

    Attributes
    ----------
    decided_radii : tuple of float, optional
        The only radii that the plan decides; without it, all from `lowest_radius` on. Between
        two of them, too, certificates may be missing that more samples would have given.
    """

    @property
    def n0(self) -> int:
        """Selection samples of an image."""
        ...

    @property
    def n(self) -> int:
        """The most estimation samples of an image."""
        ...

    @property
    def lowest_radius(self) -> float:
        """The smallest radius that the plan decides, in [0,1] pixel units.

        Below it certificates may be missing that more samples would have given.
        """
        ...

    def goal(self, label: int | None, selection: np.ndarray, estimation: np.ndarray) -> int:
        """Return how many estimation samples to have drawn before asking again.

        The answer follows from the arguments alone, and whoever asks more often than
        needed is led to the same stop.

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
        ...

    def computed(self, drawn: np.ndarray) -> np.ndarray:
        """Tell which images, by the samples drawn of them, have a certificate.

        Parameters
        ----------
        drawn : ndarray of int
            Estimation samples of images that the plan has finished.

        Returns
        -------
        ndarray of bool, of the shape of `drawn`
        """
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as an experiment writes it, without sigma; see `make_plan`.

        Values are those that JSON can hold; ``plan`` is a name in `PLANS`, or the path
        of the plan's file.
        """
        ...


class SharedAlpha(Plan, Protocol):
    """A plan whose bounds are those of Clopper and Pearson, each with a share of alpha.

    Certificates are sound where the error probabilities of all numbers of samples after which
    one may be computed add up to at most alpha (union bound).
    """

    def alpha_at(self, drawn: np.ndarray, alpha: float) -> np.ndarray:
        """Return the error probability of a bound computed after `drawn` samples.

        Parameters
        ----------
        drawn : ndarray of int
            Estimation samples of images that have a certificate.
        alpha : float
            Error probability of a certificate, 0 < alpha < 1.

        Returns
        -------
        ndarray of float, of the shape of `drawn`

        Raises
        ------
        ValueError
            If the plan never computes a bound after so many samples, or cannot
            answer for an error probability of `alpha`.
        """
        ...


class OwnBound(Plan, Protocol):
    """A plan with bounds of its own.

    It has to see to it that, whatever the image, they exceed its probability with probability at
    most alpha.
    """

    def lower_bound(self, successes: np.ndarray, drawn: np.ndarray, alpha: float) -> np.ndarray:
        """Return lower bounds of the probability of the selected class.

        Parameters
        ----------
        successes, drawn : ndarray of int
            Votes for the selected class, and estimation samples, of images that have a
            certificate.
        alpha : float
            Error probability of a certificate, 0 < alpha < 1.

        Returns
        -------
        ndarray of float, of the shape of `drawn`
            Those of an image rise with its successes.

        Raises
        ------
        ValueError
            As `SharedAlpha.alpha_at`.
        """
        ...


def lower_bound(plan: Plan, successes: np.ndarray, drawn: np.ndarray, alpha: float) -> np.ndarray:
    """Return lower confidence bounds of the probabilities of images' selected classes.

    Parameters
    ----------
    plan : Plan
        The plan that the samples were drawn by.
    successes, drawn : ndarray of int, shape (images,)
        Votes for the selected class, and estimation samples, of images that have a certificate.
    alpha : float
        Error probability of a certificate, 0 < alpha < 1.

    Returns
    -------
    ndarray of float, shape (images,)
        The plan's own, or those of Clopper and Pearson at the error probability that it names.

    Raises
    ------
    ValueError
        As `SharedAlpha.alpha_at` and `OwnBound.lower_bound`.
    """
    if hasattr(plan, "lower_bound"):
        return plan.lower_bound(successes, drawn, alpha)
    from dds.statistics.bounds import clopper_pearson_lower

    shared = cast(SharedAlpha, plan)
    return clopper_pearson_lower(successes, drawn, shared.alpha_at(drawn, alpha))


def simulate(plan: Plan, label: int, p: float, random: np.random.Generator) -> int:
    """Draw from an image that is called class 0 with probability p, as its plan says.

    Parameters
    ----------
    plan : Plan
        See `dds.statistics.plans`.
    label : int
        The true class; class 0 is the selected one.
    p : float
        In [0, 1].
    random : Generator
        Where votes come from.

    Returns
    -------
    int
        How many estimation samples it took.
    """
    import numpy as np

    selection, estimation = np.array([plan.n0, 0]), np.zeros(2, np.int64)
    while (goal := plan.goal(label, selection, estimation)) > estimation.sum():
        wanted = goal - int(estimation.sum())
        hits = random.binomial(wanted, p)
        estimation += (hits, wanted - hits)
    return int(estimation.sum())


def make_plan(settings: Mapping[str, Any], sigma: float) -> Plan:
    """Build the sampling plan that an experiment asks for.

    ``make_plan(plan.to_dict(), sigma)`` gives the same plan again.

    Parameters
    ----------
    settings : mapping
        ``plan`` (a name in `PLANS`, or the path of a ``FILE.py``), ``n0``, ``n``,
        ``alpha`` where the plan spends it, and the keys that the plan adds. Other keys
        are ignored.
    sigma : float
        Noise level in [0,1] pixel units.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If the plan is unknown, or its settings are missing, no mapping, or out of range.

    Examples
    --------
    >>> from dds import make_plan
    >>> settings = {"plan": "sequential", "n0": 100, "n": 1000, "alpha": 0.001, "radii": [0.25]}
    >>> make_plan(settings, sigma=0.25).looks
    (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
    """
    if not isinstance(settings, Mapping) or "plan" not in settings:
        raise ValueError(
            "the settings of a plan must be a mapping that has plan, such as "
            f"{{'plan': 'fixed', 'n0': 100, 'n': 10000}}, not {settings!r}"
        )
    name = plan_name(settings)
    kind = _kind(name)
    keys = kind.Keys.model_construct(**settings)  # the plan itself checks their ranges
    missing = [
        key
        for key, field in kind.Keys.model_fields.items()
        if field.is_required() and key not in keys.model_fields_set
    ]
    always = ("n0", "n", "alpha") if kind.SPENDS_ALPHA else ("n0", "n")
    missing += [key for key in always if key not in settings]
    if missing:
        raise ValueError(f"a {Path(name).stem} plan needs {' and '.join(missing)}")
    return kind.make(
        keys, n0=settings["n0"], n=settings["n"], alpha=settings.get("alpha"), sigma=sigma
    )


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse what no plan of the kind has, which `make_plan` ignores.

    Parameters
    ----------
    settings : mapping
        As of `make_plan`; keys may be missing.

    Raises
    ------
    ValueError
        If the plan is unknown, a key is unknown to it, or a value is none that the key may have.
    """
    own = {key: value for key, value in settings.items() if key not in _OF_EVERY_PLAN}
    checked(_kind(plan_name(settings)).Keys, own, "plan", whole=False)


def plan_name(settings: Mapping[str, Any]) -> str:
    """Return the kind of plan that settings mean, whichever version wrote them.

    Counts files outlive the code that wrote them, and their samples were dear: they stay
    readable. In some of them a curtailed plan is a fixed one with ``curtail: true``, and a
    sequential plan with keys that `dds.statistics.plans.union_sequential` alone has is one.

    Examples
    --------
    >>> plan_name({"plan": "sequential"}), plan_name({"plan": "sequential", "futility": 0.01})
    ('sequential', 'union_sequential')
    """
    name = settings["plan"]
    if name == "fixed" and settings.get("curtail", False):
        return "curtailed"
    if name == "sequential" and UNION_KEYS & settings.keys():
        return "union_sequential"
    return name


def _kind(name: str) -> ModuleType:
    try:
        return PLANS[name]
    except ValueError as error:
        raise ValueError(f"plan: {error}") from error
