"""One method a row, the best over sigma for each radius, beside published methods."""

import pandas as pd
import pytest
from paper_samples import (
    BEST,
    CERTIFICATES,
    PUBLISHED,
    RECORDS,
    certificates,
    table,
    texts,
)
from pydantic import ValidationError

from paper.tables import build_table, lay_out, read_table

ROW = {"label": "X", "off_the_shelf": "none"}


def sheet_of(entry, published=PUBLISHED):
    (sheet,) = lay_out(entry, build_table(entry, CERTIFICATES, published))
    return sheet


def test_clean_accuracy_and_prior_work_are_shown():
    sheet = sheet_of(table(BEST))
    assert texts(sheet) == [["RS", "○", "×", "61.0"], ["Ours", "●", "✓", "100.0"]]
    assert [row[3].raised for row in sheet.rows] == ["75.0", "100.0"]
    assert [row[3].bold for row in sheet.rows] == [False, True]


def test_intervals_of_clean_accuracies_are_said_to_reach_as_far_as_they_do():
    rows = certificates([0.1] * 10 + [0.0] * 10)  # nothing is certified, half is right
    entry = table(BEST, rows=[BEST["rows"][1] | {"classifier": "cnn"}])
    numbers = build_table(entry, {"e": rows})
    assert (numbers["accuracy_percent"][0], numbers["clean_accuracy_percent"][0]) == (0, 50)
    (sheet,) = lay_out(entry, numbers)
    widest = numbers["clean_ci_high_percent"][0] - 50
    assert widest > numbers["ci_high_percent"][0] + 1
    assert f"reach up to {widest:.1f} points from the values." in sheet.notes[0]


def test_several_passes_are_marked_beside_other_marks():
    ours = ROW | {"experiment": "e", "classifier": "cnn", "several_passes": True}
    rows = [BEST["rows"][0] | {"several_passes": True}, ours]
    sheet = sheet_of(table(BEST, radii=[0.5], rows=rows))
    assert [row[0].mark for row in sheet.rows] == ["§", "†§"]
    for sign in "†§":
        assert sum(note.startswith(f"{sign} ") for note in sheet.notes) == 1


def test_a_column_says_on_how_many_images_methods_were_measured(tmp_path):
    cell = PUBLISHED[PUBLISHED["row"] == "RS"]
    more = [cell.assign(radius=radius, images=images) for radius, images in [(0.5, 427), (1, 0)]]
    more[1]["images"] = None
    published = pd.concat([PUBLISHED, *more], ignore_index=True)
    unknown = BEST["rows"][0] | {"published": {"table": "4a", "row": "sigma = 0.5"}}
    rows = [*BEST["rows"], unknown]
    published.loc[published["table"] == "4a", "images"] = None
    entry = table(BEST, radii=[0.25, 0.5, 1.0], rows=rows, measured_on=True)
    build_table(entry, CERTIFICATES, published).to_csv(tmp_path / "t.csv", index=False)
    (sheet,) = lay_out(entry, read_table(tmp_path / "t.csv"))
    assert sheet.columns[:4] == ["Method", "Off-the-shelf", "Extra data", "Images"]
    assert [row[3].text for row in sheet.rows] == ["427 to 500", "4", ""]


def test_methods_are_cited_and_prior_work_says_where_its_numbers_come_from():
    rows = [BEST["rows"][0] | {"cite": "cohen"}, BEST["rows"][1]]
    sheet = sheet_of(table(BEST, rows=rows))
    assert [row[0].cite for row in sheet.rows] == ["cohen", ""]
    said = "Numbers of prior work are taken from the respective papers."
    assert said in sheet.notes
    assert said not in sheet_of(table(BEST, rows=rows[1:])).notes


def test_a_radius_is_out_of_reach_where_no_sigma_reaches_it():
    entry = table(BEST, radii=[0.7, 0.8])
    (sheet,) = lay_out(entry, build_table(entry, CERTIFICATES, PUBLISHED, RECORDS))
    assert texts(sheet)[1][3:] == ["0.0", "n/a"]
    assert sheet.rows[1][3].raised == "25.0"  # of sigma 0.5: 0.25 cannot reach so far


def test_every_accuracy_has_its_interval():
    best = build_table(table(BEST), CERTIFICATES, PUBLISHED).dropna(subset="accuracy_percent")
    assert (best["clean_ci_low_percent"] < best["clean_ci_high_percent"]).all()


def test_a_nearly_constant_row_is_marked_and_explained():
    ours = ROW | {"experiment": "e"}
    rows = [ours | {"classifier": "cnn"}, ours | {"classifier": "vit"}]
    sheet = sheet_of(table(BEST, radii=[0.5], rows=rows))  # reached at sigma 0.5 alone
    assert [row[0].mark for row in sheet.rows] == ["†", ""]
    assert any(note.startswith("† answers one class") for note in sheet.notes)


def test_what_the_authors_logs_say_stands_below_what_was_printed():
    logs = PUBLISHED.assign(recomputed_accuracy=60.8, recomputed_clean_accuracy=74.9)
    sheet = sheet_of(table(BEST), logs)
    assert [row[0] for row in texts(sheet)] == ["RS", "  from their logs", "Ours"]
    cell = sheet.rows[1][3]
    assert (cell.text, cell.raised) == ("60.8", "74.9")


def test_a_public_log_that_says_otherwise_is_shown_without_the_log():
    logs = PUBLISHED.assign(logged_accuracy=60.0, logged_clean_accuracy=74.8)
    for otherwise, rows in [(True, ["RS", "  from their logs", "Ours"]), (False, ["RS", "Ours"])]:
        sheet = sheet_of(table(BEST), logs.assign(logged_otherwise=otherwise))
        assert [row[0] for row in texts(sheet)] == rows
        assert sheet.rows[1][3].text == ("60.0" if otherwise else "100.0")


def test_logs_of_our_images_pair_what_they_and_we_get_right():
    """And are no part of the table."""
    ours = ROW | {"experiment": "e", "classifier": "cnn", "published": {"table": "3", "row": "RS"}}
    log = CERTIFICATES["e"].query("classifier == 'cnn' and sigma == 0.25")
    other = log.assign(label=2)
    for content, correlation in [(log, 1.0), (log[:2], 0.0), (other, 0.0), (None, 0.0)]:
        logs = PUBLISHED.assign(recomputed_accuracy=50.0, recomputed_clean_accuracy=75.0)
        logs["log"] = [content] * len(logs)
        numbers = build_table(table(BEST, rows=[ours]), CERTIFICATES, logs)
        assert numbers["published_correlation"].tolist() == [pytest.approx(correlation)]
        assert "log" not in numbers


def test_published_values_that_do_not_exist_are_refused():
    entry = table(BEST, rows=[ROW | {"published": {"table": "3", "row": "X"}}])
    with pytest.raises(ValueError, match="no published cell of table 3, row X"):
        build_table(entry, CERTIFICATES, PUBLISHED)


def test_published_rows_of_one_name_are_told_apart_by_extra_data():
    more = PUBLISHED.assign(extra_data="yes", certified_accuracy=99.0)
    both = pd.concat([PUBLISHED, more], ignore_index=True)
    published = {"table": "3", "row": "RS", "extra_data": "yes"}
    entry = table(BEST, rows=[ROW | {"published": published}])
    assert texts(sheet_of(entry, both))[0][3] == "99.0"


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({}, "needs experiment and classifier, or published, or all three"),
        ({"experiment": "e"}, "experiment needs classifier beside it"),
        ({"classifier": "cnn"}, "classifier needs experiment beside it"),
        (
            {"chosen_on": {"experiment": "e"}, "published": {"table": "3", "row": "RS"}},
            "chosen_on needs experiment and classifier beside it",
        ),
    ],
)
def test_a_row_without_numbers_is_refused(keys, reason):
    with pytest.raises(ValidationError) as refused:
        table(BEST, rows=[ROW | keys])
    (error,) = refused.value.errors()
    assert error["loc"] == ("rows", 0)
    assert error["ctx"]["reason"] == reason


# Sigma chosen on other images. ----------------------------------------------------------------

#: At 0.25, sigma 0.25 is the better one on the test images, 0.5 on those that choose.
CHOOSING = pd.concat(
    [
        certificates([0.3, 0.1, 0.1, 0.1], classifier="vit"),
        certificates([0.6, 0.6, 0.6, 0.0], classifier="vit", sigma=0.5),
    ]
)
VALIDATED = ROW | {
    "label": "Validated",
    "experiment": "e",
    "classifier": "vit",
    "chosen_on": {"experiment": "e_validation"},
}


def test_sigma_is_chosen_on_other_images_and_the_accuracy_measured_on_ours():
    entry = table(BEST, rows=[BEST["rows"][1], VALIDATED])
    numbers = build_table(entry, CERTIFICATES | {"e_validation": CHOOSING}, PUBLISHED, RECORDS)
    ours, validated = numbers.to_dict("records")
    assert (ours["sigma"], ours["accuracy_percent"]) == (0.25, 100.0)
    assert (validated["sigma"], validated["accuracy_percent"]) == (0.5, 25.0)
    assert validated["clean_accuracy_percent"] == 25.0
    assert validated["chosen_on"] == "e_validation"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (BEST["rows"], "σ is chosen on the images that the accuracy is measured on, as papers do."),
        (
            [VALIDATED],
            "σ is chosen on validation images (e validation), the accuracy is measured on others.",
        ),
        (
            [BEST["rows"][1], VALIDATED],
            "Ours: σ is chosen on the images that the accuracy is measured on, as papers do; "
            "Validated: σ is chosen on validation images (e validation), the accuracy is measured "
            "on others.",
        ),
    ],
)
def test_a_note_says_on_which_images_sigma_was_chosen(rows, said, tmp_path):
    entry = table(BEST, rows=rows)
    numbers = build_table(entry, CERTIFICATES | {"e_validation": CHOOSING}, PUBLISHED)
    numbers.to_csv(tmp_path / "t.csv", index=False)
    for kept in (numbers, read_table(tmp_path / "t.csv")):
        assert said in lay_out(entry, kept)[0].notes


def test_labels_that_look_like_numbers_stay_text(tmp_path):
    labels = ["007", "7"]
    rows = [row | {"label": label} for row, label in zip(BEST["rows"], labels, strict=True)]
    entry = table(BEST, rows=rows)
    build_table(entry, CERTIFICATES, PUBLISHED).to_csv(tmp_path / "t.csv", index=False)
    (sheet,) = lay_out(entry, read_table(tmp_path / "t.csv"))
    assert [row[0] for row in texts(sheet)] == labels
