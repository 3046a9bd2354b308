"""Cells of tables: how numbers are written, which signs mark them, and what the signs mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from paper.sheets import Cell, Sheet

if TYPE_CHECKING:
    import pandas as pd

CONSTANT = "†"
OUTSIDE = "‡"
DIFFERS = "*"
UNDECIDED = "n/c"
ILLEGIBLE = "?"

_NOTES = {
    CONSTANT: "† answers one class for more than half of the images, whatever they show.",
    OUTSIDE: (
        "‡ differs from the published value: the 95% interval of the difference, by the images "
        "of both, leaves out 0."
    ),
    DIFFERS: "* on some image the decision is not that of the first plan.",
    UNDECIDED: "n/c: not computed; the sampling plan leaves radii this small undecided.",
    ILLEGIBLE: "? not legible in our copy of the paper.",
}


def groups(table: pd.DataFrame, column: str | list[str]) -> list[tuple[Any, pd.DataFrame]]:
    """Return the parts of a table that agree in a column, in the order they come in."""
    return list(table.groupby(column, sort=False))


def by_radius(numbers: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the numbers of one row of a sheet, by rising radius, those of none first."""
    return numbers.sort_values("radius", na_position="first").to_dict("records")


def radius_heads(table: pd.DataFrame) -> list[str]:
    """Return the heads of a table's columns, one a radius.

    ``ε = 0.25`` and ``ε = 1.0``: with a point, so that heads are as wide as can be expected.
    """
    texts = [f"{radius:g}" for radius in sorted(table["radius"].dropna().unique())]
    return [f"ε = {text if '.' in text else text + '.0'}" for text in texts]


def signed(points: float) -> str:
    """Return a difference in points with its sign, a true minus."""
    return f"{points:+.1f}".replace("-", "−")


def accuracy_cell(number: Mapping[str, Any]) -> Cell:
    """Return our accuracy, with the clean one before it and a mark where the paper disagrees."""
    import pandas as pd

    if pd.isna(number["accuracy_percent"]):
        return Cell(UNDECIDED)
    mark = OUTSIDE if number.get("published_outside_interval") is True else ""
    clean = number.get("clean_accuracy_percent")
    return replace(with_clean(number["accuracy_percent"], clean), mark=mark)


def with_clean(accuracy: float, clean: float | None) -> Cell:
    """Return an accuracy in percent with the clean one before it; empty where there is none."""
    import pandas as pd

    if pd.isna(accuracy):
        return Cell("")
    return Cell(f"{accuracy:.1f}", raised="" if pd.isna(clean) else f"{clean:.1f}")


def finish(sheet: Sheet, *, first: int = 1) -> Sheet:
    """Set the best of every column from `first` on in bold, and explain the signs used."""
    rows = [list(row) for row in sheet.rows]
    for column in range(first, len(sheet.columns)):
        values = [_value(row[column].text) for row in rows]
        best = max(values)
        for row, value in zip(rows, values, strict=True):
            if value == best > 0:
                row[column] = replace(row[column], bold=True)
    return explain(replace(sheet, rows=rows))


def explain(sheet: Sheet) -> Sheet:
    """Add a note on every sign that a sheet uses."""
    signs = {sign for row in sheet.rows for cell in row for sign in (cell.text, cell.mark)}
    notes = [note for sign, note in _NOTES.items() if sign in signs]
    return replace(sheet, notes=[*sheet.notes, *notes])


def _value(text: str) -> float:
    """Return an accuracy's value; differences and words count as nothing."""
    return float(text) if text[:1].isdigit() else -1.0
