"""Published certified accuracies, and the authors' own logs beside them.

The files are config/literature/*.csv; their README.md describes the columns.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dds.files import sha256
from dds.logs import find_logs, read_log
from dds.statistics.accuracy import certified_accuracy

STATUSES = ("printed", "not_reported", "not_legible")

_NUMBERS = ("sigma", "radius", "certified_accuracy", "clean_accuracy")
_CHOICES = {
    "off_the_shelf": ("none", "half", "full", "not_legible", ""),
    "extra_data": ("yes", "no", ""),
    "status": STATUSES,
}
_PUBLISHED = ("table", "row", "off_the_shelf", "extra_data", *_NUMBERS, "status")
_CELL = ["table", "row", "extra_data", "sigma", "radius"]
_LINKS = ("table", "row", "radius", "sigma", "repository", "commit", "path", "bytes", "sha256")


def read_published(path: str | Path) -> pd.DataFrame:
    r"""Read published certified accuracies.

    Parameters
    ----------
    path : str or Path
        A CSV file, one row a cell of a published table.

    Returns
    -------
    DataFrame
        The file's columns: ``table``, ``row``, ``off_the_shelf``, ``extra_data`` and
        ``status`` as text; ``sigma``, ``radius`` ([0,1] pixel units),
        ``certified_accuracy`` and ``clean_accuracy`` (percent) as numbers, NaN where
        a cell is empty.

    Raises
    ------
    ValueError
        If a column is missing or unknown, a value is not allowed, a cell comes twice,
        or a number stands where none was printed; naming the line.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "published.csv")
    >>> _ = path.write_text(
    ...     "table,row,off_the_shelf,extra_data,sigma,radius,certified_accuracy,clean_accuracy,"
    ...     "status\n"
    ...     "3,RS,none,no,,0.5,43.0,75.0,printed\n"
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
    for column in ("certified_accuracy", "clean_accuracy"):
        outside = published[column].notna() & ~published[column].between(0, 100)
        _refuse(path, outside, f"{column} must lie between 0 and 100")
    negative = published["radius"].isna() | (published["radius"] < 0)
    _refuse(path, negative, "radius must be at least 0")
    printed = published["status"] == "printed"
    numbers = published[["certified_accuracy", "clean_accuracy"]].notna()
    _refuse(path, printed & ~numbers["certified_accuracy"], "a printed cell needs its number")
    _refuse(path, ~printed & numbers.any(axis=1), "a cell that was not printed has no number")
    _refuse(path, published.duplicated(_CELL), "the cell comes twice")
    return published


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
        ``recomputed_clean_accuracy`` (percent), NaN where no log is at hand.
    """
    names = {
        "certified_accuracy": "recomputed_accuracy",
        "clean_accuracy": "recomputed_clean_accuracy",
    }
    recomputed = recompute_published(links, folder).rename(columns=names)
    return published.merge(
        recomputed.drop(columns=["sigma", "images"]), on=["table", "row", "radius"], how="left"
    )


def recompute_published(links: str | Path, folder: str | Path) -> pd.DataFrame:
    """Recompute published accuracies from those of the authors' logs that are at hand.

    Parameters
    ----------
    links : str or Path
        A CSV file, one row a published cell and its log.
    folder : str or Path
        Where logs lie, under any names: a log is known by its SHA-256. A folder that
        does not exist holds none.

    Returns
    -------
    DataFrame
        ``table``, ``row``, ``sigma``, ``radius``, ``images``, ``certified_accuracy``
        and ``clean_accuracy`` (percent) of the cells whose log is at hand.

    Raises
    ------
    ValueError
        If the CSV file or a log that it names is damaged, naming the line.
    """
    wanted = _read_csv(links, _LINKS)
    for column in ("radius", "sigma"):
        wanted[column] = _numbers(links, wanted, column)
    found = {sha256(path): path for path in find_logs(folder)}
    cells = [
        {"table": link.table, "row": link.row, "sigma": link.sigma, "radius": link.radius}
        | _accuracy(found[link.sha256], link.sigma, link.radius)
        for link in wanted.itertuples()
        if link.sha256 in found
    ]
    columns = ["table", "row", "sigma", "radius", "images", "certified_accuracy", "clean_accuracy"]
    return pd.DataFrame(cells, columns=columns)


def _accuracy(log: Path, sigma: float, radius: float) -> dict[str, float]:
    accuracy = certified_accuracy(read_log(log, sigma=sigma), [0, radius]).set_index("radius")
    return {
        "images": int(accuracy["images"].iloc[0]),
        "certified_accuracy": 100 * float(accuracy.loc[radius, "accuracy"]),
        "clean_accuracy": 100 * float(accuracy.loc[0, "accuracy"]),
    }


def _read_csv(path: str | Path, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
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
