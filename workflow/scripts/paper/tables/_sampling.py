"""What the certificates behind a table rest on: images, samples, error probability, plan.

It stands in a table's columns, so that every form of the table can say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("images", "n0", "n", "alpha", "plan")


def sampling(
    experiment: str,
    certificates: Mapping[str, pd.DataFrame],
    records: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return how an experiment was sampled, as its record says, or else as its certificates do.

    Parameters
    ----------
    experiment : str
        Its name.
    certificates, records
        As for `paper.tables.build_table`.

    Returns
    -------
    dict
        ``images``, ``n0``, ``n``, and where they are known ``alpha``, ``plan`` and the plan's
        own keys; empty where there is no such experiment.
    """
    if known := records.get(experiment, {}).get("sampling"):
        return dict(known)
    if experiment not in certificates:
        return {}  # a kind of the user's own may call other things experiments
    rows = certificates[experiment]
    found = {name: int(rows[name].max()) for name in ("n0", "n")}
    return {"images": int(rows["image"].nunique()), **found}


def largest_radius(settings: Mapping[str, Any], sigma: float) -> float:
    """Return the largest radius that an experiment can certify: that of n samples that agree.

    Parameters
    ----------
    settings : mapping
        From `sampling`.
    sigma : float
        Noise level in [0,1] pixel units.

    Returns
    -------
    float
        In [0,1] pixel units; 0 where they certify nothing, NaN where alpha is not known.
    """
    import numpy as np

    from dds.statistics.bounds import largest_radius
    from dds.statistics.certificates import largest_radius_of
    from dds.statistics.plans import make_plan

    alpha = settings.get("alpha")
    if not alpha:
        return np.nan
    if not settings.get("plan"):
        return float(largest_radius(settings["n"], alpha, sigma))
    plan = make_plan(settings, sigma)
    if hasattr(plan, "decided_radii") and hasattr(plan, "lower_bound"):
        # Its bounds may be those of its radii alone: the last of them ends there, not where n does.
        return float(largest_radius(settings["n"], alpha, sigma))
    return largest_radius_of(plan, sigma, alpha)


def largest_radii(
    experiment: str,
    certificates: Mapping[str, pd.DataFrame],
    records: Mapping[str, Mapping[str, Any]],
) -> dict[float, float]:
    """Return the largest radius that an experiment can certify, by sigma.

    Parameters
    ----------
    experiment : str
        Its name.
    certificates, records
        As for `paper.tables.build_table`.
    """
    settings = sampling(experiment, certificates, records)
    sigmas = certificates[experiment]["sigma"].unique()
    return {float(sigma): largest_radius(settings, float(sigma)) for sigma in sigmas}


def add_sampling(
    table: pd.DataFrame,
    certificates: Mapping[str, pd.DataFrame],
    records: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Add to a table's rows how the experiment that they come from was sampled."""
    if "experiment" not in table:
        return table
    names = table["experiment"].dropna().unique()
    known = {name: sampling(name, certificates, records) for name in names}
    for column in _COLUMNS:
        values = table["experiment"].map({name: facts.get(column) for name, facts in known.items()})
        if column in table or values.isna().all():
            continue
        whole = column in ("images", "n0", "n")
        table = table.assign(**{column: values.astype("Int64") if whole else values})
    return table


def sampling_note(table: pd.DataFrame, *, intervals: bool) -> list[str]:
    """Say what a table's numbers are, and what the certificates behind them rest on.

    Parameters
    ----------
    table : DataFrame
        With the columns of `add_sampling`.
    intervals : bool
        Whether the table shows its confidence intervals.

    Returns
    -------
    list of str
        One note, or none where nothing is known.
    """
    sentences = [text for text in (_rests_on(table), _reach(table, intervals)) if text]
    return [" ".join(sentences)] * bool(sentences)


def _rests_on(table: pd.DataFrame) -> str:
    unit = "Certified accuracy in percent" if _value_column(table) else ""
    columns = [name for name in _COLUMNS if name in table]
    if "experiment" not in table or "n" not in columns:
        return f"{unit}." if unit else ""
    rows = table.dropna(subset=["experiment", "n"])[["experiment", *columns]].drop_duplicates()
    by_facts: dict[str, list[str]] = {}
    for row in rows.to_dict("records"):
        by_facts.setdefault(_facts(row), []).append(row["experiment"].replace("_", " "))
    if not by_facts:
        return f"{unit}." if unit else ""
    several = len(by_facts) > 1
    facts = "; ".join(
        f"{', '.join(dict.fromkeys(names))}: {text}" if several else text
        for text, names in by_facts.items()
    )
    return f"{unit}; {facts}." if unit else f"{facts}."


def _facts(row: Mapping[str, Any]) -> str:
    import pandas as pd

    most = "≤" if row.get("plan", "fixed") not in ("fixed", None) else "="
    images = int(row["images"])
    parts = [
        f"{images:,} image{'s' * (images != 1)}",
        f"n₀ = {int(row['n0']):,}",
        f"n {most} {int(row['n']):,}",
    ]
    if pd.notna(row.get("alpha")):
        parts.append(f"α = {row['alpha']:g}")
    return ", ".join(parts)


def _value_column(table: pd.DataFrame) -> str:
    return next((name for name in ("accuracy_percent", "percent") if name in table), "")


def _reach(table: pd.DataFrame, intervals: bool) -> str:
    """Say what the intervals are, and how far the widest one reaches."""
    column = _value_column(table)
    if not column or "ci_low_percent" not in table:
        return ""
    if intervals:
        return "In brackets: 95% confidence intervals over images."
    widest = max(
        (table[f"{kind}{column}"] - table[f"{kind}{end}"]).abs().max()
        for kind in ("", "clean_")  # the numbers in parentheses are values, too
        for end in ("ci_low_percent", "ci_high_percent")
        if f"{kind}{end}" in table
    )
    if not widest > 0:
        return ""
    return f"95% confidence intervals over images reach up to {widest:.1f} points from the values."
