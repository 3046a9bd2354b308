"""Certified accuracy: what certificates of single images say about a dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import norm, t

from dds.statistics.bounds import binomial_interval
from dds.statistics.certificates import ABSTAIN, check_table

#: Above this share of one class among the answers, a classifier counts as nearly constant.
NEARLY_CONSTANT = 0.5

#: How far rounding may take a radius from itself. One that is larger by more is not certified.
_ROUNDING = 1e-9


def certified_accuracy(
    certificates: pd.DataFrame,
    radii: ArrayLike,
    *,
    by: Sequence[str] = ("classifier", "sigma"),
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the share of images certified at least at each radius, with its interval.

    An image counts at radius r when the smoothed classifier answers its label with
    a certified radius of at least r. At radius 0 that is what papers call clean
    accuracy: the answer is right and certification does not abstain. The smoothed
    classifier itself never abstains, so it is a lower bound on its accuracy.

    Parameters
    ----------
    certificates : DataFrame
        ``radius``, ``correct`` and the columns of `by`; a missing radius certifies
        nothing. ``lowest_radius`` and ``decided_radii`` say which radii the sampling plan
        decided, as `compute_certificates` writes them; where they are missing, as those of
        logs are, it decided all.
    radii : array_like of float
        In [0,1] pixel units, at least 0; each is taken once.
    by : sequence of str, optional
        Columns whose combinations get an accuracy each; a missing value is a value.
    level : float, optional
        Coverage of the intervals, which are about the images: the certificates are
        taken as they are.

    Returns
    -------
    DataFrame
        The columns `by`, ``radius``, ``images``, ``certified`` (images), and
        ``accuracy``, ``low``, ``high`` in [0, 1]; the three are NaN at radii that the
        plan left undecided.

    Raises
    ------
    ValueError
        If there are no certificates, they lack a column, or the classes of some images are
        unknown; or if a radius is negative or not a number.

    References
    ----------
    Cohen, Rosenfeld and Kolter (2019), Certified adversarial robustness via randomized
    smoothing. ICML: section 4.

    Examples
    --------
    Four images, of which the last two are classified wrongly:

    >>> certificates = pd.DataFrame(
    ...     {
    ...         "classifier": "cnn",
    ...         "sigma": 0.25,
    ...         "radius": [0.44, 0.31, 0.0, 0.62],
    ...         "correct": [True, True, False, False],
    ...     }
    ... )
    >>> accuracy = certified_accuracy(certificates, radii=[0.0, 0.25, 0.4])
    >>> print(accuracy[["radius", "certified", "accuracy", "low", "high"]].round(3))
       radius  certified  accuracy    low   high
    0    0.00          2      0.50  0.068  0.932
    1    0.25          2      0.50  0.068  0.932
    2    0.40          1      0.25  0.006  0.806
    """
    by, radii = list(by), np.asarray(pd.unique(np.ravel(np.asarray(radii, dtype=float))))
    check_table(certificates, [*by, "radius", "correct"])
    if certificates.empty:
        raise ValueError("there are no certificates to compute an accuracy from")
    if certificates["correct"].isna().any():
        raise ValueError("correct is missing: an accuracy needs the classes of all images")
    if not (np.isfinite(radii) & (radii >= 0)).all():
        raise ValueError(f"radii must be numbers of at least 0, not {radii.tolist()}")
    parts = []
    for key, group in certificates.groupby(by, dropna=False):
        correct = group["correct"].to_numpy(dtype=bool)
        reached = group["radius"].to_numpy(dtype=float, na_value=np.nan)[correct]
        reached = np.sort(reached[~np.isnan(reached)])
        decided = as_decided(group, radii)
        at = np.where(np.isnan(decided), radii, decided)
        certified = len(reached) - np.searchsorted(reached, at)
        low, high = binomial_interval(certified, len(group), level)
        numbers = np.stack([certified / len(group), low, high])
        numbers[:, np.isnan(decided)] = np.nan
        columns = {"radius": radii, "images": len(group), "certified": certified}
        columns |= dict(zip(("accuracy", "low", "high"), numbers, strict=True))
        parts.append(pd.DataFrame(dict(zip(by, key, strict=True)) | columns))
    return pd.concat(parts, ignore_index=True)


def as_decided(certificates: pd.DataFrame, radii: ArrayLike) -> np.ndarray:
    """Return radii as the sampling plan of certificates has decided them for every image.

    Parameters
    ----------
    certificates : DataFrame
        ``lowest_radius`` and ``decided_radii`` as `compute_certificates` writes them; where
        they are missing, every radius is decided.
    radii : array_like of float, shape (radii,)
        In [0,1] pixel units.

    Returns
    -------
    ndarray of float, shape (radii,)
        NaN where a radius is undecided. One that rounding alone tells from a radius that the plan
        lists is that one, as 0.7000000000000001 of ``np.arange(0, 1, 0.1)`` is 0.7.

    Examples
    --------
    >>> certificates = pd.DataFrame({"lowest_radius": [0.25], "decided_radii": ["0.25 0.5"]})
    >>> as_decided(certificates, [0.0, 0.25, 0.4, 0.5, 0.6])
    array([ nan, 0.25,  nan, 0.5 ,  nan])
    """
    radii = np.asarray(radii, dtype=float)
    lowest, lists = _decides(certificates)
    for only in lists:
        nearest = only[np.abs(radii[:, None] - only).argmin(axis=1)]
        listed = np.isclose(radii, nearest, rtol=_ROUNDING, atol=0)
        radii = np.where(listed, nearest, np.nan)
    return np.where(radii >= lowest, radii, np.nan)


def leaves_undecided(certificates: pd.DataFrame) -> bool:
    """Tell whether there is a radius at which the plan of certificates left images undecided."""
    lowest, lists = _decides(certificates)
    return lowest > 0 or bool(lists)


def only_radii(certificates: pd.DataFrame) -> np.ndarray | None:
    """Return the only radii that the sampling plan of certificates decides; None for all."""
    _, lists = _decides(certificates)
    return lists[0] if lists else None


def _decides(certificates: pd.DataFrame) -> tuple[float, list[np.ndarray]]:
    """Return the lowest radius that is decided, and each list of the only ones that are.

    A row that does not say, such as one of a log beside certificates, decides all.
    """
    nothing = pd.Series(index=certificates.index, dtype=object)
    lowest, only = (
        certificates.get(name, nothing).dropna() for name in ("lowest_radius", "decided_radii")
    )
    texts = (text for text in only.unique() if text)
    return lowest.max() if len(lowest) else 0.0, [np.array(text.split(), float) for text in texts]


def best_over_sigma(accuracies: pd.DataFrame, clean: pd.DataFrame) -> pd.DataFrame:
    """Choose for each classifier and radius the noise level with the highest accuracy.

    This is how papers compare methods. It describes one classifier for each radius,
    chosen on the very images it is measured on; it is no certificate of any one of them.

    Parameters
    ----------
    accuracies : DataFrame
        From `certified_accuracy`. Those that are NaN, left undecided, compete with no other: it
        is the best over the noise levels that were decided.
    clean : DataFrame
        From `certified_accuracy` at radius 0 alone. Of equal accuracies the one with
        the higher clean accuracy is chosen.

    Returns
    -------
    DataFrame
        One row a classifier and radius, with the columns of `accuracies` and
        ``clean_accuracy``, ``clean_low``, ``clean_high``.

    References
    ----------
    Carlini et al. (2023): (Certified!!) Adversarial robustness for free! ICLR. Tables 1 and 3.

    Examples
    --------
    Less noise is better for the small radius, more for the large one:

    >>> certificates = pd.DataFrame(
    ...     {
    ...         "classifier": "cnn",
    ...         "sigma": [0.25, 0.25, 0.5, 0.5],
    ...         "radius": [0.31, 0.30, 0.62, 0.0],
    ...         "correct": [True, True, True, False],
    ...     }
    ... )
    >>> clean = certified_accuracy(certificates, [0.0])
    >>> best = best_over_sigma(certified_accuracy(certificates, [0.25, 0.5]), clean)
    >>> print(best[["radius", "sigma", "accuracy", "clean_accuracy"]])
       radius  sigma  accuracy  clean_accuracy
    0    0.25   0.25       1.0             1.0
    1    0.50   0.50       0.5             0.5
    """
    names = {name: f"clean_{name}" for name in ("accuracy", "low", "high")}
    clean = clean[["classifier", "sigma", *names]].rename(columns=names)
    merged = accuracies.merge(clean, on=["classifier", "sigma"])
    ranked = merged.sort_values(["accuracy", "clean_accuracy"], ascending=False, kind="stable")
    best = ranked.groupby(["classifier", "radius"], as_index=False).head(1)
    return best.sort_values(["classifier", "radius"], ignore_index=True)


def most_frequent_share(certificates: pd.DataFrame) -> pd.DataFrame:
    """Return how often each smoothed classifier answers its favourite class.

    A classifier that answers one class for everything is certified at every radius on
    the images of that class; this share unmasks it. Where most images are of one class, a
    good classifier answers it as often: what it answers on the others tells them apart.

    Parameters
    ----------
    certificates : DataFrame
        ``sigma``, ``classifier``, ``label`` and the answered class: ``selected``, or ``prediction``
        where that is missing, as in rows of logs. Abstentions are left out: where ``prediction``
        is ABSTAIN, but for images that ``computed`` says the sampling plan stopped early.

    Returns
    -------
    DataFrame
        ``classifier``, ``sigma``, ``most_frequent_share`` in [0, 1], NaN where it only
        abstains, and ``nearly_constant``: whether it is above `NEARLY_CONSTANT`, and on images
        of other classes other answers are no more frequent than that one.

    Examples
    --------
    >>> answers = pd.DataFrame({"classifier": "f", "sigma": 1.0, "prediction": [3, 3, 3, 8, -1]})
    >>> most_frequent_share(answers.assign(label=[3, 4, 5, 8, 8])).iloc[0].to_dict()
    {'classifier': 'f', 'sigma': 1.0, 'most_frequent_share': 0.75, 'nearly_constant': True}
    """
    named = [certificates[name] for name in ("selected", "prediction") if name in certificates]
    abstains = (named[-1] == ABSTAIN) & certificates.get("computed", True)
    frame = certificates.assign(answer=named[0].fillna(named[-1]).where(~abstains))
    rows = []
    for (classifier, sigma), group in frame.groupby(["classifier", "sigma"], dropna=False):
        shares = group["answer"].value_counts(normalize=True)
        share, favourite = (shares.iloc[0], shares.index[0]) if len(shares) else (np.nan, np.nan)
        others = group.loc[group["label"] != favourite, "answer"]
        varies = others.empty or others.dropna().ne(favourite).sum() > others.eq(favourite).sum()
        rows.append((classifier, sigma, share, bool(share > NEARLY_CONSTANT and not varies)))
    columns = ["classifier", "sigma", "most_frequent_share", "nearly_constant"]
    return pd.DataFrame(rows, columns=columns)


def difference_interval(
    share: ArrayLike,
    n: ArrayLike,
    other: ArrayLike,
    m: ArrayLike,
    *,
    correlation: ArrayLike = 0.0,
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Return Newcombe's interval for the difference of two accuracies on samples of images.

    Both accuracies vary with the images they were measured on. Where the samples share
    images, as when one paper takes 500 images and another all, the two vary together: a
    positive `correlation` narrows the interval, and 0, if it is unknown, only makes it too
    wide.

    Parameters
    ----------
    share, other : array_like of float
        Two accuracies, in [0, 1]; broadcast.
    n, m : array_like of float
        The numbers of images that they were measured on, at least 1.
    correlation : array_like of float, optional
        Of the two accuracies as estimates, in [-1, 1]; see `shared_correlation`.
    level : float, optional
        Coverage.

    Returns
    -------
    low, high : ndarray or float
        The interval for `share` less `other`, in [-1, 1]; NaN where an argument is.

    References
    ----------
    Newcombe (1998), Interval estimation for the difference between independent proportions:
    comparison of eleven methods. Statistics in Medicine 17, 873-890: method 10.

    Newcombe (1998), Improved confidence intervals for the difference between binomial
    proportions based on paired data. Statistics in Medicine 17, 2635-2650: method 10 without
    its continuity correction.

    Examples
    --------
    Example a of the first paper: 56 of 70 against 48 of 80.

    >>> low, high = difference_interval(56 / 70, 70, 48 / 80, 80)
    >>> print(low.round(4), high.round(4))
    0.0524 0.3339
    """
    share, other, correlation = (
        np.asarray(values, dtype=float) for values in (share, other, correlation)
    )
    low, high = _wilson_interval(share, n, level)
    other_low, other_high = _wilson_interval(other, m, level)

    def reach(one: np.ndarray, two: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(one**2 + two**2 - 2 * correlation * one * two, 0))

    difference = share - other
    down = reach(share - low, other_high - other)
    up = reach(high - share, other - other_low)
    return (difference - down)[()], (difference + up)[()]


def shared_correlation(ours: pd.Series, theirs: pd.Series) -> float:
    """Return how two accuracies vary together that were measured on samples with shared images.

    Parameters
    ----------
    ours, theirs : Series of bool
        Whether each image counts, by image; no image comes twice.

    Returns
    -------
    float
        In [-1, 1]: the correlation on the shared images, less the smaller their part of the
        two samples is; 0 where fewer than two images are shared, or all of them agree.

    Notes
    -----
    Accuracies on n and m images, s of them shared, have the covariance ``s c / (n m)`` for a
    covariance c on one image, and variances ``v / n`` and ``w / m``; so their correlation is
    ``s / sqrt(n m)`` times that of one image.

    Examples
    --------
    The same answers on a quarter of the images:

    >>> ours = pd.Series([True, False] * 4)
    >>> round(shared_correlation(ours, ours[:2]), 3)
    0.5
    """
    shared = ours.index.intersection(theirs.index)
    one, two = ours[shared].to_numpy(float), theirs[shared].to_numpy(float)
    if len(shared) < 2 or one.std() == 0 or two.std() == 0:
        return 0.0
    part = len(shared) / np.sqrt(len(ours) * len(theirs))
    return float(part * np.corrcoef(one, two)[0, 1])


def _wilson_interval(share: np.ndarray, n: ArrayLike, level: float) -> tuple[np.ndarray, ...]:
    """Return Wilson's interval of a share, which need not be a whole number of `n`."""
    n, z = np.asarray(n, dtype=float), float(norm.ppf((1 + level) / 2))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - reach, middle + reach


def mean_interval(values: ArrayLike) -> tuple[float, float, float]:
    """Return the mean of values of independent images and Student's 95% interval for it.

    Parameters
    ----------
    values : array_like of float, shape (images,)
        One value an image, at least one.

    Returns
    -------
    mean, low, high : float
        Of one value, which says nothing of how far others vary, the interval is all numbers.

    References
    ----------
    Student (1908), The probable error of a mean. Biometrika 6, 1-25.

    Examples
    --------
    Differences of two classifiers, in points, on four images:

    >>> [round(number, 1) for number in mean_interval([100, 0, 0, 100])]
    [50.0, -41.9, 141.9]
    """
    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if len(values) == 1:
        return mean, -np.inf, np.inf
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    reach = error * float(t.ppf(0.975, len(values) - 1))
    return mean, mean - reach, mean + reach


def paired_interval(more: int, fewer: int, pairs: int) -> tuple[float, float, float]:
    """Return the difference of two proportions of the same images, and its 95% score interval.

    Unlike Student's and Wald's intervals it has a width where no image, or hardly any,
    differs, and its coverage stays near 95% there.

    Parameters
    ----------
    more, fewer : int
        Images that the first of two methods alone gets right, and the second one alone.
    pairs : int
        Images in all, at least 1.

    Returns
    -------
    difference, low, high : float
        Of the first method's proportion less the second's, in [-1, 1].

    Raises
    ------
    ValueError
        If the counts do not fit each other.

    References
    ----------
    Tango (1998), Equivalence test and confidence interval for the difference in proportions
    for the paired-sample design. Statistics in Medicine 17, 891-908.

    Examples
    --------
    200 images, of which none differs, and of which five do:

    >>> [round(100 * number, 1) for number in paired_interval(0, 0, 200)]
    [0.0, -1.9, 1.9]
    >>> [round(100 * number, 1) for number in paired_interval(5, 0, 200)]
    [2.5, 0.6, 5.7]
    """
    if min(more, fewer) < 0 or not 0 < pairs >= more + fewer:
        raise ValueError(f"{more} and {fewer} images cannot differ of {pairs}")
    z = float(norm.ppf(0.975))
    difference = (more - fewer) / pairs

    def score(delta: float) -> float:
        """Return how many standard errors the difference lies above `delta`."""
        # The likeliest probability of `fewer` where the difference is delta solves a
        # quadratic equation.
        b = -more - fewer + (2 * pairs - more + fewer) * delta
        c = -fewer * delta * (1 - delta)
        likeliest = (np.sqrt(max(b * b - 8 * pairs * c, 0.0)) - b) / (4 * pairs)
        variance = pairs * max(2 * likeliest + delta * (1 - delta), 0.0)
        distance = more - fewer - pairs * delta
        if variance > 0:
            return distance / np.sqrt(variance)
        return float(np.copysign(np.inf, distance)) if distance else 0.0

    def end(sign: int) -> float:
        """Return how far from the difference the score reaches the level, by bisection."""
        inside, outside = difference, float(sign)
        if abs(score(outside)) <= z:
            return outside
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if abs(score(middle)) <= z else (inside, middle)
        return outside

    return difference, end(-1), end(+1)
