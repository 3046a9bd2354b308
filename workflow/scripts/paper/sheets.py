"""Tables as people read them, written as plain text, Markdown, LaTeX and HTML."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes
    ----------
    text : str
        What it says.
    raised : str
        What stands before it in small raised type: the clean accuracy, in parentheses.
    mark : str
        The sign of a note, set behind the text.
    bold : bool
        Whether it is the best of its column.
    """

    text: str
    raised: str = ""
    mark: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Sheet:
    """One table, or one panel of a table.

    Attributes
    ----------
    title : str
        Of the panel; empty for a table of one panel.
    columns : list of str
        Column heads. The first column names the rows.
    rows : list of list of Cell
        As wide as `columns`.
    notes : list of str
        What the signs in the cells mean.
    """

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)


def to_markdown(sheets: Sequence[Sheet], caption: str) -> str:
    """Write sheets as Markdown tables.

    Parameters
    ----------
    sheets : sequence of Sheet
        The panels of the table, in order.
    caption : str
        Stands above them.

    Returns
    -------
    str
        With the notes of all sheets below, each once.

    Examples
    --------
    >>> row = [Cell("σ = 0.25"), Cell("76.0", raised="81.5", mark="†", bold=True)]
    >>> sheet = Sheet("", ["Noise", "ε = 0.5"], [row], ["† answers one class."])
    >>> print(to_markdown([sheet], "Certified accuracy."))
    Certified accuracy.
    <BLANKLINE>
    | Noise | ε = 0.5 |
    | --- | ---: |
    | σ = 0.25 | <sup>(81.5)</sup> **76.0**† |
    <BLANKLINE>
    † answers one class.
    <BLANKLINE>
    """

    def cell(cell: Cell) -> str:
        text = f"**{cell.text}**" if cell.bold else cell.text
        raised = f"<sup>({cell.raised})</sup> " if cell.raised else ""
        return f"{raised}{text}{cell.mark}"

    parts = [caption]
    for sheet in sheets:
        rows = [[cell(c) for c in row] for row in sheet.rows]
        lines = [sheet.columns, ["---"] + ["---:"] * (len(sheet.columns) - 1), *rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts += [f"**{sheet.title}**"] * bool(sheet.title) + [table]
    return "\n\n".join(parts + _all_notes(sheets)) + "\n"


def to_text(sheets: Sequence[Sheet], caption: str) -> str:
    """Write sheets as aligned plain text, for a terminal.

    Parameters
    ----------
    sheets : sequence of Sheet
        The panels of the table, in order.
    caption : str
        Stands above them.

    Returns
    -------
    str
        With the notes of all sheets below, each once.

    Examples
    --------
    >>> rows = [[Cell("σ = 0.25"), Cell("76.0")], [Cell("σ = 0.5"), Cell("8.1")]]
    >>> print(to_text([Sheet("", ["Noise", "ε = 0.5"], rows)], "Certified accuracy."))
    Certified accuracy.
    <BLANKLINE>
    Noise     ε = 0.5
    -----------------
    σ = 0.25     76.0
    σ = 0.5       8.1
    <BLANKLINE>
    """

    def cell(cell: Cell) -> str:
        return f"({cell.raised}) {cell.text}{cell.mark}" if cell.raised else cell.text + cell.mark

    parts = [caption]
    for sheet in sheets:
        rows = [sheet.columns, *([cell(c) for c in row] for row in sheet.rows)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                text.rjust(width) if position else text.ljust(width)
                for position, (text, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        rule = "-" * len(lines[0])
        parts += [sheet.title] * bool(sheet.title)
        parts.append("\n".join([lines[0], rule, *lines[1:]]))
    return "\n\n".join(parts + _all_notes(sheets)) + "\n"


def to_latex(sheets: Sequence[Sheet], caption: str) -> str:
    r"""Write sheets as one LaTeX table environment.

    Parameters
    ----------
    sheets : sequence of Sheet
        The panels of the table, in order.
    caption : str
        Stands below them, before the notes.

    Returns
    -------
    str
        For a document with the packages booktabs and wasysym.

    Examples
    --------
    >>> row = [Cell("σ = 0.25"), Cell("76.0", raised="81.5", bold=True)]
    >>> lines = to_latex([Sheet("", ["Noise", "ε = 0.5"], [row])], "Accuracy.").splitlines()
    >>> print(lines[5], lines[7], sep="\n")
    Noise & $\varepsilon$ = 0.5 \\
    $\sigma$ = 0.25 & \textsuperscript{(81.5)}\textbf{76.0} \\
    """

    def cell(cell: Cell) -> str:
        text = _latex(cell.text)
        text = rf"\textbf{{{text}}}" if cell.bold else text
        raised = rf"\textsuperscript{{({_latex(cell.raised)})}}" if cell.raised else ""
        mark = rf"\textsuperscript{{{_latex(cell.mark)}}}" if cell.mark else ""
        return f"{raised}{text}{mark}"

    lines = [r"% Needs \usepackage{booktabs,wasysym}.", r"\begin{table}", r"\centering"]
    for sheet in sheets:
        lines += [rf"\emph{{{_latex(sheet.title)}}}\\[2pt]"] * bool(sheet.title)
        lines += [rf"\begin{{tabular}}{{l{'r' * (len(sheet.columns) - 1)}}}", r"\toprule"]
        lines += [" & ".join(map(_latex, sheet.columns)) + r" \\", r"\midrule"]
        lines += [" & ".join(map(cell, row)) + r" \\" for row in sheet.rows]
        lines += [r"\bottomrule", r"\end{tabular}\\[6pt]"]
    notes = " ".join(map(_latex, _all_notes(sheets)))
    lines += [rf"\caption{{{_latex(caption)}{' ' + notes if notes else ''}}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def to_html(sheets: Sequence[Sheet], caption: str) -> str:
    """Write sheets as an HTML page that needs no other file.

    Parameters
    ----------
    sheets : sequence of Sheet
        The panels of the table, in order.
    caption : str
        Stands above them.

    Returns
    -------
    str
        A whole document.
    """

    def cell(cell: Cell) -> str:
        text = html.escape(cell.text)
        text = f"<b>{text}</b>" if cell.bold else text
        raised = f"<sup>({html.escape(cell.raised)})</sup> " if cell.raised else ""
        return f"<td>{raised}{text}{html.escape(cell.mark)}</td>"

    parts = []
    for sheet in sheets:
        head = "".join(f"<th>{html.escape(column)}</th>" for column in sheet.columns)
        body = "".join(f"<tr>{''.join(map(cell, row))}</tr>\n" for row in sheet.rows)
        parts += [f"<h2>{html.escape(sheet.title)}</h2>"] * bool(sheet.title)
        parts.append(f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>")
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in _all_notes(sheets))
    return _PAGE.format(caption=html.escape(caption), body="\n".join(parts) + notes)


def to_json(sheets: Sequence[Sheet], caption: str) -> dict[str, Any]:
    """Return sheets as plain data, for the typesetting of the paper.

    Parameters
    ----------
    sheets : sequence of Sheet
        The panels of the table, in order.
    caption : str
        Of the whole table.

    Returns
    -------
    dict
        ``caption``; ``sheets``, the fields of each `Sheet` and `Cell`; ``notes`` of all sheets,
        each once. Values are those that JSON can hold.
    """
    return {
        "caption": caption,
        "sheets": [asdict(sheet) for sheet in sheets],
        "notes": _all_notes(sheets),
    }


#: How a table is written, by the ending of its file's name.
WRITERS: dict[str, Callable[[Sequence[Sheet], str], str]] = {
    "md": to_markdown,
    "tex": to_latex,
    "html": to_html,
}

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{caption}</title>
<style>
body {{ font: 15px/1.5 Georgia, serif; margin: 1.5em; color: #222; }}
h2 {{ font-size: 1em; margin: 1.4em 0 .3em; }}
table {{ border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; }}
th {{ border-bottom: 1px solid; font-weight: normal; font-style: italic; }}
th, td {{ padding: .2em .9em; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }}
sup {{ color: #666; }}
p {{ max-width: 45em; }}
</style></head>
<body><p>{caption}</p>
{body}
</body></html>
"""

_LATEX = {
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "σ": r"$\sigma$",
    "ε": r"$\varepsilon$",
    "±": r"$\pm$",
    "−": "$-$",
    "≥": r"$\geq$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "○": r"\Circle",
    "◐": r"\LEFTcircle",
    "●": r"\CIRCLE",
    "ℓ": r"$\ell$",
    "✓": r"$\checkmark$",
    "×": r"$\times$",
    "*": r"$\ast$",
    "–": "--",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _all_notes(sheets: Sequence[Sheet]) -> list[str]:
    """Return the notes of all sheets, each once."""
    return list(dict.fromkeys(note for sheet in sheets for note in sheet.notes))
