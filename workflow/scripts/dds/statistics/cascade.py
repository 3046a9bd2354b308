"""The cascade: votes at several noise levels as one classifier, with its certificate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtri

from dds.statistics.bounds import (
    check_alpha,
    check_sigma,
    clopper_pearson_lower,
    clopper_pearson_upper,
)
from dds.statistics.certificates import ABSTAIN, check_table, leading_classes

#: The columns of certificates that the cascade is computed from, beside those that say of what.
_NEEDED = ("selected", "successes", "top", "top_successes", "runner_up_successes", "n")

#: The columns that say of what they are.
_OF_WHAT = ("image", "label", "sigma", "classifier")

#: How closely a plan's lower bounds are those of the fixed plan, where they are the same.
_SAME = 1e-10


class _Votes(NamedTuple):
    """What the cascade needs of votes, each of shape (sigmas, images), from the largest sigma."""

    selected: np.ndarray
    successes: np.ndarray
    top: np.ndarray
    top_successes: np.ndarray
    runner_up_successes: np.ndarray
    n: np.ndarray


def certify_cascade(
    selection: ArrayLike,
    estimation: ArrayLike,
    sigmas: Sequence[float],
    alpha: float,
    p0: float = 0.5,
) -> dict[str, np.ndarray]:
    """Certify the cascade of smoothed classifiers at several noise levels.

    The cascade asks the largest noise level first. The first level at which a class has a
    probability above `p0` answers that class; where there is none, the cascade abstains. It is
    one classifier, unlike the best noise level for each radius.

    Of each image, with probability at least 1 - `alpha` over the samples, either it abstains or
    the cascade of the exact probabilities answers `prediction` everywhere closer to it than
    `radius`. The conditions: at each level one fixed base classifier; selection independent of
    estimation; and numbers of samples that were fixed before any were drawn, because votes that
    a plan stopped at do not bound a probability from above.

    Parameters
    ----------
    selection, estimation : array_like of int, shape (sigmas, images, classes)
        Class counts of the samples that pick a class, and of those that bound probabilities.
    sigmas : sequence of float, shape (sigmas,)
        Noise levels in [0,1] pixel units, each once, in the order of the counts.
    alpha : float
        Error probability of each image's certificate, 0 < alpha < 1.
    p0 : float, optional
        What a class's probability must exceed to be answered, 1/2 <= p0 < 1. With 1/2 radii are
        largest; above it large noise levels hand more images on, and every radius is smaller.

    Returns
    -------
    dict of ndarray, each of shape (images,)
        ``prediction`` (`dds.ABSTAIN` where no radius is certified), ``radius`` (l2, in [0,1]
        pixel units; 0 where it abstains), and ``certified_at`` (the noise level whose class it
        is; NaN where it abstains). The cascade may answer at a larger level than that one.

    Raises
    ------
    ValueError
        If the counts do not fit each other or an argument is out of its range.

    Notes
    -----
    Let S be the K noise levels, c the class selected at level k, L a lower bound of its
    probability there, and U an upper bound of the largest probability of any other class at a
    level s > k, each wrong with probability at most alpha / K. The radius is

        max over k of min(k (Phi^-1(L) - Phi^-1(p0)),  min over s > k of
        s (Phi^-1(p0) - Phi^-1(U))):

    closer than that, c stays above p0 at level k, and no other class rises above it before.
    docs/certification.md proves that alpha / K is enough, though there are more bounds than K,
    and that the bound of the class with most votes needs no correction for the choice.

    References
    ----------
    Jeong and Shin (2023), Multi-scale diffusion denoised smoothing. NeurIPS: theorem 3.1.

    Examples
    --------
    At sigma 0.5 it is open whether class 1 passes, but others stay far below; at 0.25 it does:

    >>> selection = [[[30, 50, 20]], [[0, 100, 0]]]
    >>> estimation = [[[2500, 5000, 2500]], [[10, 9980, 10]]]
    >>> found = certify_cascade(selection, estimation, [0.5, 0.25], alpha=0.001)
    >>> found["prediction"], found["radius"].round(3), found["certified_at"]
    (array([1]), array([0.315]), array([0.25]))
    """
    levels = check_sigma(np.atleast_1d(sigmas))
    selection, estimation = np.asarray(selection), np.asarray(estimation)
    fits = selection.ndim == 3 and selection.shape == estimation.shape
    if not fits or levels.shape != selection.shape[:1] or not len(levels):
        raise ValueError(
            "selection and estimation must both have shape (sigmas, images, classes), with one "
            f"of sigmas each, not {selection.shape} and {estimation.shape} with {levels.shape}"
        )
    order = np.argsort(-levels)
    selected, counts = selection[order].argmax(axis=-1), estimation[order]
    successes = np.take_along_axis(counts, selected[..., None], axis=-1)[..., 0]
    votes = _Votes(selected, successes, *leading_classes(counts), counts.sum(axis=-1))
    return _certify(votes, levels[order], alpha, p0)


def compute_cascade(
    certificates: pd.DataFrame, *, p0: float = 0.5, alpha: float | None = None
) -> pd.DataFrame:
    """Compute the cascade's certificates from those of each noise level: no new samples.

    Parameters
    ----------
    certificates : DataFrame
        Of the fixed plan, as `dds.statistics.certificates.compute_certificates` returns them:
        every image of a classifier once at each of its noise levels.
    p0 : float, optional
        What a class's probability must exceed to be answered; see `certify_cascade`.
    alpha : float, optional
        Error probability of each certificate; by default that of `certificates`.

    Returns
    -------
    DataFrame
        One row an image and classifier: ``image``, ``label``, ``sigma`` (NaN: it is of no single
        noise level), ``classifier``, ``prediction``, ``radius``, ``correct`` and
        ``certified_at``; see `certify_cascade`, whose guarantee holds for each. Where labels are
        unknown, ``correct`` is missing.

    Raises
    ------
    ValueError
        If columns, images or noise levels are missing, an image comes twice at a noise level,
        classifiers of different names have no level in common, or the plan was not the fixed one.

    References
    ----------
    Jeong and Shin (2023), Multi-scale diffusion denoised smoothing. NeurIPS.

    Examples
    --------
    >>> from dds.statistics.certificates import compute_certificates
    >>> counts = pd.DataFrame(
    ...     {
    ...         "image": [0, 0],
    ...         "label": 1,
    ...         "sigma": [0.25, 0.5],
    ...         "classifier": "cnn",
    ...         "selection": [[0, 10, 0], [2, 6, 2]],
    ...         "estimation": [[2, 998, 0], [200, 600, 200]],
    ...     }
    ... )
    >>> certificates = compute_certificates(counts, {"plan": "fixed", "n0": 10, "n": 1000}, 0.001)
    >>> cascade = compute_cascade(certificates)
    >>> print(cascade[["image", "prediction", "radius", "certified_at"]].round(4))
       image  prediction  radius  certified_at
    0      0           1  0.3462          0.25
    """
    _check(certificates)
    alphas = certificates["alpha"].unique()
    if alpha is None and len(alphas) > 1:
        raise ValueError(f"certificates have several alphas, {alphas.tolist()}; give one as alpha")
    if not _are_of_fixed_plan(certificates):
        raise ValueError(
            "the cascade needs votes of the fixed plan; those that a plan stops at bound no "
            "probability from above"
        )
    alpha = alphas[0] if alpha is None else alpha
    parts = []
    for _, rows in certificates.groupby("classifier", sort=False):
        levels = [
            level.sort_values("image", ignore_index=True)
            for _, level in sorted(rows.groupby("sigma"), key=lambda part: -part[0])
        ]
        first = levels[0][["image", "label", "classifier"]]
        if not all(level[first.columns].equals(first) for level in levels):
            raise ValueError("the cascade needs every image, and its label, at each noise level")
        votes = _Votes(*(np.stack([level[name] for level in levels]) for name in _NEEDED))
        sigmas = np.array([level["sigma"].iloc[0] for level in levels])
        parts.append(first.assign(sigma=np.nan, **_certify(votes, sigmas, alpha, p0)))
    cascade = pd.concat(parts, ignore_index=True)
    correct = cascade["prediction"].eq(cascade["label"]) & cascade["prediction"].ne(ABSTAIN)
    cascade["correct"] = correct.where(cascade["label"].notna())  # else it is unknown, not wrong
    order = ["image", "label", "sigma", "classifier", "prediction", "radius", "correct"]
    return cascade[[*order, "certified_at"]]


def _check(certificates: pd.DataFrame) -> None:
    check_table(certificates, _OF_WHAT)
    there = certificates.notna().all()  # rows of logs do not say all that others do
    missing = [name for name in (*_NEEDED, "alpha") if not there.get(name, False)]
    missing += ["p_lower"] * ("p_lower" not in certificates)
    if missing:
        raise ValueError(
            f"certificates lack {', '.join(missing)}, which the cascade is computed from; "
            "compute them from their counts again"
        )
    if certificates.empty:
        raise ValueError("there are no certificates to compute a cascade from")
    if certificates.duplicated(["classifier", "sigma", "image"]).any():
        raise ValueError("the cascade needs every image once at each noise level")
    names = certificates["classifier"].unique()
    if len(names) > 1 and certificates.groupby("sigma")["classifier"].nunique().max() == 1:
        raise ValueError(
            f"classifiers {', '.join(map(str, names))} have no noise level in common; if they are "
            "levels of one cascade, give them one name by certificates.assign(classifier=...); if "
            "not, compute the cascade of each by itself"
        )


def _are_of_fixed_plan(certificates: pd.DataFrame) -> bool:
    """Tell by the certificates alone; images may all have stopped after as many samples."""
    drawn = certificates.groupby(["classifier", "sigma"])["n"].nunique()
    decided = certificates.get("decided_radii", pd.Series("", certificates.index))
    if drawn.max() > 1 or decided.ne("").any():
        return False
    # A plan that may stop earlier has no bound there, or one with less than all of alpha.
    successes, n, alpha = (certificates[name].to_numpy() for name in ("successes", "n", "alpha"))
    bounds = clopper_pearson_lower(successes, np.maximum(n, 1), alpha)
    return np.allclose(certificates["p_lower"], bounds, rtol=_SAME, atol=0)


def _certify(votes: _Votes, sigmas: np.ndarray, alpha: float, p0: float) -> dict[str, np.ndarray]:
    """Return each image's certificate; `sigmas` fall."""
    if not 0.5 <= p0 < 1:
        raise ValueError(f"p0 must be at least 1/2 and below 1, not {p0:g}")
    if len(np.unique(sigmas)) < len(sigmas):
        raise ValueError("each noise level must come once")
    share, edge = check_alpha(alpha) / len(sigmas), ndtri(p0)
    at = sigmas[:, None]
    # Closer than `passes` the class of a level stays above p0 there.
    passes = at * (ndtri(clopper_pearson_lower(votes.successes, votes.n, share)) - edge)
    images = votes.selected.shape[1]
    radius, prediction = np.zeros(images), np.full(images, ABSTAIN)
    certified_at = np.full(images, np.nan)
    for level, sigma in enumerate(sigmas):
        before = slice(level)
        is_top = votes.top[before] == votes.selected[level]
        others = np.where(is_top, votes.runner_up_successes[before], votes.top_successes[before])
        highest = clopper_pearson_upper(others, votes.n[before], share)
        # Within `silent` every other class stays at p0 or below at all larger levels.
        silent = (at[before] * (edge - ndtri(highest))).min(axis=0, initial=np.inf)
        found = np.minimum(passes[level], silent)
        better = found > radius
        radius = np.where(better, found, radius)
        prediction = np.where(better, votes.selected[level], prediction)
        certified_at = np.where(better, sigma, certified_at)
    return {"prediction": prediction, "radius": radius, "certified_at": certified_at}
