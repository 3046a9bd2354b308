"""The paper's tables, one module a kind, which bears the name that entries give as `kind`.

A module holds

- ``Keys``: what an entry may write beside ``kind``. Radii in ``radii`` must be within reach of
  each experiment's n and alpha: at all of its sigmas where ``Keys.AT_EVERY_SIGMA`` is true, else
  at one of them, unless published numbers stand in the table. Where a sampling plan decides other
  radii at each sigma, it must decide these: at all of them where ``Keys.AT_EVERY_SIGMA`` is true,
  at all that reach them where ``Keys.BEST_OVER_SIGMA`` is, else at one;
- ``build(entry, certificates, published, records)``: the tidy numbers, one row a number,
  from the arguments of `build_table`;
- ``lay_out(table)``: the same numbers for readers, as `paper.sheets.Sheet`, one a panel. It
  gets them fresh from ``build``, or read again from their CSV file;
  a column ``experiment`` is enough for every form of the table to say how its numbers were
  sampled;
- optionally ``CURVE``: the columns whose values tell the curves of ``accuracy_percent`` against
  ``radius`` apart, such as ``("classifier", "sigma")``. The study's checks see to it that none
  rises;
- optionally ``check(entry, study)``: yields what does not fit between an entry and its study,
  as the keys and indices that lead to a value inside the entry, and a reason that reads well
  behind it. It may rely on every experiment that the entry names being one of the study.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dds.kinds import Kinds
from paper.tables._checked import check_certificates
from paper.tables._sampling import add_sampling, sampling_note

if TYPE_CHECKING:
    import pandas as pd

    from paper.parts import Entry
    from paper.sheets import Sheet

TABLES = Kinds(__name__)

#: Columns that hold what people wrote: a title "007" is no number.
_TEXT = (
    "panel",
    "title",
    "label",
    "method",
    "experiment",
    "chosen_on",
    "classifier",
    "cite",
    "measured_on",
    "plan",
    "device",
    "precision",
)


def build_table(
    entry: Entry,
    certificates: Mapping[str, pd.DataFrame],
    published: pd.DataFrame | None = None,
    records: Mapping[str, Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """Compute a table of a study file.

    Parameters
    ----------
    entry : Entry
        The table's entry in the study file, of any kind of `TABLES`.
    certificates : mapping of str to DataFrame
        Certificates of the experiments that the entry names.
    published : DataFrame, optional
        Published values, as `paper.literature.read_published` returns them; needed
        where the entry says ``published``.
    records : mapping of str to mapping, optional
        By experiment, the record of its merged counts; ``sampling_plans`` shows how long
        sampling took. ``costs`` compares them with ``estimate``, a `paper.costs.Estimate` as
        a mapping. ``sampling`` is what the study says of the experiment's samples, see
        `study.depends.sampling`.

    Returns
    -------
    DataFrame
        One row a number, with its interval over images; results/README.md describes
        the columns.

    Raises
    ------
    ValueError
        If there is no such kind, a published value that is asked for does not exist, or
        certificates are damaged or of other settings than the records say.
    """
    records = records or {}
    check_certificates(certificates, records)
    table = TABLES[entry.kind].build(entry, certificates, published, records)
    return add_sampling(table, certificates, records)


def lay_out(entry: Entry | str, table: pd.DataFrame) -> list[Sheet]:
    """Lay a table of `build_table` out for readers, one sheet a panel.

    Parameters
    ----------
    entry : Entry or str
        The table's entry in the study file, or its kind alone; its ``intervals`` says
        whether confidence intervals are shown.
    table : DataFrame
        From `build_table` or `read_table`.

    Returns
    -------
    list of Sheet
        The first note of each says what the numbers are and how they were sampled.
    """
    kind = entry if isinstance(entry, str) else entry.kind
    intervals = getattr(entry, "intervals", False)
    note = sampling_note(table, intervals=intervals)
    sheets = [replace(sheet, notes=[*note, *sheet.notes]) for sheet in TABLES[kind].lay_out(table)]
    return sheets if intervals else [_without_intervals(sheet) for sheet in sheets]


def _without_intervals(sheet: Sheet) -> Sheet:
    rows = [[replace(cell, interval="") for cell in row] for row in sheet.rows]
    return replace(sheet, rows=rows)


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table that was written as CSV.

    Parameters
    ----------
    path : str or Path
        Such as ``results/digits/tables/table_4.csv``.

    Returns
    -------
    DataFrame
        As `build_table` returned it; an empty field is a missing value.
    """
    import pandas as pd

    text = dict.fromkeys(_TEXT, str)
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
