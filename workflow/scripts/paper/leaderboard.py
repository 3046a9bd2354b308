"""Certified accuracies of many projects beside each other: numbers, and a page to sort them on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

from dds.statistics.accuracy import certified_accuracy
from paper.quantities import decimal

#: Radii of the literature's tables, in [0,1] pixel units.
RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)

_HEADS = {
    "method": "Method",
    "dataset": "Dataset",
    "sigma": "σ",
    "images": "Images",
    "n": "n",
    "alpha": "α",
}
_FORMS = {"sigma": decimal, "images": "{:,}".format, "n": "{:,}".format, "alpha": "{:g}".format}
_NOTE = (
    "Certified accuracy in percent of the images, with its exact 95% interval over images; at "
    "ε = 0 it is clean accuracy, with abstentions as errors. ε and σ are l2 radii and noise levels "
    "in [0,1] pixel units. What is not known is empty. Radii in logs are rounded, to three digits "
    "as a rule, so that one just below ε may count. Click on a head to sort."
)


@dataclass(frozen=True)
class Standing:
    """One classifier at one noise level, and what is known of how it was certified.

    Attributes
    ----------
    certificates : DataFrame
        One row an image, as `dds.logs.read_log` returns them.
    file : str
        Where they were read.
    method, dataset, source : str
        Empty where nobody says.
    n : int, optional
        How many samples were drawn of an image at most.
    alpha : float, optional
        Error probability of each certificate.
    """

    certificates: pd.DataFrame
    file: str
    method: str = ""
    dataset: str = ""
    source: str = ""
    n: int | None = None
    alpha: float | None = None


def leaderboard(
    standings: Iterable[Standing], radii: Sequence[float] | None = None
) -> pd.DataFrame:
    """Return certified accuracies, one row a standing and radius.

    Parameters
    ----------
    standings : iterable of Standing
        At least one.
    radii : sequence of float, optional
        In [0,1] pixel units, at least 0; by default those of the literature's tables, up to the
        largest that is certified on any image.

    Returns
    -------
    DataFrame
        ``row`` (the place of a standing, by dataset, method and noise level), ``method``,
        ``dataset``, ``sigma``, ``images``, ``n``, ``alpha``, ``radius``, ``certified`` (images),
        ``accuracy_percent`` with ``ci_low_percent`` and ``ci_high_percent`` (exact binomial,
        95%, over images), ``source`` and ``file``. Accuracies are missing where a sampling plan
        left a radius undecided.

    Raises
    ------
    ValueError
        If there is no standing, or a radius is negative or not a number.
    """
    standings = sorted(standings, key=_place)
    if not standings:
        raise ValueError("there is nothing to put on a leaderboard")
    if radii is None:
        frames = [standing.certificates for standing in standings]
        right = [rows.loc[rows["correct"], "radius"].max() for rows in frames]
        radii = [radius for radius in RADII if radius <= max(np.nanmax([0.0, *right]), 0.0)]
    radii = np.unique(radii)
    parts = [_part(standing, radii).assign(row=row) for row, standing in enumerate(standings)]
    table = pd.concat(parts, ignore_index=True)
    return table[["row", *table.columns.drop("row")]]


def _place(standing: Standing) -> tuple[str, str, float, str]:
    sigma = standing.certificates["sigma"].iloc[0]
    return standing.dataset, standing.method, 0.0 if pd.isna(sigma) else sigma, standing.file


def _part(standing: Standing, radii: Sequence[float]) -> pd.DataFrame:
    accuracy = certified_accuracy(standing.certificates, radii)
    percent = {"accuracy_percent": "accuracy", "ci_low_percent": "low", "ci_high_percent": "high"}
    return pd.DataFrame(
        {
            "method": standing.method,
            "dataset": standing.dataset,
            "sigma": accuracy["sigma"],
            "images": accuracy["images"],
            "n": pd.array([standing.n] * len(accuracy), dtype="Int64"),
            "alpha": np.nan if standing.alpha is None else standing.alpha,
            "radius": accuracy["radius"],
            "certified": accuracy["certified"],
            **{name: 100 * accuracy[column] for name, column in percent.items()},
            "source": standing.source,
            "file": standing.file,
        }
    )


def leaderboard_page(table: pd.DataFrame) -> str:
    """Return a leaderboard as an HTML page that needs no other file and no network.

    Parameters
    ----------
    table : DataFrame
        From `leaderboard`.
    """
    radii = sorted(table["radius"].unique())
    heads = [*_HEADS.values(), *(f"ε = {decimal(radius)}" for radius in radii), "Source", "File"]
    lines = [_line(rows) for _, rows in table.groupby("row")]
    return _PAGE.format(
        note=escape(_NOTE),
        heads="".join(f'<th scope="col"><button>{escape(head)}</button></th>' for head in heads),
        rows="\n".join(lines),
    )


def _line(rows: pd.DataFrame) -> str:
    """Return one standing as a row of the page."""
    first = rows.iloc[0]
    cells = [f"<td>{escape(first[name])}</td>" for name in ("method", "dataset")]
    cells += [_number(first[name], form(first[name])) for name, form in _FORMS.items()]
    for row in rows.to_dict("records"):
        interval = f"{row['ci_low_percent']:.1f} to {row['ci_high_percent']:.1f}"
        shown = f"{row['accuracy_percent']:.1f} <small>{interval}</small>"
        cells.append(_number(row["accuracy_percent"], shown))
    cells += [
        f'<td class="long">{text}</td>'
        for text in (_linked(first["source"]), escape(first["file"]))
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _number(value: float, shown: str) -> str:
    """Return a cell that is sorted by its value; empty where that is missing."""
    return '<td data-value=""></td>' if pd.isna(value) else f'<td data-value="{value}">{shown}</td>'


def _linked(source: str) -> str:
    text = escape(source)
    return f'<a href="{text}">{text}</a>' if source.startswith(("https://", "http://")) else text


# Empty cells come last whichever way a column is sorted, and rows that are equal keep their order.
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Certified accuracy</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 15px/1.5 Georgia, serif; margin: 1.5em; color: #222; }}
p {{ max-width: 50em; }}
div {{ overflow-x: auto; }}
table {{ border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; }}
th {{ border-bottom: 1px solid; text-align: right; padding: 0; }}
button {{ font: italic 1em Georgia, serif; color: inherit; border: 0; background: none;
  padding: .2em .9em; cursor: pointer; width: 100%; text-align: inherit; white-space: nowrap; }}
th[aria-sort] button {{ font-weight: bold; }}
th[aria-sort=ascending] button::after {{ content: " ▲"; }}
th[aria-sort=descending] button::after {{ content: " ▼"; }}
td {{ padding: .2em .9em; text-align: right; white-space: nowrap; vertical-align: top; }}
td:nth-child(-n+2), th:nth-child(-n+2), td.long, th:nth-last-child(-n+2) {{ text-align: left; }}
td.long {{ white-space: normal; overflow-wrap: anywhere; min-width: 14em; font-size: .85em; }}
tbody tr:nth-child(even) {{ background: #f6f6f3; }}
small {{ color: #666; display: block; line-height: 1.2; }}
</style></head>
<body><h1>Certified accuracy</h1>
<p>{note}</p>
<div><table><thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody></table></div>
<script>
const heads = [...document.querySelectorAll("th")];
const body = document.querySelector("tbody");
const value = (row, at) => row.cells[at].dataset.value ?? row.cells[at].innerText.toLowerCase();
heads.forEach((head, at) => head.firstChild.addEventListener("click", () => {{
  const numbers = body.rows[0].cells[at].dataset.value !== undefined;
  const first = numbers ? "descending" : "ascending";
  const other = numbers ? "ascending" : "descending";
  const order = head.getAttribute("aria-sort") === first ? other : first;
  const sign = order === "ascending" ? 1 : -1;
  const compare = (one, two) => {{
    const [a, b] = [value(one, at), value(two, at)];
    if (a === "" || b === "") return (a === "") - (b === "");
    return sign * (numbers ? a - b : a.localeCompare(b));
  }};
  body.append(...[...body.rows].sort(compare));
  heads.forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", order);
}}));
</script>
</body></html>
"""
