"""One method a row, the best over sigma for each radius, beside published methods."""

import pandas as pd
import pytest
from paper_samples import BEST, CERTIFICATES, PUBLISHED, RECORDS, table, texts
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
    ],
)
def test_a_row_without_numbers_is_refused(keys, reason):
    with pytest.raises(ValidationError) as refused:
        table(BEST, rows=[ROW | keys])
    (error,) = refused.value.errors()
    assert error["loc"] == ("rows", 0)
    assert error["ctx"]["reason"] == reason


def test_labels_that_look_like_numbers_stay_text(tmp_path):
    labels = ["007", "7"]
    rows = [row | {"label": label} for row, label in zip(BEST["rows"], labels, strict=True)]
    entry = table(BEST, rows=rows)
    build_table(entry, CERTIFICATES, PUBLISHED).to_csv(tmp_path / "t.csv", index=False)
    (sheet,) = lay_out(entry, read_table(tmp_path / "t.csv"))
    assert [row[0] for row in texts(sheet)] == labels
