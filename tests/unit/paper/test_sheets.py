"""Every form of a table shows what people wrote, whatever characters it has."""

import re

import pytest
from bs4 import BeautifulSoup
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib._mathtext_data import tex2uni

from paper.references import as_bibtex, as_text
from paper.sheets import Cell, Sheet, to_html, to_json, to_latex, to_markdown, to_text

NASTY = (
    r"a|b \| c\d $x_1$ {y}^2 #hash ~ 50% & co <b>bold</b> *em* _em_ ~~no~~ &amp; <https://a.b> "
    r"`tick` [link](u) ## --- '' \textbf{}"
)
#: Everything that a markup or a device could take for more than a character.
TEXTS = st.text(
    st.one_of(st.sampled_from("\\`*_{}[]()<>#~|$&^%\"'-+=!.,:;@/0123456789 ab\n\r\t\x0b\u2028"),
              st.characters(codec="utf-8")),
    min_size=1, max_size=30,
)  # fmt: skip


def sheet(label, *, title="", head="Noise", bold=False):
    return Sheet(title, [head, "ε = 0.5"], [[Cell(label, bold=bold), Cell("1.0")]])


def said(text):
    """Return what is left of text in one line, blanks apart."""
    lines = re.sub(r"\s", " ", text)
    printable = "".join(c for c in lines if c.isprintable())
    return "".join(printable.split())


def in_markdown(written):
    """Return the cells of the first table of a page of Markdown, and its paragraphs, as read."""
    page = BeautifulSoup(
        MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(written), "html.parser"
    )
    cells = [cell.get_text() for cell in page.find("table").find_all(["th", "td"])]
    return cells, [part.get_text() for part in page.find_all("p")]


@given(TEXTS, TEXTS)
@example(NASTY, NASTY)
def test_markdown_is_read_as_it_was_meant(label, caption):
    cells, (above, *_) = in_markdown(to_markdown([sheet(label, head=caption)], f"X {caption}"))
    assert len(cells) == 4
    assert [said(cells[0]), said(cells[2])] == [said(caption), said(label)]
    assert said(above) == said(f"X {caption}")


@pytest.mark.parametrize(
    "caption", ["1. a", "2) a", "- a", "+ a", "# a", "> a", "=", "    a", "---"]
)
def test_a_caption_is_a_paragraph_of_markdown(caption):
    _, (above, *_) = in_markdown(to_markdown([sheet("a")], caption))
    assert above.strip() == caption.strip()


#: LaTeX of ours, by what it prints.
COMMANDS = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^",
    r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|", r"\texttt{\char34}": '"',
    r"\Circle{}": "○", r"\LEFTcircle{}": "◐", r"\CIRCLE{}": "●", "$-$": "−", "$^-$": "⁻",
    "{[}": "[", "{]}": "]", "{}": "", "--": "–", "~": "\u00a0",
} | {rf"\{sign}": sign for sign in "&%_#${}"}  # fmt: skip
COMMANDS |= {rf"$\{name}$": chr(code) for name, code in tex2uni.items() if name.isalpha()}
COMMANDS |= {r"$\ast$": "*", r"$\epsilon$": "ϵ", r"$\surd$": "√"}
COMMANDS |= {f"$_{digit}$": sign for digit, sign in enumerate("₀₁₂₃₄₅₆₇₈₉")}
COMMANDS |= {f"$^{digit}$": sign for digit, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
TOKEN = re.compile(
    "|".join(map(re.escape, sorted(COMMANDS, key=len, reverse=True))) + r"|[^\\{}$&%#_~^|<>*\[\]]"
)


def in_latex(written):
    """Return what LaTeX prints of a text of ours; None where something in it is a command."""
    found, at = [], 0
    while at < len(written):
        token = TOKEN.match(written, at)
        if token is None:
            return None
        found.append(COMMANDS.get(token[0], token[0]))
        at = token.end()
    return "".join(found)


@given(TEXTS, TEXTS)
@example(NASTY, NASTY)
def test_latex_is_read_as_it_was_meant(label, caption):
    lines = to_latex([sheet(label, head=caption)], caption, label="tab:x").splitlines()
    (above,) = [line for line in lines if line.startswith(r"\caption")]
    assert above.endswith(r"}\label{tab:x}")
    head, row = (line for line in lines if line.endswith(r" \\"))
    texts = (
        above[len(r"\caption{") : -len(r"}\label{tab:x}")],
        head.split(" & ")[0],
        row.split(" & ")[0],
    )
    assert [said(in_latex(text)) for text in texts] == [said(caption), said(caption), said(label)]


#: Every sign that needs no font but those of LaTeX and of the packages that the header names.
SIGNS = (
    "αβγδεζηθικλμνξπρςστυφχψω ΓΔΘΛΞΠΣΦΨΩ ϵϕℓ∂∇∞∅ ±×⋅∘√∑∏∫− ≥≤≠≈≡∼∝≪≫∈∥‖ ←→↑↓↔⇐⇒⇔↦ †‡✓*★○◐● "
    '₀₁₂₃₄₅₆₇₈₉ ⁰¹²³⁴⁵⁶⁷⁸⁹⁻ "quoted" –'
)


def test_common_signs_are_commands_of_latex():
    first, second, *_, row, _, _, _ = to_latex([sheet(SIGNS)], "x").splitlines()
    assert row.isascii()
    assert said(in_latex(row.split(" & ")[0])) == said(SIGNS)
    assert first == r"% Needs \usepackage{amssymb,booktabs,wasysym}."
    assert second == r"\begin{table}"


def test_latex_names_the_characters_that_it_leaves_to_the_fonts():
    references = {"a": {"title": "Ł", "author": ["X, Y."], "date": 2019, "type": "misc"}}
    latex = to_latex([sheet("漢é → 漢")], "é", references=references)
    _, second, third, *_ = latex.splitlines()
    assert second == "% Beside these, it has characters that a font must have: é 漢"
    assert third == r"\begin{table}"


@given(TEXTS)
@example(NASTY)
def test_html_and_text_are_read_as_they_were_meant(label):
    page = BeautifulSoup(to_html([sheet(label, title=label)], label), "html.parser")
    assert said(page.find("td").get_text()) == said(page.h2.get_text()) == said(label)
    assert len(to_text([sheet(label)], "x").splitlines()) == 5


def test_rows_stay_rows_whatever_they_say():
    written = {write: write([sheet(NASTY, bold=True)], NASTY) for write in (to_markdown, to_latex)}
    assert sum(line.startswith("|") for line in written[to_markdown].splitlines()) == 3
    assert r"\$x\_1\$" in written[to_markdown]  # no formula, where a page shows formulas
    assert written[to_latex].count(r" \\" + "\n") == 2
    assert to_json([sheet("a\n b")], "c\td")["sheets"][0]["rows"][0][0]["text"] == "a b"


def test_intervals_stand_behind_their_numbers_in_every_form():
    (cell,) = row = [Cell("60.0", mark="†", interval="[26.2, 87.8]")]
    table = [Sheet("", ["Accuracy"], [row])]
    assert "60.0† <sub>[26.2, 87.8]</sub>" in to_markdown(table, "x")
    assert "60.0† [26.2, 87.8]" in to_text(table, "x")
    assert r"{\scriptsize {[}26.2, 87.8{]}}" in to_latex(table, "x")
    assert "60.0† <small>[26.2, 87.8]</small>" in to_html(table, "x")
    assert to_json(table, "x")["sheets"][0]["rows"][0][0]["interval"] == cell.interval


REFERENCE = {
    "title": "Is this robust?",
    "author": ["Doe, Jane", "Roe, R."],
    "date": 2019,
    "page-range": "1-9",
    "parent": {"type": "proceedings", "title": "A Conference"},
}


def test_cited_methods_are_numbered_and_listed():
    rows = [[Cell("B", cite="b"), Cell("1")], [Cell("A", cite="a"), Cell("2")]]
    table = [Sheet("", ["Method", "x"], [*rows, rows[0]])]
    references = {"a": REFERENCE, "b": REFERENCE | {"title": "B"}}
    for write in (to_markdown, to_html):
        written = write(table, "x", references=references)
        assert re.findall(r"([AB]) \[(\d)\]", written)[:3] == [("B", "1"), ("A", "2"), ("B", "1")]
        assert "[2] Jane Doe and R. Roe. Is this robust? A Conference, 2019." in written
    latex = to_latex(table, "x", references=references)
    assert r"A~\cite{a} & 2 \\" in latex
    assert "% @inproceedings{a,\n%   title = {{Is this robust?}},\n" in latex


def test_references_are_written_whole():
    journal = REFERENCE | {"parent": {"type": "periodical", "title": "A Journal"}}
    assert as_text(journal | {"author": ["Student"]}) == "Student. Is this robust? A Journal, 2019."
    assert "  journal = {A Journal}," in as_bibtex("k", journal)
    assert "  pages = {1--9}," in as_bibtex("k", journal)
