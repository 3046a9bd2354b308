"""What must hold of certification results before anyone believes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dds.sampling.counts import check_counts
from dds.statistics.accuracy import (
    best_over_sigma,
    certified_accuracy,
    difference_interval,
    paired_interval,
)
from dds.statistics.bounds import largest_radius
from dds.statistics.certificates import ABSTAIN, compute_certificates
from paper.literature import published_cells
from paper.tables import TABLES


@dataclass(frozen=True)
class Check:
    """One statement about results, and whether it holds.

    Attributes
    ----------
    name : str
        The statement.
    passed : bool
        Whether it holds.
    detail : str
        The numbers behind it, or the first exception to it.
    """

    name: str
    passed: bool
    detail: str


def check_experiment(
    name: str,
    counts: pd.DataFrame,
    metadata: Mapping[str, Any],
    certificates: pd.DataFrame,
    *,
    images: int,
    alpha: float,
) -> list[Check]:
    """Check the counts and certificates of one experiment.

    Parameters
    ----------
    name : str
        The experiment's, for the statements.
    counts, metadata
        From `dds.sampling.counts.read_counts`.
    certificates : DataFrame
        From `dds.statistics.certificates.compute_certificates`, as they were stored.
    images : int
        How many images the experiment has: 0 to `images` - 1.
    alpha : float
        Error probability of each certificate.

    Returns
    -------
    list of Check
        Counts add up; every image is there once at every sigma; certificates follow from
        the counts, to the last bit; no radius exceeds what its samples allow.
    """
    return [
        _counts_add_up(name, counts, metadata),
        _every_image_once(name, counts, images),
        _certificates_follow(name, counts, metadata, certificates, alpha),
        _within_largest_radius(name, certificates, alpha),
    ]


def check_table(name: str, kind: str, table: pd.DataFrame) -> list[Check]:
    """Check that certified accuracy never rises with the radius in a table.

    Parameters
    ----------
    name, kind : str
        The table's, and that of `paper.tables.TABLES` that it is of.
    table : DataFrame
        As `paper.tables.read_table` returns it.

    Returns
    -------
    list of Check
        None for a kind that names no curves in its ``CURVE``. Where sigma was chosen on other
        images, a row may rise, and is left out.

    Raises
    ------
    ValueError
        If a kind names curves by columns that its table lacks.
    """
    curve = list(getattr(TABLES[kind], "CURVE", ()))
    if not curve or "accuracy_percent" not in table:
        return []
    if lacking := [column for column in (*curve, "radius") if column not in table]:
        raise ValueError(
            f"{name}: kind {kind} names curves by {lacking[0]}, no column of its table"
        )
    ours = table[table["accuracy_percent"].notna()]
    if "chosen_on" in ours:
        ours = ours[ours["chosen_on"].isna()]
    rising = [
        dict(zip(curve, key, strict=True))
        for key, rows in ours.sort_values("radius").groupby(curve, sort=False, dropna=False)
        if (rows["accuracy_percent"].diff() > 0).any()
    ]
    first = ", ".join(f"{column} {value}" for column, value in rising[0].items()) if rising else ""
    return [
        Check(
            f"{name}: certified accuracy never rises with the radius",
            not rising,
            f"it does in {first}" if rising else f"{len(ours)} numbers",
        )
    ]


def check_comparison(entry: Any, certificates: Mapping[str, pd.DataFrame]) -> list[Check]:
    """Check that one classifier certifies more images than another, or not fewer.

    Parameters
    ----------
    entry : CheckKeys
        A check of the study file: ``kind`` ("better" or "not_worse"),
        ``experiment`` and ``classifier``, ``than`` with the same two, ``sigmas``,
        ``radius``.
    certificates : mapping of str to DataFrame
        By experiment.

    Returns
    -------
    list of Check
        One for each sigma. "better": the 95% score interval of the difference in
        certified accuracy, over pairs of the images both have, lies above 0;
        "not_worse": it does not lie below 0, and how much worse would pass is told.
    """
    radius, than = entry.radius, entry.than
    checks = []
    for sigma in entry.sigmas:
        ours = _certified(certificates[entry.experiment], entry.classifier, sigma, radius)
        theirs = _certified(certificates[than.experiment], than.classifier, sigma, radius)
        ours, theirs = ours.align(theirs, join="inner")
        alone = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
        mean, low, high = (100 * part for part in paired_interval(*alone, len(ours)))
        better = entry.kind == "better"
        slack = "" if better else f"; up to {mean - low:.1f} points worse would pass"
        checks.append(
            Check(
                f"{entry.experiment} is {'better' if better else 'not worse'} than "
                f"{than.experiment} ({entry.classifier}, sigma {sigma:g}, radius {radius:g})",
                bool(low > 0 if better else high >= 0),
                f"{mean:+.1f} points, 95% interval {low:+.1f} to {high:+.1f}, "
                f"{len(ours)} images{slack}",
            )
        )
    return checks


def check_published(
    entry: Any, certificates: Mapping[str, pd.DataFrame], published: pd.DataFrame
) -> list[Check]:
    """Check that a classifier certifies more than methods of the paper, in every setting.

    Parameters
    ----------
    entry : Check
        A check of the study file of kind "better_than_published": ``experiment`` and
        ``classifier``, ``than`` with ``table`` and ``rows``.
    certificates : mapping of str to DataFrame
        By experiment.
    published : DataFrame
        From `paper.literature.read_published`.

    Returns
    -------
    list of Check
        One for each row. At every radius that it has a number for, our best accuracy over
        sigma is better: an interval of the difference lies above 0, which holds what chance
        does through our images and theirs, and the rounding of what is printed. Where nobody
        knows on how many images theirs was measured, it is taken as it is printed. As our
        sigma is chosen on the same images, the intervals have 95% for all sigmas together.

    Raises
    ------
    ValueError
        If the table has no such row.
    """
    rows = certificates[entry.experiment]
    rows = rows[rows["classifier"] == entry.classifier]
    checks = []
    for row in entry.than.rows:
        cells = published_cells(published, entry.than.table, row)
        cells = cells[cells["status"] == "printed"].sort_values("radius")
        leads = [_lead(rows, cell) for cell in cells.to_dict("records")]
        least = min(leads, key=lambda lead: (not math.isnan(lead.low), lead.low))
        radii = ", ".join(f"{lead.radius:g}" for lead in leads)
        checks.append(
            Check(
                f"{entry.experiment} ({entry.classifier}) is better than {row} of Table "
                f"{entry.than.table} at every radius ({radii})",
                bool(least.low > 0),
                f"not computed at radius {least.radius:g}"
                if math.isnan(least.low)
                else f"least at radius {least.radius:g}: {least.points:+.1f} points, 95% interval "
                f"from {least.low:+.1f} on, {least.images} images",
            )
        )
    return checks


class _Lead(NamedTuple):
    """How far we are ahead of a published value, in points: NaN where it is not computed."""

    radius: float
    points: float
    low: float
    images: int


def _lead(rows: pd.DataFrame, cell: Mapping[str, Any]) -> _Lead:
    level = 1 - 0.05 / rows["sigma"].nunique()
    accuracies = certified_accuracy(rows, [cell["radius"]], level=level)
    best = best_over_sigma(accuracies, certified_accuracy(rows, [0.0])).iloc[0]
    theirs = cell["certified_accuracy"] / 100
    low, _ = difference_interval(
        best["accuracy"], best["images"], theirs, cell["images"], level=level
    )
    low = best["low"] - theirs if np.isnan(low) else low
    points = 100 * (best["accuracy"] - theirs)
    return _Lead(cell["radius"], points, 100 * low - cell["rounding"], int(best["images"]))


def check_attack(name: str, attacked: pd.DataFrame, certificates: pd.DataFrame) -> list[Check]:
    """Check that an attack succeeds on no image that is certified against it.

    It would refute the certificate: the smoothed classifier answers one class everywhere
    within the certified radius, and abstaining is no other class. What counts is the length of
    the perturbation that was found, as the networks saw it, not the radius that it was allowed.

    Parameters
    ----------
    name : str
        The attack's, for the statement.
    attacked : DataFrame
        ``image``, ``sigma``, ``classifier``, ``radius``, ``norm`` and ``prediction`` of every
        image at every radius.
    certificates : DataFrame
        Of the experiment that was attacked.

    Returns
    -------
    list of Check
        No perturbation is longer than its radius; every attacked image has a certificate; and no
        answer differs from that which is certified. An honest failure is possible, with at most
        the probability that a certificate or PREDICT is wrong.
    """
    keys = ["image", "sigma", "classifier"]
    longer = attacked[~(attacked["norm"] <= attacked["radius"])]
    certified = certificates[[*keys, "prediction", "radius"]]
    both = attacked.merge(certified, on=keys, how="left", suffixes=("", "_certified"))
    lacking = both[both["prediction_certified"].isna()]
    inside = both[
        (both["prediction_certified"] != ABSTAIN) & (both["norm"] < both["radius_certified"])
    ]
    answered = inside[inside["prediction"] != ABSTAIN]
    refuted = answered[answered["prediction"] != answered["prediction_certified"]]
    right = int((attacked["prediction"] == attacked["label"]).sum())
    certain = f"{len(inside)} attacks within certified radii"
    return [
        Check(
            f"no perturbation of attack {name} is longer than its radius",
            longer.empty,
            f"{len(attacked)} perturbations" if longer.empty else _place(longer),
        ),
        Check(
            f"attack {name} succeeds on no image within its certified radius",
            lacking.empty and refuted.empty,
            f"no certificate for {_place(lacking)}"
            if not lacking.empty
            else f"{certain}, of {len(attacked)}; {right} answers right"
            if refuted.empty
            else f"class {refuted['prediction'].iloc[0]} instead of "
            f"{int(refuted['prediction_certified'].iloc[0])}, certified within "
            f"{refuted['radius_certified'].iloc[0]:.4f}, at a distance of "
            f"{refuted['norm'].iloc[0]:.4f}, on {_place(refuted)}",
        ),
    ]


def _place(rows: pd.DataFrame) -> str:
    """Name the first of some attacked images."""
    first = rows.iloc[0]
    return (
        f"image {first['image']} at sigma {first['sigma']:g} "
        f"and radius {first['radius']:g} by {first['classifier']}"
    )


def check_curtailment(
    entry: Any, experiments: Mapping[str, Any], certificates: Mapping[str, pd.DataFrame]
) -> list[Check]:
    """Check that curtailed plans certify exactly what the fixed one does.

    Parameters
    ----------
    entry : Entry
        A table of kind "sampling_plans".
    experiments : mapping of str to Experiment
        The experiments of the study.
    certificates : mapping of str to DataFrame
        By experiment.

    Returns
    -------
    list of Check
        One for each curtailed experiment among the methods: from its lowest radius on
        the images certified are the same as under the first fixed plan, with the same
        radii to the last bit. None where there is no fixed plan, or where samples are not
        drawn deterministically, so that they need not be the same.
    """
    names = [method.experiment for method in entry.methods]
    fixed = [name for name in names if experiments[name].plan == "fixed"]
    curtailed = [name for name in names if experiments[name].plan == "curtailed"]
    if not fixed or not all(experiments[name].deterministic for name in names):
        return []
    return [
        _curtailed_like_fixed(name, certificates[name], fixed[0], certificates[fixed[0]])
        for name in curtailed
    ]


def _curtailed_like_fixed(
    name: str, curtailed: pd.DataFrame, fixed_name: str, fixed: pd.DataFrame
) -> Check:
    keys = ["sigma", "classifier", "image"]
    ours = curtailed.set_index(keys)
    theirs = fixed.set_index(keys).reindex(ours.index)
    lowest = ours["lowest_radius"]
    reached, reachable = (
        rows["radius"].where(rows["correct"] & (rows["radius"] >= lowest), 0.0)
        for rows in (ours, theirs)
    )
    different = ours.index[reached != reachable]
    return Check(
        f"{name} certifies what {fixed_name} does from radius {lowest.max():g} on",
        different.empty,
        f"{int((reached > 0).sum())} equal radii"
        if different.empty
        else "not at sigma {:g} by {} on image {}".format(*different[0]),
    )


def failures(checks: Sequence[Check]) -> str:
    """Return what failed, in one line.

    Parameters
    ----------
    checks : sequence of Check

    Returns
    -------
    str
        Empty where all passed.

    Examples
    --------
    >>> failures([Check("counts add up", True, "20 rows"), Check("radii fall", False, "at 0.5")])
    '1 of 2 checks failed: radii fall (at 0.5)'
    """
    failed = [check for check in checks if not check.passed]
    if not failed:
        return ""
    return f"{len(failed)} of {len(checks)} checks failed: " + "; ".join(
        f"{check.name} ({check.detail})" for check in failed
    )


def _counts_add_up(name: str, counts: pd.DataFrame, metadata: Mapping[str, Any]) -> Check:
    statement = f"counts of {name} add up to n0 and at most n"
    try:
        check_counts(counts, metadata)
    except ValueError as error:
        return Check(statement, False, str(error))
    return Check(statement, True, f"{len(counts)} rows")


def _every_image_once(name: str, counts: pd.DataFrame, images: int) -> Check:
    groups = counts.groupby(["sigma", "classifier"])["image"]
    wrong = [key for key, column in groups if sorted(column) != list(range(images))]
    return Check(
        f"every image of {name} is there once at every sigma",
        not wrong,
        f"not at sigma {wrong[0][0]:g} by {wrong[0][1]}" if wrong else f"{images} images",
    )


def _certificates_follow(
    name: str, counts: pd.DataFrame, metadata: Mapping[str, Any], stored: pd.DataFrame, alpha: float
) -> Check:
    again = compute_certificates(counts, metadata["plan"], alpha)
    return Check(
        f"certificates of {name} follow from its counts",
        again.equals(stored),
        f"{len(stored)} certificates at alpha {alpha:g}",
    )


def _within_largest_radius(name: str, certificates: pd.DataFrame, alpha: float) -> Check:
    computed = certificates[certificates["computed"]]
    limits = largest_radius(computed["n"].to_numpy(), alpha, computed["sigma"].to_numpy())
    radii = computed["radius"].to_numpy()
    too_large = computed[radii > limits]
    # Where n samples certify nothing, the limit is 0, and no share of it can be told.
    share = np.max(radii[limits > 0] / limits[limits > 0], initial=0.0)
    return Check(
        f"no radius of {name} exceeds what its samples allow",
        too_large.empty,
        f"the largest is {share:.4f} of the limit"
        if too_large.empty
        else "it does at sigma {:g} by {} on image {}".format(
            *too_large[["sigma", "classifier", "image"]].iloc[0]
        ),
    )


def _certified(
    certificates: pd.DataFrame, classifier: str, sigma: float, radius: float
) -> pd.Series:
    rows = certificates[certificates["classifier"] == classifier]
    rows = rows[np.isclose(rows["sigma"], sigma)].set_index("image")
    return rows["correct"] & (rows["radius"] >= radius)
