"""Published values beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from paper.sheets import Cell
from paper.tables._cells import ILLEGIBLE, by_radius, difference, is_reachable, with_clean

if TYPE_CHECKING:
    import pandas as pd

_NAMES = {
    "certified_accuracy": "published_percent",
    "clean_accuracy": "published_clean_percent",
    "status": "published_status",
    "recomputed_accuracy": "recomputed_percent",
    "recomputed_clean_accuracy": "recomputed_clean_percent",
}

#: Published values are rounded to a tenth, so equality within half of it is agreement.
_ROUNDING = 0.05


def published_numbers(
    published: pd.DataFrame | None,
    table: str,
    row: str | None = None,
    extra_data: str | None = None,
) -> pd.DataFrame:
    """Return the published cells of a table, or of one row of it, to merge with ours."""
    from paper.literature import published_cells

    if published is None:
        raise ValueError(f"published values of table {table} are asked for, none are given")
    cells = published_cells(published, table, row, extra_data=extra_data).rename(columns=_NAMES)
    return cells[[name for name in ("sigma", "radius", *_NAMES.values()) if name in cells]]


def compare(table: pd.DataFrame) -> pd.DataFrame:
    """Add the difference to published values, and whether they lie outside our interval."""
    if "published_percent" not in table or "accuracy_percent" not in table:
        return table
    published, ours = table["published_percent"], table["accuracy_percent"]
    outside = (published < table["ci_low_percent"]) | (published > table["ci_high_percent"])
    outside &= (published - ours).abs() > _ROUNDING
    return table.assign(difference_points=ours - published, published_outside_interval=outside)


def published_cell(number: Mapping[str, Any]) -> Cell:
    """Return what the paper prints, a dash where it reports nothing."""
    import pandas as pd

    if number.get("published_status") == "not_legible":
        return Cell(ILLEGIBLE)
    if pd.isna(number.get("published_percent")):
        return Cell("–")
    return with_clean(number["published_percent"], number["published_clean_percent"])


def beside_published(numbers: pd.DataFrame, *, skipped: int = 0) -> list[list[Cell]]:
    """Return the rows below ours with the published values and the differences.

    Parameters
    ----------
    numbers : DataFrame
        Of one row of ours.
    skipped : int
        Columns between the first and those of the radii.
    """
    if "published_percent" not in numbers or numbers["published_status"].isna().all():
        return []
    records, blank = by_radius(numbers), [Cell("")] * skipped
    return [
        [Cell("  published"), *blank, *map(published_cell, records)],
        [Cell("  difference"), *blank, *map(_difference_cell, records)],
    ]


def beside_logs(numbers: pd.DataFrame, *, skipped: int = 0) -> list[list[Cell]]:
    """Return the row below published values with what their authors' logs say."""
    if "recomputed_percent" not in numbers or numbers["recomputed_percent"].isna().all():
        return []
    cells = [
        with_clean(number["recomputed_percent"], number["recomputed_clean_percent"])
        for number in by_radius(numbers)
    ]
    return [[Cell("  from their logs"), *[Cell("")] * skipped, *cells]]


def _difference_cell(number: Mapping[str, Any]) -> Cell:
    import pandas as pd

    if pd.isna(number["difference_points"]) or not is_reachable(number):
        return Cell("")
    return Cell(difference(number["accuracy_percent"], number["published_percent"]))
