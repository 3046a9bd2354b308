"""Published certified accuracies, and the authors' own logs beside them.

The files are config/literature/*.csv; their README.md describes the columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dds.logs import read_log
from dds.statistics.accuracy import certified_accuracy
from paper.linked_logs import find_linked_logs

STATUSES = ("printed", "not_reported", "not_legible")

_ACCURACIES = ("certified_accuracy", "clean_accuracy")
_NUMBERS = ("sigma", "radius", *_ACCURACIES, "images")
_CHOICES = {
    "off_the_shelf": ("none", "half", "full", "not_legible", ""),
    "extra_data": ("yes", "no", ""),
    "status": STATUSES,
}
_PUBLISHED = ("table", "row", "off_the_shelf", "extra_data", *_NUMBERS, "status", "source")
_CELL = ["table", "row", "extra_data", "sigma", "radius"]
#: What a link shares with the published cell whose log it names.
_LINKED = ["table", "row", "extra_data", "radius"]
_FILE = ("repository", "commit", "path", "bytes", "sha256")
_LINKS = (*_LINKED, "sigma", *_FILE, "images", *_ACCURACIES)


def read_published(path: str | Path) -> pd.DataFrame:
    r"""Read published certified accuracies.

    Parameters
    ----------
    path : str or Path
        A CSV file, one row a cell of a published table.

    Returns
    -------
    DataFrame
        The file's columns: ``table``, ``row``, ``off_the_shelf``, ``extra_data``, ``status``
        and ``source`` as text; ``sigma``, ``radius`` ([0,1] pixel units),
        ``certified_accuracy`` and ``clean_accuracy`` (percent) and ``images``, how many
        they were measured on, as numbers, NaN where a cell is empty; and ``rounding``, how
        far (points) a value can lie from what is printed: 0.5 in rows that print whole
        percents alone, as many papers do, else 0.05.

    Raises
    ------
    ValueError
        If a column is missing or unknown, a value is not allowed, a cell comes twice, a
        number stands where none was printed, or has no source; naming the line.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "published.csv")
    >>> _ = path.write_text(
    ...     "table,row,off_the_shelf,extra_data,sigma,radius,certified_accuracy,clean_accuracy,"
    ...     "images,status,source\n"
    ...     "3,RS,none,no,,0.5,43.0,75.0,500,printed,Carlini et al. 2023\n"
    ... )
    >>> cells = published_cells(read_published(path), "3", "RS")
    >>> cells[["radius", "certified_accuracy"]].to_numpy().tolist()
    [[0.5, 43.0]]
    """
    published = _read_csv(path, _PUBLISHED)
    for column, allowed in _CHOICES.items():
        wrong = ~published[column].isin(allowed)
        _refuse(path, wrong, f"{column} must be one of {', '.join(filter(None, allowed))}")
    for column in _NUMBERS:
        published[column] = _numbers(path, published, column)
    for column in _ACCURACIES:
        outside = published[column].notna() & ~published[column].between(0, 100)
        _refuse(path, outside, f"{column} must lie between 0 and 100")
    negative = published["radius"].isna() | (published["radius"] < 0)
    _refuse(path, negative, "radius must be at least 0")
    images = published["images"]
    wrong = images.notna() & ((images < 1) | (images % 1 != 0))
    _refuse(path, wrong, "images must be a whole number of at least 1")
    printed = published["status"] == "printed"
    numbers = published[list(_ACCURACIES)].notna()
    _refuse(path, printed & ~numbers["certified_accuracy"], "a printed cell needs its number")
    _refuse(path, ~printed & numbers.any(axis=1), "a cell that was not printed has no number")
    _refuse(path, printed & (published["source"] == ""), "a printed cell needs its source")
    _refuse(path, published.duplicated(_CELL), "the cell comes twice")
    return published.assign(rounding=_rounding(published))


def _rounding(published: pd.DataFrame) -> pd.Series:
    """Return half of a unit of the last digit that each cell's row was printed with."""
    whole = (published[list(_ACCURACIES)].fillna(0) % 1 == 0).all(axis=1)
    rows = whole.groupby([published[name] for name in ("table", "row", "extra_data")])
    return pd.Series(np.where(rows.transform("all"), 0.5, 0.05), published.index)


def published_cells(
    published: pd.DataFrame,
    table: str,
    row: str | None = None,
    *,
    extra_data: str | None = None,
) -> pd.DataFrame:
    """Return the cells of a table that fit all arguments given.

    Parameters
    ----------
    published : DataFrame
        From `read_published`.
    table : str
        The table's name, such as ``"3"`` or ``"4a"``.
    row : str, optional
        The row's name as printed; by default all rows.
    extra_data : {"yes", "no"}, optional
        Tells apart rows of the same name.

    Returns
    -------
    DataFrame
        The rows of `published` that fit, at least one.

    Raises
    ------
    ValueError
        If none does.
    """
    asked = {"table": table, "row": row, "extra_data": extra_data}
    wanted = {column: value for column, value in asked.items() if value is not None}
    cells = published
    for column, value in wanted.items():
        cells = cells[cells[column] == value]
    if cells.empty:
        description = ", ".join(f"{column} {value}" for column, value in wanted.items())
        raise ValueError(f"no published cell of {description}")
    return cells


def add_logged(published: pd.DataFrame, links: str | Path) -> pd.DataFrame:
    """Add to published cells what is known of their authors' public logs.

    Parameters
    ----------
    published : DataFrame
        From `read_published`.
    links : str or Path
        A CSV file, one row a published cell and its log, and what the log gives there.

    Returns
    -------
    DataFrame
        `published` with the columns ``logged_accuracy`` and ``logged_clean_accuracy``
        (percent), and ``logged_otherwise``: whether one of the two, rounded as the row is,
        is not what is printed; all missing where no public log is known.

    Raises
    ------
    ValueError
        If the CSV file is damaged, or a link leads to no cell, naming the line.

    Notes
    -----
    A link names its cell by ``table``, ``row``, ``extra_data`` and ``radius``: two rows of
    one name are told apart by ``extra_data``.
    """
    known = _read_links(links)
    cells = pd.MultiIndex.from_frame(published[_LINKED])
    unknown = ~pd.MultiIndex.from_frame(known[_LINKED]).isin(cells)
    _refuse(links, pd.Series(unknown), "leads to no cell of the published tables")
    names = {name: f"logged_{name.removeprefix('certified_')}" for name in _ACCURACIES}
    known = known[[*_LINKED, *_ACCURACIES]].rename(columns=names)
    merged = published.merge(known, on=_LINKED, how="left")
    apart = [(merged[name] - merged[logged]).abs() for name, logged in names.items()]
    # Logs give two digits, of which the last is rounded.
    apart = pd.concat(apart, axis=1).max(axis=1)
    otherwise = (apart > merged["rounding"] + 0.005).astype("boolean").mask(apart.isna())
    return merged.assign(logged_otherwise=otherwise)


def add_recomputed(published: pd.DataFrame, links: str | Path, folder: str | Path) -> pd.DataFrame:
    """Add to published cells what their authors' logs say, where those are at hand.

    Parameters
    ----------
    published : DataFrame
        From `read_published`.
    links, folder
        See `recompute_published`.

    Returns
    -------
    DataFrame
        `published` with the columns ``recomputed_accuracy`` and
        ``recomputed_clean_accuracy`` (percent), NaN where no log is at hand, and ``log``:
        its images, as `dds.logs.read_log` returns them, or None.
    """
    names = {
        "certified_accuracy": "recomputed_accuracy",
        "clean_accuracy": "recomputed_clean_accuracy",
    }
    recomputed = recompute_published(links, folder).rename(columns=names)
    merged = published.merge(recomputed.drop(columns=["sigma", "images"]), on=_LINKED, how="left")
    return merged.assign(log=merged["log"].astype(object).where(merged["log"].notna(), None))


def recompute_published(links: str | Path, folder: str | Path) -> pd.DataFrame:
    """Recompute published accuracies from those of the authors' logs that are at hand.

    Parameters
    ----------
    links : str or Path
        A CSV file, one row a published cell and its log.
    folder : str or Path
        Where logs lie, under any names; see `paper.linked_logs.find_linked_logs`.

    Returns
    -------
    DataFrame
        ``table``, ``row``, ``extra_data``, ``sigma``, ``radius``, ``images``,
        ``certified_accuracy`` and ``clean_accuracy`` (percent) of the cells whose log is at
        hand, and ``log``, its images.

    Raises
    ------
    ValueError
        If `folder` is no folder or holds no log that is linked, or the CSV file or a log that
        it names is damaged, naming the line.
    """
    wanted = _read_links(links)
    logs = find_linked_logs(links, folder)
    cells = [
        {name: getattr(link, name) for name in (*_LINKED, "sigma")}
        | _accuracy(read_log(logs[link.sha256], sigma=link.sigma), link.radius)
        for link in wanted.itertuples()
        if link.sha256 in logs
    ]
    return pd.DataFrame(cells)


def _read_links(path: str | Path) -> pd.DataFrame:
    links = _read_csv(path, _LINKS)
    for column in ("radius", "sigma", "images", *_ACCURACIES):
        links[column] = _numbers(path, links, column)
    _refuse(path, links.duplicated(_LINKED), "the cell comes twice")
    return links


def _accuracy(log: pd.DataFrame, radius: float) -> dict[str, Any]:
    accuracy = certified_accuracy(log, [0, radius]).set_index("radius")
    return {
        "images": len(log),
        "certified_accuracy": 100 * float(accuracy.loc[radius, "accuracy"]),
        "clean_accuracy": 100 * float(accuracy.loc[0, "accuracy"]),
        "log": log,
    }


def _read_csv(path: str | Path, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path} is not a CSV file: {' '.join(str(error).split())}") from error
    if tuple(table.columns) != columns:
        raise ValueError(f"{path} must have the columns {', '.join(columns)}")
    return table


def _numbers(path: str | Path, table: pd.DataFrame, column: str) -> pd.Series:
    numbers = pd.to_numeric(table[column], errors="coerce").astype(float)
    _refuse(path, numbers.isna() & (table[column] != ""), f"{column} must be a number")
    return numbers


def _refuse(path: str | Path, wrong: pd.Series, rule: str) -> None:
    """Raise about the first row that breaks a rule."""
    if wrong.any():
        raise ValueError(f"{path}, line {wrong.idxmax() + 2}: {rule}")
