"""Cells of tables: how numbers are written, which signs mark them, and what the signs mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dds.statistics.reach import can_reach
from paper.quantities import decimal
from paper.sheets import Cell, Sheet

if TYPE_CHECKING:
    import pandas as pd

CONSTANT = "†"
OUTSIDE = "‡"
DIFFERS = "*"
SEVERAL = "§"
UNDECIDED = "n/c"
UNREACHABLE = "n/a"
ILLEGIBLE = "?"

#: Points below the best of a column within which a number counts as good as it. The paper
#: prints near ties in bold as well, up to 28.6 beside 29.5.
NEAR_TIE = 1.0
_BOLD = (
    "Bold: the best number computed here in each column, and those at most "
    f"{NEAR_TIE:g} point below it."
)

_NOTES = {
    CONSTANT: "† answers one class for more than half of the images, whatever class they are of.",
    OUTSIDE: (
        "‡ differs from the published value: the 95% interval of the difference, by the images "
        "of both, leaves out 0."
    ),
    DIFFERS: "* on some image the decision is not that of the first plan.",
    SEVERAL: "§ one noisy sample takes several passes through a network.",
    UNDECIDED: "n/c: not computed; the sampling plan did not decide this radius at this σ.",
    UNREACHABLE: (
        "n/a: n is too small; not even n samples that all agree certify so large a radius at "
        "this σ and α."
    ),
    ILLEGIBLE: "? not legible in our source.",
}


#: What certified accuracy at radius 0 says of the smoothed classifier.
CLEAN_NOTE = (
    "Clean accuracy, that at ε = 0, counts abstentions as errors: a lower bound on that of the "
    "smoothed classifier."
)


def clean_notes(table: pd.DataFrame) -> list[str]:
    """Return what readers must know of a table's column of radius 0, if it has one."""
    return [CLEAN_NOTE] if table["radius"].eq(0).any() else []


def groups(table: pd.DataFrame, column: str | list[str]) -> list[tuple[Any, pd.DataFrame]]:
    """Return the parts of a table that agree in a column, in the order they come in."""
    return list(table.groupby(column, sort=False))


def by_radius(numbers: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the numbers of one row of a sheet, by rising radius, those of none first."""
    return numbers.sort_values("radius", na_position="first").to_dict("records")


def radius_heads(table: pd.DataFrame) -> list[str]:
    """Return the heads of a table's columns, one a radius: ``ε = 0.25`` and ``ε = 1.0``."""
    return [f"ε = {decimal(radius)}" for radius in sorted(table["radius"].dropna().unique())]


def noise(sigma: float) -> str:
    """Return the head of a row of one noise level: ``σ = 0.25`` and ``σ = 1.0``."""
    return f"σ = {decimal(sigma)}"


def shown(percent: float) -> float:
    """Return a percentage as tables show it: with one decimal."""
    return float(f"{percent:.1f}")


def difference(percent: float, other: float) -> str:
    """Return the difference in points of two percentages as they are shown, a true minus.

    Of what is shown, so that no difference contradicts the numbers above it.
    """
    # Adding 0 turns -0.0 into 0.0.
    points = round(shown(percent) - shown(other), 1) + 0.0
    return signed(points)


def signed(points: float) -> str:
    """Return points with their sign, a true minus."""
    return f"{points:+.1f}".replace("-", "−")


def interval(low: float, high: float) -> str:
    """Return a confidence interval in percent."""
    return f"[{low:.1f}, {high:.1f}]"


def is_reachable(number: Mapping[str, Any]) -> bool:
    """Tell whether n samples that all agree certify the radius of a number."""
    return can_reach(number["radius"], number.get("largest_radius", math.inf))


def accuracy_cell(number: Mapping[str, Any]) -> Cell:
    """Return our accuracy, with the clean one before it and a mark where the paper disagrees."""
    import pandas as pd

    accuracy = number["accuracy_percent"]
    if not is_reachable(number):
        return Cell(UNREACHABLE)
    if pd.isna(accuracy):
        return Cell(UNDECIDED)
    return replace(
        with_clean(accuracy, number.get("clean_accuracy_percent")),
        mark=OUTSIDE if number.get("published_outside_interval") is True else "",
        value=shown(accuracy),
        interval=interval(number["ci_low_percent"], number["ci_high_percent"]),
    )


def with_clean(accuracy: float, clean: float | None) -> Cell:
    """Return an accuracy in percent with the clean one before it; empty where there is none."""
    import pandas as pd

    if pd.isna(accuracy):
        return Cell("")
    return Cell(f"{accuracy:.1f}", raised="" if pd.isna(clean) else f"{clean:.1f}")


def finish(sheet: Sheet) -> Sheet:
    """Set the best of every column in bold, with near ties, and explain the signs used."""
    columns = [_bold(column) for column in zip(*sheet.rows, strict=True)]
    rows = [list(row) for row in zip(*columns, strict=True)]
    bold = _BOLD if any(cell.bold for row in rows for cell in row) else ""
    return explain(replace(sheet, rows=rows, bold=bold))


def _bold(column: Sequence[Cell]) -> list[Cell]:
    best = max((cell.value for cell in column if cell.value is not None), default=0.0)
    return [
        replace(cell, bold=cell.value is not None and 0 < cell.value >= round(best - NEAR_TIE, 1))
        for cell in column
    ]


def explain(sheet: Sheet) -> Sheet:
    """Add a note on every sign that a sheet uses."""
    signs = {sign for row in sheet.rows for cell in row for sign in (cell.text, *cell.mark)}
    notes = [note for sign, note in _NOTES.items() if sign in signs]
    return replace(sheet, notes=[*sheet.notes, *notes])
