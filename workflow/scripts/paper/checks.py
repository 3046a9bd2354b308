"""What must hold of certification results before anyone believes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dds.sampling.counts import check_counts
from dds.statistics.accuracy import mean_interval, most_frequent_share
from dds.statistics.bounds import largest_radius
from dds.statistics.certificates import compute_certificates


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
    """
    return [
        _counts_add_up(name, counts, metadata),
        _every_image_once(name, counts, images),
        _certificates_follow(name, counts, metadata, certificates, alpha),
        _within_largest_radius(name, certificates, alpha),
    ]


def check_table(
    name: str, table: pd.DataFrame, text: str, certificates: Mapping[str, pd.DataFrame]
) -> list[Check]:
    """Check a table against sense and against the certificates it shows.

    Parameters
    ----------
    name : str
        The table's.
    table : DataFrame
        As `paper.tables.read_table` returns it.
    text : str
        The same table as Markdown.
    certificates : mapping of str to DataFrame
        By experiment.
    """
    if "accuracy_percent" not in table:
        return []
    ours = table[table["accuracy_percent"].notna()]
    return [_never_rises(name, ours), _constant_is_marked(name, ours, text, certificates)]


def check_comparison(
    entry: Mapping[str, Any], certificates: Mapping[str, pd.DataFrame]
) -> list[Check]:
    """Check that one classifier certifies more images than another, or not fewer.

    Parameters
    ----------
    entry : mapping
        A check of the study file: ``kind`` ("better" or "not_worse"),
        ``experiment`` and ``classifier``, ``than`` with the same two, ``sigmas``,
        ``radius``.
    certificates : mapping of str to DataFrame
        By experiment.

    Returns
    -------
    list of Check
        One for each sigma. "better": the 95% interval of the difference in
        certified accuracy, over the images both have, lies above 0; "not_worse":
        it does not lie below 0.
    """
    radius, than = entry["radius"], entry["than"]
    checks = []
    for sigma in entry["sigmas"]:
        ours = _certified(certificates[entry["experiment"]], entry["classifier"], sigma, radius)
        theirs = _certified(certificates[than["experiment"]], than["classifier"], sigma, radius)
        difference = (ours.astype(float) - theirs.astype(float)).dropna()
        mean, low, high = (100 * value for value in mean_interval(difference))
        better = entry["kind"] == "better"
        checks.append(
            Check(
                f"{entry['experiment']} is {'better' if better else 'not worse'} than "
                f"{than['experiment']} ({entry['classifier']}, sigma {sigma:g}, radius {radius:g})",
                bool(low > 0 if better else high >= 0),
                f"{mean:+.1f} points, 95% interval {low:+.1f} to {high:+.1f}, "
                f"{len(difference)} images",
            )
        )
    return checks


def check_curtailment(
    entry: Mapping[str, Any],
    experiments: Mapping[str, Mapping[str, Any]],
    certificates: Mapping[str, pd.DataFrame],
) -> list[Check]:
    """Check that curtailed plans certify exactly what the fixed one does.

    Parameters
    ----------
    entry : mapping
        A table of kind "sampling_plans"; the first of its methods is the fixed plan.
    experiments : mapping
        The experiments of the study file.
    certificates : mapping of str to DataFrame
        By experiment.

    Returns
    -------
    list of Check
        One for each curtailed experiment among the methods: from its lowest radius on
        the images certified are the same, with the same radii to the last bit. None
        where samples are not drawn deterministically, so that they need not be the same.
    """
    names = [method["experiment"] for method in entry["methods"]]
    if not all(experiments[name]["deterministic"] for name in names):
        return []
    keys = ["sigma", "classifier", "image"]
    checks = []
    for name in names[1:]:
        if not experiments[name]["curtail"]:
            continue
        ours, fixed = (certificates[key].set_index(keys) for key in (name, names[0]))
        fixed = fixed.reindex(ours.index)
        lowest = ours["lowest_radius"]
        reached, reachable = (
            rows["radius"].where(rows["correct"] & (rows["radius"] >= lowest), 0.0)
            for rows in (ours, fixed)
        )
        different = ours.index[reached != reachable]
        checks.append(
            Check(
                f"{name} certifies what {names[0]} does from radius {lowest.max():g} on",
                different.empty,
                f"{int((reached > 0).sum())} equal radii"
                if different.empty
                else "not at sigma {:g} by {} on image {}".format(*different[0]),
            )
        )
    return checks


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
    share = float(np.max(computed["radius"].to_numpy() / limits, initial=0.0))
    return Check(
        f"no radius of {name} exceeds what its samples allow",
        share <= 1.0,
        f"the largest is {share:.4f} of the limit",
    )


def _never_rises(name: str, table: pd.DataFrame) -> Check:
    curve = [key for key in ("panel", "row") if key in table]
    # The best over sigma is a maximum of falling curves, so it falls as well.
    curve += ["sigma"] if "panel" in table else []
    rising = [
        key
        for key, rows in table.sort_values("radius").groupby(curve, sort=False)
        if (rows["accuracy_percent"].diff() > 0).any()
    ]
    return Check(
        f"{name}: certified accuracy never rises with the radius",
        not rising,
        f"it does in {rising[0]}" if rising else f"{len(table)} numbers",
    )


def _constant_is_marked(
    name: str, table: pd.DataFrame, text: str, certificates: Mapping[str, pd.DataFrame]
) -> Check:
    rows = table[["experiment", "classifier", "sigma", "nearly_constant"]].drop_duplicates()
    shares = pd.concat(
        most_frequent_share(certificates[experiment]).assign(experiment=experiment)
        for experiment in rows["experiment"].unique()
    )
    merged = rows.merge(shares, on=["experiment", "classifier", "sigma"], suffixes=("", "_again"))
    agree = bool((merged["nearly_constant"] == merged["nearly_constant_again"]).all())
    constant = bool(merged["nearly_constant_again"].any())
    return Check(
        f"{name}: rows of nearly constant classifiers are marked",
        agree and ("†" in text) == constant,
        f"the most frequent class takes at most {100 * merged['most_frequent_share'].max():.0f}% "
        "of the images",
    )


def _certified(
    certificates: pd.DataFrame, classifier: str, sigma: float, radius: float
) -> pd.Series:
    rows = certificates[certificates["classifier"] == classifier]
    rows = rows[np.isclose(rows["sigma"], sigma)].set_index("image")
    return rows["correct"] & (rows["radius"] >= radius)


def failures(checks: Sequence[Check]) -> str:
    """Return what failed in one line; empty where all passed."""
    failed = [check for check in checks if not check.passed]
    if not failed:
        return ""
    return f"{len(failed)} of {len(checks)} checks failed: " + "; ".join(
        f"{check.name} ({check.detail})" for check in failed
    )
