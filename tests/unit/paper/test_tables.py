"""What holds of tables of every kind, and of a kind of the user's own."""

import subprocess
import sys
from pathlib import Path

import pytest
from paper_samples import BEST, CERTIFICATES, COMPARISON, PER_SIGMA, PLANS, PUBLISHED, table
from pydantic import ValidationError

from dds.keys import Keys
from paper.figures import FIGURES
from paper.sheets import WRITERS, to_json, to_text
from paper.tables import TABLES, build_table, lay_out, read_table

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts"


@pytest.mark.parametrize(
    "keys", [PER_SIGMA, BEST, COMPARISON, PLANS], ids=lambda keys: keys["kind"]
)
def test_a_table_survives_the_disk_and_every_format(keys, tmp_path):
    entry = table(keys)
    numbers = build_table(entry, CERTIFICATES, PUBLISHED)
    numbers.to_csv(tmp_path / "t.csv", index=False)
    sheets = lay_out(entry, numbers)
    assert lay_out(entry.kind, read_table(tmp_path / "t.csv")) == sheets
    cells = [cell.text for sheet in sheets for row in sheet.rows for cell in row[3:]]
    for write in [*WRITERS.values(), to_text]:
        written = write(sheets, entry.caption).replace(r"\%", "%")
        assert "Some caption." in written
        written = written.replace("−", "").replace("$-$", "").replace(r"$\pm$", "±")
        for text in cells:
            assert text.replace("−", "") in written
    assert to_json(sheets, entry.caption)["sheets"][0]["rows"][0][0]["text"]


def test_latex_and_html_escape_what_they_must():
    panels = [PER_SIGMA["panels"][0] | {"title": title} for title in ("A_b & <c> 5%", "other")]
    entry = table(PER_SIGMA, panels=panels)
    sheets = lay_out(entry, build_table(entry, CERTIFICATES))
    assert r"A\_b \& <c> 5\%" in WRITERS["tex"](sheets, "x")
    assert "A_b &amp; &lt;c&gt; 5%" in WRITERS["html"](sheets, "x")


OWN_KIND = '''
"""How many images each experiment has."""

from __future__ import annotations

from dds.keys import Names, key
from paper.parts import Captioned
from paper.sheets import Cell, Sheet


class Keys(Captioned):
    """Images by experiment."""

    experiments: Names = key("Which to count.")


def build(entry, certificates, published, records):
    import pandas as pd

    images = [certificates[name]["image"].nunique() for name in entry.experiments]
    return pd.DataFrame({"experiment": entry.experiments, "images": images})


def lay_out(table):
    rows = [[Cell(row.experiment), Cell(str(row.images))] for row in table.itertuples()]
    return [Sheet("", ["Experiment", "Images"], rows)]
'''


def test_a_file_of_the_users_own_is_a_kind_of_table(tmp_path):
    path = tmp_path / "image_counts.py"
    path.write_text(OWN_KIND)
    keys = {"kind": str(path), "caption": "Images.", "experiments": ["e", "other"]}
    entry = table(keys)
    build_table(entry, CERTIFICATES).to_csv(tmp_path / "t.csv", index=False)
    sheets = lay_out(entry, read_table(tmp_path / "t.csv"))
    assert "| e | 4 |\n| other | 4 |" in WRITERS["md"](sheets, entry.caption)
    with pytest.raises(ValidationError, match="experiments"):
        table(keys | {"experiments": []})


def test_a_kind_that_does_not_exist_is_refused():
    with pytest.raises(
        ValueError, match=r"per_month is not allowed; allowed: best_over_sigma, com"
    ):
        table(PER_SIGMA, kind="per_month")


@pytest.mark.parametrize("kinds", [TABLES, FIGURES], ids=lambda kinds: kinds.package)
def test_every_key_of_every_kind_is_described(kinds):
    for kind in kinds.names:
        keys = kinds[kind].Keys
        assert issubclass(keys, Keys)
        assert keys.__doc__
        assert "kind" not in keys.model_fields
        assert all(field.description for field in keys.model_fields.values())


HEAVY = ("numpy", "pandas", "scipy", "matplotlib", "seaborn", "torch", "pyarrow", "PIL")


@pytest.mark.parametrize("kinds", [TABLES, FIGURES], ids=lambda kinds: kinds.package)
def test_keys_are_read_without_what_is_heavy(kinds):
    modules = [kinds.package, *(f"{kinds.package}.{name}" for name in kinds.names)]
    code = f"import sys, {', '.join(modules)}; print(*sorted({set(HEAVY)} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == []
