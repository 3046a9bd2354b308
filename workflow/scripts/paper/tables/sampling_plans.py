"""Sampling plans on the same images: what they cost, and whether they decide alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from paper.parts import select_certificates
from paper.quantities import duration
from paper.sheets import Cell, Sheet
from paper.tables._cells import (
    CONSTANT,
    DIFFERS,
    accuracy_cell,
    by_radius,
    explain,
    groups,
    noise,
    radius_heads,
)
from paper.tables._compared import ComparedKeys, check, check_same_images
from paper.tables._numbers import describe
from paper.tables._sampling import largest_radii

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Keys", "build", "check", "lay_out"]

#: Rows of numbers that agree in these are a curve of certified accuracy.
CURVE = ("classifier", "row", "sigma")

_COLUMNS = ["Noise", "Plan", "Samples", "Per image", "Share", "Time"]
_NOTE = (
    "Samples count selection and estimation; their share is of the first plan's. "
    "Time is that of sampling, without start-up."
)


class Keys(ComparedKeys):
    """What sampling plans draw and certify, beside the first of them."""


def build(
    entry: Keys,
    certificates: Mapping[str, pd.DataFrame],
    published: pd.DataFrame | None,
    records: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Compute each plan's samples and certified accuracy, beside those of the first."""
    import pandas as pd

    from dds.statistics.accuracy import certified_accuracy

    check_same_images(entry, certificates)
    parts = []
    for classifier, title in entry.classifiers.items():
        plans = [
            select_certificates(certificates, method.experiment, classifier)
            for method in entry.methods
        ]
        for number, (method, rows) in enumerate(zip(entry.methods, plans, strict=True)):
            part = describe(certified_accuracy(rows, entry.radii), rows)
            part["largest_radius"] = part["sigma"].map(
                largest_radii(method.experiment, certificates, records)
            )
            part = part.merge(_samples(rows, plans[0]), on="sigma")
            part["seconds"] = part["sigma"].map(_seconds(records, method.experiment))
            part = part.merge(_differing_images(rows, plans[0], entry.radii))
            part.insert(0, "panel", title)
            part.insert(1, "row", number)
            part.insert(2, "label", method.label)
            part.insert(3, "experiment", method.experiment)
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _seconds(records: Mapping[str, Mapping[str, Any]], experiment: str) -> dict[float, float]:
    """Return how long sampling took, by sigma; nothing where it is not known."""
    by_sigma = records.get(experiment, {}).get("seconds_by_sigma", {})
    return {float(sigma): seconds for sigma, seconds in by_sigma.items()}


def _samples(rows: pd.DataFrame, first: pd.DataFrame) -> pd.DataFrame:
    """Return the samples drawn at each sigma, and their share of those of the first plan."""
    import pandas as pd

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
    import pandas as pd

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


def lay_out(table: pd.DataFrame) -> list[Sheet]:
    """Lay out one sheet a classifier, with one row a sigma and plan."""
    several = table["classifier"].nunique() > 1
    sheets = []
    for _, part in groups(table, "classifier"):
        rows = [
            _row(noise(sigma) if row == 0 else "", numbers)
            for sigma, plans in groups(part, "sigma")
            for row, numbers in groups(plans, "row")
        ]
        title = part["panel"].iloc[0] if several else ""
        sheets.append(explain(Sheet(title, [*_COLUMNS, *radius_heads(table)], rows, [_NOTE])))
    return sheets


def _row(head: str, numbers: pd.DataFrame) -> list[Cell]:
    import pandas as pd

    first = numbers.iloc[0]
    return [
        Cell(head),
        Cell(first["label"], mark=CONSTANT if numbers["nearly_constant"].eq(True).any() else ""),
        Cell(f"{first['samples']:,}"),
        Cell(f"{first['samples'] / first['images']:,.0f}"),
        Cell(f"{first['samples_percent']:.1f}%"),
        Cell("" if pd.isna(first["seconds"]) else duration(first["seconds"])),
        *map(_decision, by_radius(numbers)),
    ]


def _decision(number: Mapping[str, Any]) -> Cell:
    return replace(accuracy_cell(number), mark=DIFFERS if number["differing_images"] else "")
