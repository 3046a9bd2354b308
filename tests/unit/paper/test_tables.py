"""What holds of tables of every kind, and of a kind of the user's own."""

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest
from paper_samples import (
    BEST,
    CASCADE,
    CERTIFICATES,
    COMPARISON,
    PER_SIGMA,
    PLANS,
    PUBLISHED,
    RECORDS,
    certificates,
    table,
)
from pydantic import ValidationError

from dds.keys import Keys
from paper.checks import check_table
from paper.figures import FIGURES
from paper.sheets import WRITERS, to_json, to_text
from paper.tables import TABLES, build_table, lay_out, read_table

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts"


TABLE_KINDS = [PER_SIGMA, BEST, CASCADE, COMPARISON, PLANS]


@pytest.mark.parametrize("keys", TABLE_KINDS, ids=lambda keys: keys["kind"])
def test_a_table_survives_the_disk_and_every_format(keys, tmp_path):
    entry = table(keys)
    numbers = build_table(entry, CERTIFICATES, PUBLISHED, RECORDS)
    numbers.to_csv(tmp_path / "t.csv", index=False)
    sheets = lay_out(entry, numbers)
    assert lay_out(entry.kind, read_table(tmp_path / "t.csv")) == sheets
    cells = [cell.text for sheet in sheets for row in sheet.rows for cell in row[3:]]
    for write in [*WRITERS.values(), to_text]:
        written = write(sheets, entry.caption)
        assert "Some caption." in written
        written = re.sub(r"[−\\{}]|\$-\$", "", written)
        for text in cells:
            assert text.replace("−", "") in written
    assert to_json(sheets, entry.caption)["sheets"][0]["rows"][0][0]["text"]


@pytest.mark.parametrize("keys", TABLE_KINDS, ids=lambda keys: keys["kind"])
def test_every_form_says_percent_images_samples_and_alpha(keys, tmp_path):
    entry = table(keys)
    numbers = build_table(entry, CERTIFICATES, PUBLISHED, RECORDS)
    ours = numbers.dropna(subset=["experiment"])
    facts = ours[["images", "n0", "n", "alpha"]].drop_duplicates().to_numpy().tolist()
    assert facts == [[4, 10, 100, 0.001]]
    sheets = lay_out(entry, numbers)
    for write in [*WRITERS.values(), to_text, lambda *of: json.dumps(to_json(*of))]:
        written = write(sheets, entry.caption).replace("\\u03b1", "α").replace(r"$\alpha$", "α")
        written = " ".join(written.split())
        for words in ("Certified accuracy in percent; ", "4 images, ", "α = 0.001"):
            assert words in written
        assert re.search(r"n (=|≤|\$\\leq\$|\\u2264) 100", written)
        assert "95\\% confidence intervals" in written or "95% confidence intervals" in written


def test_intervals_are_shown_where_they_are_asked_for():
    entry = table(PER_SIGMA, intervals=True)
    sheets = lay_out(entry, build_table(entry, CERTIFICATES, records=RECORDS))
    assert sheets[0].rows[0][1].interval == "[19.4, 99.4]"
    assert sheets[0].notes[0].endswith("In brackets: 95% confidence intervals over images.")
    (without, _) = lay_out("per_sigma", build_table(entry, CERTIFICATES))
    assert without.rows[0][1].interval == ""
    reach = "95% confidence intervals over images reach up to 60.2 points from the values."
    assert without.notes[0].endswith(reach)


def test_experiments_that_are_sampled_otherwise_are_told_apart():
    records = {"e": RECORDS["e"], "early": {"sampling": RECORDS["early"]["sampling"] | {"n": 200}}}
    entry = table(PLANS)
    (sheet,) = lay_out(entry, build_table(entry, CERTIFICATES, records=records))
    assert sheet.notes[0].startswith(
        "Certified accuracy in percent; e: 4 images, n₀ = 10, n = 100, α = 0.001; "
        "early: 4 images, n₀ = 10, n ≤ 200, α = 0.001. "
    )


def test_one_image_is_one_image():
    rows = CERTIFICATES["e"][CERTIFICATES["e"]["image"] == 0]
    entry = table(PER_SIGMA)
    (sheet, _) = lay_out(entry, build_table(entry, {"e": rows}))
    assert sheet.notes[0].startswith("Certified accuracy in percent; 1 image, n₀ = 10, n = 100. ")


BAD = {
    "radius nan": ({"radius": math.nan}, "image 0 by cnn at sigma 0.25 has radius nan; it must"),
    "radius infinite": ({"radius": math.inf}, "has radius inf; it must be a number of at least 0"),
    "radius negative": ({"radius": -0.1}, "has radius -0.1; it must be a number of at least 0"),
    "radius text": ({"radius": "0.3"}, "radius must be numbers"),
    "correct text": ({"correct": "True"}, "correct must be True or False in every row"),
    "sigma": ({"sigma": 0.0}, "has sigma 0.0; it must be a number above 0"),
    "twice": ({"image": 0}, "has image 0; it must be there once at every sigma"),
}


@pytest.mark.parametrize(("changes", "reason"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("keys", TABLE_KINDS, ids=lambda keys: keys["kind"])
def test_damaged_certificates_are_refused(keys, changes, reason):
    bad = certificates([0.3, 0.1]).assign(**changes)
    with pytest.raises(ValueError, match=re.escape(reason)):
        build_table(table(keys), CERTIFICATES | {"e": bad}, PUBLISHED)


def test_undecided_radii_are_no_damage():
    rows = certificates([math.nan, 0.3], computed=[False, True])
    numbers = build_table(table(PER_SIGMA, panels=PER_SIGMA["panels"][:1]), {"e": rows})
    assert numbers["accuracy_percent"].tolist() == [50, 50]


def test_sigmas_with_different_images_are_refused():
    rows = pd.concat([certificates([0.3, 0.1]), certificates([0.3], sigma=0.5)])
    with pytest.raises(ValueError, match="sigmas and classifiers have different images"):
        build_table(table(PER_SIGMA), {"e": rows})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n": 1000}, "certificates of e have n 100, the study says 1,000; certify"),
        ({"n": 50, "plan": "curtailed"}, "certificates of e have n 100, the study says 50; cert"),
        ({"n0": 100}, "certificates of e have n0 10, the study says 100; certify"),
        ({"images": 5}, "certificates of e have images 4, the study says 5; certify"),
    ],
)
def test_certificates_of_other_settings_than_the_study_says_are_refused(changes, reason):
    records = {"e": {"sampling": RECORDS["e"]["sampling"] | changes}}
    with pytest.raises(ValueError, match=re.escape(reason)):
        build_table(table(PER_SIGMA), {"e": CERTIFICATES["e"]}, records=records)


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
    assert sheets[0].notes == ["4 images, n₀ = 10, n = 100."]  # a column `experiment` is enough
    with pytest.raises(ValidationError, match="experiments"):
        table(keys | {"experiments": []})


def test_an_experiment_that_is_none_has_no_samples_to_tell_of(tmp_path):
    path = tmp_path / "totals.py"
    path.write_text(
        OWN_KIND.replace('{"experiment": entry', '{"experiment": ["all"] * 2, "of": entry')
    )
    entry = table({"kind": str(path), "caption": "Images.", "experiments": ["e", "other"]})
    (sheet,) = lay_out(entry, build_table(entry, CERTIFICATES))
    assert [row[0].text for row in sheet.rows] == ["all", "all"]


def test_an_experiment_may_have_the_name_of_a_number(tmp_path):
    panels = [panel | {"experiment": "inf"} for panel in PER_SIGMA["panels"]]
    entry = table(PER_SIGMA, panels=panels)
    numbers = build_table(entry, {"inf": CERTIFICATES["e"]})
    numbers.to_csv(tmp_path / "t.csv", index=False)
    read = read_table(tmp_path / "t.csv")
    assert set(read["experiment"]) == {"inf"}
    assert all(check.passed for check in check_table("t", "per_sigma", read))
    assert lay_out(entry, read) == lay_out(entry, numbers)


def test_a_kind_that_does_not_exist_is_refused():
    with pytest.raises(
        ValueError, match=r"per_month is not allowed; allowed: best_over_sigma, cas"
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
