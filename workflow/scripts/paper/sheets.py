"""Tables as people read them, written as plain text, Markdown, LaTeX and HTML.

What people wrote (labels, titles, captions) may hold any character: every form shows it as
it is, in one line; that of LaTeX as far as the fonts of its document have it, see `to_latex`.
"""

from __future__ import annotations

import html
import itertools
import re
import textwrap
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from paper.references import as_bibtex, as_text

#: Hayagriva entries by key, see `paper.references`.
References = Mapping[str, Mapping[str, Any]]

#: Width of the notes below a table in a terminal.
_TEXT_WIDTH = 88


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
        Whether it is among the best of its column.
    interval : str
        A confidence interval, set behind the mark in small type.
    cite : str
        The key of a reference, cited behind all that.
    value : float, optional
        The number it shows, where it competes with others of its column.
    """

    text: str
    raised: str = ""
    mark: str = ""
    bold: bool = False
    interval: str = ""
    cite: str = ""
    value: float | None = None


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
        What the numbers are, and what the signs in the cells mean.
    bold : str
        A last note, where there is bold type: what it means.
    """

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    bold: str = ""


def to_markdown(
    sheets: Sequence[Sheet], caption: str, *, label: str = "", references: References | None = None
) -> str:
    """Write sheets as Markdown tables.

    Parameters
    ----------
    sheets : sequence of Sheet
        The panels of the table, in order.
    caption : str
        Stands above them.
    label : str, optional
        Name of an anchor, for links.
    references : mapping, optional
        The references that cells cite; they are numbered and listed at the end.

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
    numbers = _numbered(sheets)

    def cell(cell: Cell) -> str:
        text = _markdown(cell.text)
        text = f"**{text}**" if cell.bold else text
        raised = f"<sup>({_markdown(cell.raised)})</sup> " if cell.raised else ""
        interval = f" <sub>{cell.interval}</sub>" if cell.interval else ""
        cited = f" [{numbers[cell.cite]}]" if cell.cite else ""
        return f"{raised}{text}{_markdown(cell.mark)}{interval}{cited}"

    parts = [f'<a id="{html.escape(label)}"></a>'] * bool(label) + [_paragraph(caption)]
    for sheet in sheets:
        rows = [[cell(c) for c in row] for row in sheet.rows]
        heads = [_markdown(column) for column in sheet.columns]
        lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts += [f"**{_markdown(sheet.title)}**"] * bool(sheet.title) + [table]
    parts += map(_paragraph, _all_notes(sheets))
    parts += [f"[{number}] {_markdown(text)}" for number, text in _listed(numbers, references)]
    return "\n\n".join(parts) + "\n"


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
        With the notes of all sheets below, each once; references and bold type are left out.

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
        raised = f"({cell.raised}) " if cell.raised else ""
        interval = f" {cell.interval}" if cell.interval else ""
        return _one_line(f"{raised}{cell.text}{cell.mark}{interval}")

    parts = [_filled(caption)]
    for sheet in sheets:
        heads = [_one_line(column) for column in sheet.columns]
        rows = [heads, *([cell(c) for c in row] for row in sheet.rows)]
        widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(_padded, row, widths, itertools.count())).rstrip() for row in rows]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        parts += [_one_line(sheet.title)] * bool(sheet.title)
        parts.append("\n".join([lines[0], rule, *lines[1:]]))
    return "\n\n".join([*parts, *map(_filled, _each_once(sheets, "notes"))]) + "\n"


def to_latex(
    sheets: Sequence[Sheet], caption: str, *, label: str = "", references: References | None = None
) -> str:
    r"""Write sheets as one LaTeX table environment.

    Parameters
    ----------
    sheets : sequence of Sheet
        The panels of the table, in order.
    caption : str
        Stands above them; the notes stand below.
    label : str, optional
        For ``\ref``.
    references : mapping, optional
        The references that cells ``\cite``; in BibTeX's format as comments at the end.

    Returns
    -------
    str
        For a document with the packages amssymb, booktabs and wasysym. ASCII and common signs
        (Greek, arrows, relations, raised and lowered digits) need no more. Other characters stand
        as they are, and a comment at the top names them: LaTeX knows most accented letters, and
        for others fonts that have them must be chosen.

    Examples
    --------
    >>> row = [Cell("σ = 0.25"), Cell("76.0", raised="81.5", bold=True)]
    >>> sheet = Sheet("", ["Noise", "ε = 0.5"], [row])
    >>> lines = to_latex([sheet], "Accuracy.", label="tab:a").splitlines()
    >>> print(lines[3], lines[6], lines[8], sep="\n")
    \caption{Accuracy.}\label{tab:a}
    Noise & $\varepsilon$ = 0.5 \\
    $\sigma$ = 0.25 & \textsuperscript{(81.5)}\textbf{76.0} \\
    """

    def cell(cell: Cell) -> str:
        text = _latex(cell.text)
        text = rf"\textbf{{{text}}}" if cell.bold else text
        raised = rf"\textsuperscript{{({_latex(cell.raised)})}}" if cell.raised else ""
        mark = rf"\textsuperscript{{{_latex(cell.mark)}}}" if cell.mark else ""
        interval = rf" {{\scriptsize {_latex(cell.interval)}}}" if cell.interval else ""
        cited = rf"~\cite{{{cell.cite}}}" if cell.cite else ""
        return f"{raised}{text}{mark}{interval}{cited}"

    named = rf"\label{{{label}}}" if label else ""
    lines = [
        r"% Needs \usepackage{amssymb,booktabs,wasysym}.",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(caption)}}}{named}",
    ]
    for sheet in sheets:
        lines += [rf"\emph{{{_latex(sheet.title)}}}\\[2pt]"] * bool(sheet.title)
        lines += [rf"\begin{{tabular}}{{l{'r' * (len(sheet.columns) - 1)}}}", r"\toprule"]
        lines += [" & ".join(map(_latex, sheet.columns)) + r" \\", r"\midrule"]
        lines += [" & ".join(map(cell, row)) + r" \\" for row in sheet.rows]
        lines += [r"\bottomrule", r"\end{tabular}\\[6pt]"]
    notes = " ".join(map(_latex, _all_notes(sheets)))
    lines += [rf"\parbox{{\linewidth}}{{\footnotesize {notes}}}"] * bool(notes)
    lines += [r"\end{table}"]
    if others := sorted({sign for sign in "".join(lines) if not sign.isascii()}):
        lines.insert(
            1, f"% Beside these, it has characters that a font must have: {' '.join(others)}"
        )
    for key in _numbered(sheets):
        if references and key in references:
            lines += ["%", *(f"% {line}" for line in as_bibtex(key, references[key]).splitlines())]
    return "\n".join(lines) + "\n"


def to_html(
    sheets: Sequence[Sheet], caption: str, *, label: str = "", references: References | None = None
) -> str:
    """Write sheets as an HTML page that needs no other file.

    Parameters
    ----------
    sheets : sequence of Sheet
        The panels of the table, in order.
    caption : str
        Stands above them.
    label : str, optional
        The page's anchor, for links.
    references : mapping, optional
        The references that cells cite; they are numbered and listed at the end.

    Returns
    -------
    str
        A whole document.
    """
    numbers = _numbered(sheets)

    def cell(cell: Cell) -> str:
        text = _html(cell.text)
        text = f"<b>{text}</b>" if cell.bold else text
        raised = f"<sup>({_html(cell.raised)})</sup> " if cell.raised else ""
        interval = f" <small>{_html(cell.interval)}</small>" if cell.interval else ""
        cited = f" [{numbers[cell.cite]}]" if cell.cite else ""
        return f"<td>{raised}{text}{_html(cell.mark)}{interval}{cited}</td>"

    parts = []
    for sheet in sheets:
        head = "".join(f"<th>{_html(column)}</th>" for column in sheet.columns)
        body = "".join(f"<tr>{''.join(map(cell, row))}</tr>\n" for row in sheet.rows)
        parts += [f"<h2>{_html(sheet.title)}</h2>"] * bool(sheet.title)
        parts.append(f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table>")
    below = [_html(note) for note in _all_notes(sheets)]
    below += [f"[{number}] {_html(text)}" for number, text in _listed(numbers, references)]
    notes = "".join(f"<p>{text}</p>" for text in below)
    body = "\n".join(parts) + notes
    return _PAGE.format(caption=_html(caption), label=_html(label or "table"), body=body)


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
        each once. Values are those that JSON can hold; text is in one line.
    """
    return _in_one_line(
        {
            "caption": caption,
            "sheets": [asdict(sheet) for sheet in sheets],
            "notes": _all_notes(sheets),
        }
    )


#: How a table is written, by the ending of its file's name.
WRITERS: dict[str, Callable[..., str]] = {
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
sup, small {{ color: #666; }}
p {{ max-width: 45em; }}
</style></head>
<body id="{label}"><p>{caption}</p>
{body}
</body></html>
"""


def _named(signs: str, names: str) -> dict[str, str]:
    return {sign: rf"\{name}" for sign, name in zip(signs, names.split(), strict=True)}


#: Signs that are written in formulas, and their commands there.
_MATH = {
    **_named(
        "αβγδεζηθικλμνξπρςστυφχψω",
        "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi pi rho "
        "varsigma sigma tau upsilon varphi chi psi omega",
    ),
    **_named("ΓΔΘΛΞΠΣΦΨΩ", "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"),
    **_named("ϵϕℓ∂∇∞∅", "epsilon phi ell partial nabla infty emptyset"),
    **_named("±×⋅∘√∑∏∫", "pm times cdot circ surd sum prod int"),
    **_named("≥≤≠≈≡∼∝≪≫∈∥‖", "geq leq neq approx equiv sim propto ll gg in parallel Vert"),
    **_named(
        "←→↑↓↔⇐⇒⇔↦",
        "leftarrow rightarrow uparrow downarrow leftrightarrow Leftarrow Rightarrow "
        "Leftrightarrow mapsto",
    ),
    **_named("†‡✓*★", "dagger ddagger checkmark ast bigstar"),
    **{sign: f"_{digit}" for digit, sign in enumerate("₀₁₂₃₄₅₆₇₈₉")},
    **{sign: f"^{digit}" for digit, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    "⁻": "^-",
    "−": "-",
}
_LATEX = {
    **{sign: f"${name}$" for sign, name in _MATH.items()},
    **{sign: rf"\{sign}" for sign in "&%_#${}"},
    # At the start of a row a bracket would be read as an argument of the command before it.
    **{sign: f"{{{sign}}}" for sign in "[]"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # The usual fonts have it among those of typewriters alone, and babel may take it for a command.
    '"': r"\texttt{\char34}",
    "○": r"\Circle{}",
    "◐": r"\LEFTcircle{}",
    "●": r"\CIRCLE{}",
    "–": "--",
    "\u00a0": "~",
}


#: Between two of these stands nothing, so that TeX makes no dash, quote or other sign of them.
_LIGATURES = re.compile(r"(?<=[-'`,?!])(?=[-'`,])")


def _latex(text: str) -> str:
    parts = _LIGATURES.split(_one_line(text))
    return "{}".join("".join(_LATEX.get(sign, sign) for sign in part) for part in parts)


def _html(text: str) -> str:
    return html.escape(_one_line(text))


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#~|$&^])", r"\\\1", _one_line(text))


def _paragraph(text: str) -> str:
    """Return text as a paragraph of Markdown, whatever it begins with: no list, no rule."""
    text = re.sub(r"^(\d+)([.)])", r"\1\\\2", _markdown(text).strip())
    return re.sub(r"^([-+=])", r"\\\1", text)


def _one_line(text: str) -> str:
    """Return text without line breaks, tabs or other characters that control a device."""
    text = re.sub(r"\s*[\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", text)
    return "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))


def _in_one_line(value: Any) -> Any:
    if isinstance(value, str):
        return _one_line(value)
    if isinstance(value, dict):
        return {key: _in_one_line(part) for key, part in value.items()}
    return [_in_one_line(part) for part in value] if isinstance(value, list | tuple) else value


def _padded(text: str, width: int, position: int) -> str:
    """Return a cell as wide as its column: the first one on the left, others on the right."""
    blanks = " " * (width - _width(text))
    return blanks + text if position else text + blanks


def _width(text: str) -> int:
    """Return how many columns of a terminal text takes: East Asian characters take two."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    marks = sum(unicodedata.combining(character) > 0 for character in text)
    return len(text) + wide - marks


def _filled(text: str) -> str:
    """Return text as lines for a terminal; ``n = 100`` stays together."""
    kept = re.sub(r" ([=≤]) ", "\u00a0\\1\u00a0", _one_line(text))
    return textwrap.fill(kept, _TEXT_WIDTH, break_long_words=False).replace("\u00a0", " ")


def _all_notes(sheets: Sequence[Sheet]) -> list[str]:
    """Return the notes of all sheets, each once, for a form with bold type."""
    return _each_once(sheets, "notes") + _each_once(sheets, "bold")


def _each_once(sheets: Sequence[Sheet], name: str) -> list[str]:
    values = (getattr(sheet, name) for sheet in sheets)
    texts = (text for value in values for text in ([value] if isinstance(value, str) else value))
    return [text for text in dict.fromkeys(texts) if text]


def _numbered(sheets: Sequence[Sheet]) -> dict[str, int]:
    """Return the numbers of the references that cells cite, in the order they come in."""
    cells = (cell for sheet in sheets for row in sheet.rows for cell in row)
    keys = dict.fromkeys(cell.cite for cell in cells if cell.cite)
    return {key: number for number, key in enumerate(keys, start=1)}


def _listed(numbers: Mapping[str, int], references: References | None) -> list[tuple[int, str]]:
    """Return each reference's number and text; its key where nothing else is known of it."""
    known = references or {}
    return [(n, as_text(known[key]) if key in known else key) for key, n in numbers.items()]
