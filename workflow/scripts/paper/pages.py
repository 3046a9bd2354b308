"""What the HTML report shows beside tables and figures: checks, and where results come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paper.checks import Check

Rows = Iterable[Sequence[str]]


def checks_page(checks: Sequence[Check]) -> str:
    """Return what was asserted of the results, and what came out, as an HTML page.

    Parameters
    ----------
    checks : sequence of Check
        In the order in which they are to be read.
    """
    passed = sum(check.passed for check in checks)
    rows = [(check.name, "✓" if check.passed else "failed", check.detail) for check in checks]
    table = _table("", ("statement", "holds", "numbers"), rows)
    return _page("Checks", f"{passed} of {len(checks)} checks passed.", [table])


def provenance_page(data: Mapping[str, Any], artefacts: Mapping[str, Sequence[str]]) -> str:
    """Return what was run, where, with what, and what shows it, as an HTML page.

    Parameters
    ----------
    data : mapping
        What the study's paper shows, from `paper.document.document`.
    artefacts : mapping of str to sequence of str
        By table and figure, the experiments behind it.
    """
    heads, *experiments = data["experiments"]
    shown = [(name, ", ".join(names)) for name, names in artefacts.items()]
    facts = [row[:2] for row in data["provenance"]]
    tables = [
        _table("Experiments", heads, experiments),
        _table("Tables and figures", ("name", "experiments behind it"), shown),
        _table("Code, machines, samples, weights", ("of", "what"), facts),
    ]
    lead = "The same for each table and figure, with full hashes, is in NAME.json beside it."
    return _page("Provenance", lead, tables)


def _page(title: str, lead: str, tables: Sequence[str]) -> str:
    """Return a whole HTML page that needs no other file."""
    return _PAGE.format(title=escape(title), lead=escape(lead), tables="\n".join(tables))


def _table(title: str, heads: Sequence[str], rows: Rows) -> str:
    def row(tag: str, cells: Sequence[str]) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(str(cell))}</{tag}>' for cell in cells)}</tr>"

    heading = f"<h2>{escape(title)}</h2>\n" if title else ""
    body = "\n".join(row("td", cells) for cells in rows)
    return f"{heading}<table><thead>{row('th', heads)}</thead>\n<tbody>\n{body}\n</tbody></table>"


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 Georgia, serif; margin: 1.5em; color: #222; }}
h2 {{ font-size: 1em; margin: 1.4em 0 .3em; }}
table {{ border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; }}
th {{ border-bottom: 1px solid; font-weight: normal; font-style: italic; }}
th, td {{ padding: .2em .9em .2em 0; text-align: left; vertical-align: top; }}
td {{ overflow-wrap: break-word; }}
td:first-child {{ min-width: 10em; }}
</style></head>
<body><p>{lead}</p>
{tables}
</body></html>
"""
