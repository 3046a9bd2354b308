"""Entries of the bibliography, workflow/report/references.yaml, as tables write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_text(entry: Mapping[str, Any]) -> str:
    """Return an entry of the bibliography as a line.

    Examples
    --------
    >>> entry = {
    ...     "title": "The probable error of a mean",
    ...     "author": ["Student"],
    ...     "date": 1908,
    ...     "parent": {"type": "periodical", "title": "Biometrika"},
    ... }
    >>> as_text(entry)
    'Student. The probable error of a mean. Biometrika, 1908.'
    """
    names = [_given_first(name) for name in entry["author"]]
    several = ", ".join(names[:-1]) + " and " + names[-1] if names[1:] else names[0]
    end = " " if entry["title"].endswith(("!", "?")) else ". "
    return f"{several}. {entry['title']}{end}{entry['parent']['title']}, {entry['date']}."


def as_bibtex(key: str, entry: Mapping[str, Any]) -> str:
    """Return an entry of the bibliography in BibTeX's format, one field a line."""
    journal = entry["parent"]["type"] == "periodical"
    fields = {
        "title": f"{{{entry['title']}}}",
        "author": " and ".join(entry["author"]),
        "journal" if journal else "booktitle": entry["parent"]["title"],
        "pages": str(entry.get("page-range", "")).replace("-", "--"),
        "year": str(entry["date"]),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{'article' if journal else 'inproceedings'}{{{key},", *lines, "}"])


def _given_first(name: str) -> str:
    """Return ``Kolter, J. Zico`` as ``J. Zico Kolter``."""
    last, _, given = name.partition(", ")
    return f"{given} {last}".strip()
