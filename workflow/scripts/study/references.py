"""The bibliography, workflow/report/references.yaml: what tables cite and the paper lists."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

#: In Hayagriva's format, which Typst reads.
REFERENCES = Path(__file__).parents[2] / "report" / "references.yaml"


@cache
def read_references(path: str | Path = REFERENCES) -> dict[str, dict[str, Any]]:
    """Read the bibliography.

    Parameters
    ----------
    path : str or Path, optional
        A YAML file in Hayagriva's format.

    Returns
    -------
    dict
        Its entries by the keys that they are cited by.
    """
    return yaml.safe_load(Path(path).read_text("utf-8"))
