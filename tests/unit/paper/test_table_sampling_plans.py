"""Sampling plans beside each other: what they drew, and where they decide otherwise."""

from paper_samples import CERTIFICATES, PLANS, table, texts

from paper.tables import build_table, lay_out, read_table


def test_samples_and_differing_decisions_are_shown():
    records = {
        "e": {"seconds_by_sigma": {"0.25": 3.0, "0.5": 4.0}},
        "early": {"seconds_by_sigma": {"0.25": 1.25}},
    }
    entry = table(PLANS)
    (sheet,) = lay_out(entry, build_table(entry, CERTIFICATES, records=records))
    head = ["Noise", "Plan", "Samples", "Per image", "Share", "Time", "ε = 0.25"]
    assert sheet.columns == head
    assert texts(sheet) == [
        ["σ = 0.25", "fixed", "440", "110", "100.0%", "3 s", "50.0"],
        ["", "early", "230", "58", "52.3%", "1.25 s", "25.0"],
        ["σ = 0.5", "fixed", "440", "110", "100.0%", "4 s", "25.0"],
        ["", "early", "440", "110", "100.0%", "", "25.0"],
    ]
    assert [row[-1].mark for row in sheet.rows] == ["", "*", "", ""]
    assert any(note.startswith("*") for note in sheet.notes)
    assert not any(cell.bold for row in sheet.rows for cell in row)


def test_a_nearly_constant_row_is_marked_and_explained():
    (sheet,) = lay_out("sampling_plans", build_table(table(PLANS), CERTIFICATES))
    assert [row[1].mark for row in sheet.rows] == ["", "", "†", "†"]
    assert any(note.startswith("† answers one class") for note in sheet.notes)


def test_radii_that_a_plan_leaves_undecided_are_not_computed():
    undecided = CERTIFICATES | {"early": CERTIFICATES["early"].assign(lowest_radius=0.5)}
    (sheet,) = lay_out("sampling_plans", build_table(table(PLANS), undecided))
    assert [row[-1].text for row in sheet.rows[:2]] == ["50.0", "n/c"]
    assert any(note.startswith("n/c: not computed") for note in sheet.notes)


def test_decisions_that_differ_are_marked_where_the_accuracies_agree():
    swapped = CERTIFICATES["e"].assign(radius=[0.3, 0.1, 0.3, 0.0, 0.6, *[0.0] * 11], correct=True)
    other = CERTIFICATES | {"early": swapped}
    (sheet,) = lay_out("sampling_plans", build_table(table(PLANS), other))
    assert [row[-1].text for row in sheet.rows[:2]] == ["50.0", "50.0"]
    assert [row[-1].mark for row in sheet.rows[:2]] == ["", "*"]


def test_classifiers_of_one_title_are_told_apart(tmp_path):
    entry = table(PLANS, classifiers={"cnn": "5", "vit": "5"})
    build_table(entry, CERTIFICATES).to_csv(tmp_path / "t.csv", index=False)
    sheets = lay_out(entry, read_table(tmp_path / "t.csv"))
    assert [sheet.title for sheet in sheets] == ["5", "5"]
    assert [row[-1] for sheet in sheets for row in texts(sheet)[::2]] == [
        "50.0",
        "25.0",
        "100.0",
        "25.0",
    ]
