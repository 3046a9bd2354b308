"""The paper's tables: from certificates to tidy numbers, and from those to sheets.

A kind of table is two functions, one that computes and one that lays out, and a line
in `KINDS`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dds.statistics.accuracy import (
    best_over_sigma,
    certified_accuracy,
    mean_interval,
    most_frequent_share,
    select_certificates,
)
from dds.statistics.bounds import binomial_interval
from paper.literature import published_cells
from paper.sheets import Cell, Sheet

Certificates = Mapping[str, pd.DataFrame]
Records = Mapping[str, Mapping[str, Any]]

_PERCENT = {"accuracy": "accuracy_percent", "low": "ci_low_percent", "high": "ci_high_percent",
            "clean_accuracy": "clean_accuracy_percent", "clean_low": "clean_ci_low_percent",
            "clean_high": "clean_ci_high_percent"}  # fmt: skip

_CIRCLES = {"none": "○", "half": "◐", "full": "●"}
_CONSTANT = ("†", "† answers one class for more than half of the images, whatever they show.")
_OUTSIDE = ("‡", "‡ the published value lies outside the 95% interval of ours.")
_DIFFERS = ("*", "* on some image the decision is not that of the first plan.")
_UNDECIDED = ("n/c", "n/c: not computed; the sampling plan leaves radii this small undecided.")
_ILLEGIBLE = ("?", "? not legible in our copy of the paper.")


@dataclass(frozen=True)
class Kind:
    """A kind of table: how it is computed, and how it is laid out."""

    build: Callable[..., pd.DataFrame]  # of the arguments of `build_table`
    lay_out: Callable[[pd.DataFrame], list[Sheet]]


def build_table(
    entry: Mapping[str, Any],
    certificates: Certificates,
    published: pd.DataFrame | None = None,
    records: Records | None = None,
) -> pd.DataFrame:
    """Compute a table of a study file.

    Parameters
    ----------
    entry : mapping
        The table's entry in the study file; its ``kind`` is a key of `KINDS`.
    certificates : mapping of str to DataFrame
        Certificates of the experiments that the entry names.
    published : DataFrame, optional
        Published values, as `paper.literature.read_published` returns them; needed
        where the entry says ``published``.
    records : mapping of str to mapping, optional
        By experiment, the record of its merged counts; ``sampling_plans`` shows how long
        sampling took. `costs` compares them with ``estimate``, a `paper.costs.Estimate` as
        a mapping.

    Returns
    -------
    DataFrame
        One row a number, with its interval over images; results/README.md describes
        the columns.
    """
    return KINDS[entry["kind"]].build(entry, certificates, published, records or {})


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table that was written as CSV; an empty field is a missing value."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def lay_out(kind: str, table: pd.DataFrame) -> list[Sheet]:
    """Lay a table of `build_table` out for readers, one sheet a panel."""
    return KINDS[kind].lay_out(table)


# Certified accuracy of a classifier at every sigma: Tables 2 and 4 -------------------


def _build_per_sigma(
    entry: Mapping[str, Any], certificates: Certificates, published: pd.DataFrame | None,
    records: Records,
) -> pd.DataFrame:  # fmt: skip
    parts = []
    for panel in entry["panels"]:
        rows = select_certificates(certificates, panel)
        accuracies = certified_accuracy(rows, entry["radii"])
        part = _in_percent(accuracies).merge(most_frequent_share(rows), on=["classifier", "sigma"])
        part.insert(0, "panel", panel["title"])
        part.insert(1, "experiment", panel["experiment"])
        if "published" in panel:
            cells = _published(published, table=panel["published"])
            part = part.merge(cells, on=["sigma", "radius"], how="left")
        parts.append(part)
    return _compare(pd.concat(parts, ignore_index=True))


def _lay_out_per_sigma(table: pd.DataFrame) -> list[Sheet]:
    sheets = []
    for panel, part in _groups(table, "panel"):
        columns = ["Noise", *_epsilons(part)]
        rows = []
        for sigma, numbers in _groups(part, "sigma"):
            mark = _CONSTANT[0] if numbers["nearly_constant"].any() else ""
            rows.append([Cell(f"σ = {sigma:g}", mark=mark), *map(_accuracy, _records(numbers))])
            rows += _beside_published(numbers)
        title = panel if table["panel"].nunique() > 1 else ""
        sheets.append(_finish(Sheet(title, columns, rows)))
    return sheets


# The best over sigma for each radius, method by method: Tables 1, 3 and 5 ------------


def _build_best_over_sigma(
    entry: Mapping[str, Any], certificates: Certificates, published: pd.DataFrame | None,
    records: Records,
) -> pd.DataFrame:  # fmt: skip
    parts = []
    for number, row in enumerate(entry["rows"]):
        part = pd.DataFrame({"radius": entry["radii"]})
        if "experiment" in row:
            rows = select_certificates(certificates, row)
            best = best_over_sigma(
                certified_accuracy(rows, entry["radii"]), certified_accuracy(rows, [0.0])
            )
            part = _in_percent(best).merge(most_frequent_share(rows), on=["classifier", "sigma"])
            part.insert(0, "experiment", row["experiment"])
        if "published" in row:
            cells = _published(published, **row["published"])
            part = part.merge(cells.drop(columns="sigma"), on="radius", how="left")
        extra_data = "yes" if row.get("extra_data", False) else "no"
        facts = (number, row["label"], row["off_the_shelf"], extra_data)
        for position, (name, fact) in enumerate(
            zip(("row", "label", "off_the_shelf", "extra_data"), facts, strict=True)
        ):
            part.insert(position, name, fact)
        parts.append(part)
    return _compare(pd.concat(parts, ignore_index=True))


def _lay_out_best_over_sigma(table: pd.DataFrame) -> list[Sheet]:
    columns = ["Method", "Off-the-shelf", "Extra data", *_epsilons(table)]
    rows = []
    for _, numbers in _groups(table, "row"):
        first = numbers.iloc[0]
        ours = "accuracy_percent" in numbers and numbers["accuracy_percent"].notna().any()
        constant = ours and numbers["nearly_constant"].eq(True).any()
        head = [
            Cell(first["label"], mark=_CONSTANT[0] if constant else ""),
            Cell(_CIRCLES[first["off_the_shelf"]]),
            Cell("✓" if first["extra_data"] == "yes" else "×"),
        ]
        if ours:
            rows.append([*head, *map(_accuracy, _records(numbers))])
            rows += _beside_published(numbers, skipped=2)
        else:
            rows.append([*head, *map(_published_cell, _records(numbers))])
            rows += _beside_logs(numbers, skipped=2)
    notes = [
        "○ trained for noise, ◐ in part off the shelf, ● off the shelf. Each entry is the best "
        "over σ, chosen on the same images, with that choice's clean accuracy in parentheses."
    ]
    return [_finish(Sheet("", columns, rows, notes), first=3)]


# Two or more ways of denoising the same samples: the ablation of section 3 -----------


def _build_comparison(
    entry: Mapping[str, Any], certificates: Certificates, published: pd.DataFrame | None,
    records: Records,
) -> pd.DataFrame:  # fmt: skip
    methods = {method["label"]: certificates[method["experiment"]] for method in entry["methods"]}
    sigmas = next(iter(methods.values()))["sigma"].unique()
    rows = []
    for (classifier, title), sigma in itertools.product(entry["classifiers"].items(), sigmas):
        values = {
            label: _image_values(frame, classifier, sigma, entry["radii"])
            for label, frame in methods.items()
        }
        first = next(iter(values.values()))
        for label, frame in values.items():
            for quantity in frame.columns:
                # One row an image on both sides, so the difference is of pairs.
                difference = mean_interval(frame[quantity] - first[quantity])
                rows.append([
                    title, classifier, sigma, label, *quantity, len(frame),
                    *_percent_interval(frame[quantity]), *difference,
                ])  # fmt: skip
    columns = ["title", "classifier", "sigma", "method", "quantity", "radius", "images", "percent",
               "ci_low_percent", "ci_high_percent", "difference_points", "difference_ci_low",
               "difference_ci_high"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _image_values(
    certificates: pd.DataFrame, classifier: str, sigma: float, radii: Sequence[float]
) -> pd.DataFrame:
    """Return what is compared, in percent, one row an image and one column a quantity."""
    rows = certificates[(certificates["classifier"] == classifier)]
    rows = rows[rows["sigma"] == sigma].set_index("image").sort_index()
    if rows["n"].nunique() > 1:  # an image that stops early has a biased share of correct samples
        raise ValueError("a comparison needs experiments whose plan draws n samples of every image")
    values = {("samples correct", np.nan): 100 * rows["label_successes"] / rows["n"]}
    for radius in radii:
        certified = rows["correct"] & (rows["radius"] >= radius)
        values["certified", radius] = 100.0 * certified
    return pd.DataFrame(values)


def _percent_interval(values: pd.Series) -> tuple[float, float, float]:
    """Return the mean of percentages of images and its interval, exact where each is 0 or 100."""
    if values.isin([0, 100]).all():
        low, high = binomial_interval(int((values == 100).sum()), len(values))
        return values.mean(), 100 * low, 100 * high
    mean, low, high = mean_interval(values)
    return mean, max(low, 0.0), min(high, 100.0)


def _lay_out_comparison(table: pd.DataFrame) -> list[Sheet]:
    radii = sorted(table["radius"].dropna().unique())
    columns = ["Classifier", "Noise", "Method", "Samples correct", *map(_epsilon, radii)]
    rows = []
    for (classifier, sigma), part in table.groupby(["title", "sigma"], sort=False):
        for position, (method, numbers) in enumerate(_groups(part, "method")):
            head = [Cell(classifier), Cell(f"σ = {sigma:g}")] if position == 0 else [Cell("")] * 2
            records = _records(numbers)
            rows.append([*head, Cell(method), *(Cell(f"{r['percent']:.1f}") for r in records)])
            if position > 0:
                name = Cell("difference")
                rows.append([Cell(""), Cell(""), name, *map(_difference_cell, records)])
    notes = [
        "Differences are to the first method on the same images, in points, with half of the "
        "95% interval; samples correct: the share of noisy samples classified correctly."
    ]
    return [Sheet("", columns, rows, notes)]


def _difference_cell(record: Mapping[str, Any]) -> Cell:
    reach = (record["difference_ci_high"] - record["difference_ci_low"]) / 2
    return Cell(f"{_signed(record['difference_points'])} ± {reach:.1f}")


# Sampling plans on the same images: what they cost and whether they decide alike --------


def _build_sampling_plans(
    entry: Mapping[str, Any], certificates: Certificates, published: pd.DataFrame | None,
    records: Records,
) -> pd.DataFrame:  # fmt: skip
    parts = []
    for classifier, title in entry["classifiers"].items():
        plans = [
            select_certificates(certificates, method | {"classifier": classifier})
            for method in entry["methods"]
        ]
        for number, (method, rows) in enumerate(zip(entry["methods"], plans, strict=True)):
            part = _in_percent(certified_accuracy(rows, entry["radii"]))
            part = part.merge(most_frequent_share(rows), on=["classifier", "sigma"])
            part = part.merge(_samples(rows, plans[0]), on="sigma")
            part["seconds"] = part["sigma"].map(_seconds(records, method["experiment"]))
            part = part.merge(_differing_images(rows, plans[0], entry["radii"]))
            facts = {"panel": title, "row": number, "label": method["label"],
                     "experiment": method["experiment"]}  # fmt: skip
            parts.append(pd.DataFrame(facts, index=part.index).join(part))
    return pd.concat(parts, ignore_index=True)


def _seconds(records: Records, experiment: str) -> dict[float, float]:
    """Return how long sampling took, by sigma; nothing where it is not known."""
    by_sigma = records.get(experiment, {}).get("seconds_by_sigma", {})
    return {float(sigma): seconds for sigma, seconds in by_sigma.items()}


def _samples(rows: pd.DataFrame, first: pd.DataFrame) -> pd.DataFrame:
    """Return the samples drawn at each sigma, and their share of those of the first plan."""
    samples, reference = (
        (frame["n0"] + frame["n"]).groupby(frame["sigma"]).sum() for frame in (rows, first)
    )
    return pd.DataFrame(
        {"samples": samples, "samples_percent": 100 * samples / reference}
    ).reset_index()


def _differing_images(
    rows: pd.DataFrame, first: pd.DataFrame, radii: Sequence[float]
) -> pd.DataFrame:
    """Return how many images are certified by one of two plans alone, by sigma and radius."""
    parts = []
    for radius in radii:
        ours, theirs = (
            (frame["correct"] & (frame["radius"] >= radius)).set_axis(
                pd.MultiIndex.from_frame(frame[["sigma", "image"]])
            )
            for frame in (rows, first)
        )
        differs = ours != theirs.reindex(ours.index)
        differing = differs.groupby("sigma").sum().rename("differing_images").reset_index()
        parts.append(differing.assign(radius=radius))
    return pd.concat(parts)


def _lay_out_sampling_plans(table: pd.DataFrame) -> list[Sheet]:
    columns = ["Noise", "Plan", "Samples", "Per image", "Share", "Seconds", *_epsilons(table)]
    notes = ["Samples count selection and estimation; their share is of the first plan's. "
             "Seconds are of sampling, without start-up."]  # fmt: skip
    sheets = []
    for panel, part in _groups(table, "panel"):
        rows = []
        for sigma, plans in _groups(part, "sigma"):
            for position, (_, numbers) in enumerate(_groups(plans, "row")):
                first = numbers.iloc[0]
                rows.append([
                    Cell(f"σ = {sigma:g}" if position == 0 else ""),
                    Cell(first["label"], mark=_CONSTANT[0] if first["nearly_constant"] else ""),
                    Cell(f"{first['samples']:,}"),
                    Cell(f"{first['samples'] / first['images']:,.0f}"),
                    Cell(f"{first['samples_percent']:.1f}%"),
                    Cell("" if pd.isna(first["seconds"]) else f"{first['seconds']:.1f}"),
                    *map(_decided_alike, _records(numbers)),
                ])  # fmt: skip
        title = panel if table["panel"].nunique() > 1 else ""
        sheets.append(_explain(Sheet(title, columns, rows, notes)))
    return sheets


def _decided_alike(record: Mapping[str, Any]) -> Cell:
    return replace(_accuracy(record), mark=_DIFFERS[0] if record["differing_images"] else "")


# What sampling was estimated to take, and what it took ---------------------------------


def _build_costs(
    entry: Mapping[str, Any], certificates: Certificates, published: pd.DataFrame | None,
    records: Records,
) -> pd.DataFrame:  # fmt: skip
    rows = []
    for method in entry["methods"]:
        record = records[method["experiment"]]
        estimate = record["estimate"]
        hours = estimate["expected"][estimate["chosen"]]
        share = hours / estimate["expected"]["fixed"]  # of the fixed plan's samples
        for source, facts in {
            "estimated": {
                "samples": round(share * estimate["samples"]),
                "hours": hours,
                "pflop": share * estimate["flops"] / 1e15,
                "shards": estimate["shards"],
                "device": entry["gpu"],
            },
            "measured": {
                "samples": record["samples"],
                "hours": record["seconds"] / 3600,
                "pflop": estimate["flops"] / 1e15 * record["samples"] / estimate["samples"],
                "shards": record["parts"],
                "device": _listed(record["device"]),
                "precision": _listed(record["precision"]),
                "kwh": record["joules"] / 3.6e6 if record.get("joules") else np.nan,
            },
        }.items():
            rows.append({"label": method["label"], "experiment": method["experiment"],
                         "source": source, "images": estimate["images"]} | facts)  # fmt: skip
    table = pd.DataFrame(rows)
    table["hours_a_shard"] = table["hours"] / table["shards"]
    table["samples_per_second"] = table["samples"] / (table["hours"] * 3600)
    table["tflops_per_second"] = table["pflop"] * 1000 / (table["hours"] * 3600)
    return table


def _listed(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else value


def _lay_out_costs(table: pd.DataFrame) -> list[Sheet]:
    names = {"samples": "Samples", "pflop": "PFLOP", "hours": "Hours", "shards": "Shards",
             "hours_a_shard": "Hours a shard", "samples_per_second": "Samples/s",
             "tflops_per_second": "TFLOP/s", "kwh": "kWh"}  # fmt: skip
    if table["kwh"].isna().all():
        del names["kwh"]
    rows = []
    for _, numbers in _groups(table, "experiment"):
        for position, record in enumerate(numbers.to_dict("records")):
            rows.append([
                Cell(record["label"] if position == 0 else ""),
                Cell(record["source"]),
                *(Cell(_rounded(record[name])) for name in names),
            ])  # fmt: skip
    devices = {
        source: ", ".join(part["device"].unique()) for source, part in _groups(table, "source")
    }
    notes = [f"Estimated before the run, from the networks' operations and the rate of "
             f"{devices['estimated']}; measured on {devices['measured']}. Hours are of sampling "
             "on one device."]  # fmt: skip
    return [Sheet("", ["Experiment", "", *names.values()], rows, notes)]


def _rounded(value: float) -> str:
    if pd.isna(value):
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


# Published values beside ours --------------------------------------------------------

_PUBLISHED = {
    "certified_accuracy": "published_percent",
    "clean_accuracy": "published_clean_percent",
    "status": "published_status",
    "recomputed_accuracy": "recomputed_percent",
    "recomputed_clean_accuracy": "recomputed_clean_percent",
}


def _published(published: pd.DataFrame | None, **cell: str) -> pd.DataFrame:
    """Return the published cells of a table, or of one row of it, to merge with ours."""
    if published is None:
        raise ValueError(f"published values of table {cell['table']} are asked for, none are given")
    cells = published_cells(published, **cell).rename(columns=_PUBLISHED)
    return cells[[name for name in ("sigma", "radius", *_PUBLISHED.values()) if name in cells]]


def _compare(table: pd.DataFrame) -> pd.DataFrame:
    """Add the difference to published values, and whether they lie outside our interval."""
    if "published_percent" not in table or "accuracy_percent" not in table:
        return table
    published, ours = table["published_percent"], table["accuracy_percent"]
    outside = (published < table["ci_low_percent"]) | (published > table["ci_high_percent"])
    # Published values are rounded to a tenth, so equality within that is agreement.
    outside &= (published - ours).abs() > 0.05
    return table.assign(difference_points=ours - published, published_outside_interval=outside)


def _beside_published(numbers: pd.DataFrame, *, skipped: int = 0) -> list[list[Cell]]:
    """Return the rows below ours with the published values and the differences."""
    if "published_percent" not in numbers or numbers["published_status"].isna().all():
        return []
    records, blank = _records(numbers), [Cell("")] * skipped
    differences = [
        Cell("") if pd.isna(r["difference_points"]) else Cell(_signed(r["difference_points"]))
        for r in records
    ]
    return [
        [Cell("  published"), *blank, *map(_published_cell, records)],
        [Cell("  difference"), *blank, *differences],
    ]


def _beside_logs(numbers: pd.DataFrame, *, skipped: int = 0) -> list[list[Cell]]:
    """Return the row below published values with what their authors' logs say."""
    if "recomputed_percent" not in numbers or numbers["recomputed_percent"].isna().all():
        return []
    cells = [
        _with_clean(record["recomputed_percent"], record["recomputed_clean_percent"])
        for record in _records(numbers)
    ]
    return [[Cell("  from their logs"), *[Cell("")] * skipped, *cells]]


def _published_cell(record: Mapping[str, Any]) -> Cell:
    if record.get("published_status") == "not_legible":
        return Cell(_ILLEGIBLE[0])
    if pd.isna(record.get("published_percent")):
        return Cell("–")
    return _with_clean(record["published_percent"], record["published_clean_percent"])


def _with_clean(accuracy: float, clean: float) -> Cell:
    if pd.isna(accuracy):
        return Cell("")
    return Cell(f"{accuracy:.1f}", raised="" if pd.isna(clean) else f"{clean:.1f}")


# Shared by the layouts ---------------------------------------------------------------


def _in_percent(accuracies: pd.DataFrame) -> pd.DataFrame:
    """Turn accuracies in [0, 1] into percent, and name them so."""
    shares = [name for name in _PERCENT if name in accuracies]
    return accuracies.assign(**100 * accuracies[shares]).rename(columns=_PERCENT)


def _groups(table: pd.DataFrame, column: str) -> list[tuple[Any, pd.DataFrame]]:
    return list(table.groupby(column, sort=False))


def _records(numbers: pd.DataFrame) -> list[dict[str, Any]]:
    return numbers.sort_values("radius", na_position="first").to_dict("records")


def _epsilon(radius: float) -> str:
    text = f"{radius:g}"
    return f"ε = {text if '.' in text else text + '.0'}"


def _epsilons(table: pd.DataFrame) -> list[str]:
    return [_epsilon(radius) for radius in sorted(table["radius"].unique())]


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")


def _accuracy(record: Mapping[str, Any]) -> Cell:
    if pd.isna(record["accuracy_percent"]):
        return Cell(_UNDECIDED[0])
    clean = record.get("clean_accuracy_percent")
    mark = _OUTSIDE[0] if record.get("published_outside_interval") is True else ""
    raised = "" if clean is None or pd.isna(clean) else f"{clean:.1f}"
    return Cell(f"{record['accuracy_percent']:.1f}", raised=raised, mark=mark)


def _finish(sheet: Sheet, *, first: int = 1) -> Sheet:
    """Set the best of every column from `first` on in bold, and explain the signs used."""
    rows = [list(row) for row in sheet.rows]
    for column in range(first, len(sheet.columns)):
        values = [_number(row[column].text) for row in rows]
        best = max(values)
        for row, value in zip(rows, values, strict=True):
            if value == best > 0:
                row[column] = replace(row[column], bold=True)
    return _explain(replace(sheet, rows=rows))


def _explain(sheet: Sheet) -> Sheet:
    """Add a note on every sign that a sheet uses."""
    signs = {sign for row in sheet.rows for cell in row for sign in (cell.text, cell.mark)}
    notes = [
        note
        for sign, note in (_CONSTANT, _OUTSIDE, _DIFFERS, _UNDECIDED, _ILLEGIBLE)
        if sign in signs
    ]
    return replace(sheet, notes=[*sheet.notes, *notes])


def _number(text: str) -> float:
    """Return an accuracy's value; differences and words count as nothing."""
    return float(text) if text[:1].isdigit() else -1.0


#: The kinds of table a study file can ask for.
KINDS = {
    "per_sigma": Kind(_build_per_sigma, _lay_out_per_sigma),
    "best_over_sigma": Kind(_build_best_over_sigma, _lay_out_best_over_sigma),
    "comparison": Kind(_build_comparison, _lay_out_comparison),
    "sampling_plans": Kind(_build_sampling_plans, _lay_out_sampling_plans),
    "costs": Kind(_build_costs, _lay_out_costs),
}
