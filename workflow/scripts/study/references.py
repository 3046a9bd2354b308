"""The bibliography, workflow/report/references.yaml: what tables cite and the paper lists."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

#: In Hayagriva's format, which Typst reads.
REFERENCES = Path(__file__).parents[2] / "report" / "references.yaml"


@cache
def read_references() -> dict[str, dict[str, Any]]:
    """Return the entries of the bibliography, by the keys that they are cited by."""
    return yaml.safe_load(REFERENCES.read_text("utf-8"))
