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
    "images": "published_images",
    "source": "published_source",
    "rounding": "published_rounding",
    "logged_accuracy": "logged_percent",
    "logged_clean_accuracy": "logged_clean_percent",
    "logged_otherwise": "logged_otherwise",
    "recomputed_accuracy": "recomputed_percent",
    "recomputed_clean_accuracy": "recomputed_clean_percent",
    "log": "log",
}

#: What a published value is rounded to if its table does not say: half of a tenth.
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


def correlate(part: pd.DataFrame, rows: pd.DataFrame | None) -> pd.DataFrame:
    """Put the correlation of our accuracies with published ones in the place of their logs.

    Parameters
    ----------
    part : DataFrame
        Numbers of one classifier of ours, or of none, beside `published_numbers`.
    rows : DataFrame or None
        That classifier's certificates.
    """
    if "log" not in part:
        return part
    if rows is not None:
        cells = zip(part["sigma"], part["radius"], part["log"], strict=True)
        part = part.assign(published_correlation=[_correlation(rows, *cell) for cell in cells])
    return part.drop(columns="log")


def _correlation(rows: pd.DataFrame, sigma: float, radius: float, log: pd.DataFrame) -> float:
    """Return how two accuracies vary together: 0, which is on the safe side, if it is unknown.

    It is known where a log is at hand in which every image that we share has the same label.
    """
    import pandas as pd

    from dds.statistics.accuracy import shared_correlation

    if not isinstance(log, pd.DataFrame):
        return 0.0
    ours, theirs = (part.set_index("image") for part in (rows[rows["sigma"] == sigma], log))
    shared = ours.index.intersection(theirs.index)
    if not ours["label"][shared].eq(theirs["label"][shared]).all():
        return 0.0
    hits = [part["correct"] & (part["radius"] >= radius) for part in (ours, theirs)]
    return shared_correlation(*hits)


def compare(table: pd.DataFrame) -> pd.DataFrame:
    """Add the difference to published values, its interval, and whether that leaves out 0.

    The interval holds what the images chosen have on both sides, and the rounding of what is
    printed. Both are missing where a value is, and where nobody says how many images the
    published one was measured on.
    """
    from dds.statistics.accuracy import difference_interval

    if "published_percent" not in table or "accuracy_percent" not in table:
        return table
    ours, published = table["accuracy_percent"], table["published_percent"]
    low, high = difference_interval(
        ours / 100,
        table["images"],
        published / 100,
        _column(table, "published_images"),
        correlation=_column(table, "published_correlation").fillna(0.0),
    )
    rounding = _column(table, "published_rounding").fillna(_ROUNDING)
    low, high = 100 * low - rounding, 100 * high + rounding
    outside = ((low > 0) | (high < 0)).astype("boolean").mask(low.isna())
    return table.assign(
        difference_points=ours - published,
        difference_ci_low=low,
        difference_ci_high=high,
        published_outside_interval=outside,
    )


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    import pandas as pd

    return table[name] if name in table else pd.Series(float("nan"), table.index)


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
    """Return the row below published values with what their authors' logs say.

    Logs at hand are shown in full. Of others, what is known to be not as printed.
    """
    cells = [_log_cell(number) for number in by_radius(numbers)]
    if not any(cell.text for cell in cells):
        return []
    return [[Cell("  from their logs"), *[Cell("")] * skipped, *cells]]


def _log_cell(number: Mapping[str, Any]) -> Cell:
    import pandas as pd

    if not pd.isna(number.get("recomputed_percent")):
        return with_clean(number["recomputed_percent"], number["recomputed_clean_percent"])
    if number.get("logged_otherwise") is True:
        return with_clean(number["logged_percent"], number["logged_clean_percent"])
    return Cell("")


def _difference_cell(number: Mapping[str, Any]) -> Cell:
    import pandas as pd

    if pd.isna(number["difference_points"]) or not is_reachable(number):
        return Cell("")
    return Cell(difference(number["accuracy_percent"], number["published_percent"]))
