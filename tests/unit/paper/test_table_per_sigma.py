"""One classifier a panel at every sigma: numbers, marks, and published values below ours."""

import pandas as pd
import pytest
from paper_samples import (
    CERTIFICATES,
    PER_SIGMA,
    PUBLISHED,
    RECORDS,
    certificates,
    table,
    texts,
)

from paper.tables import build_table, lay_out, read_table
from paper.tables._published import compare

PANEL = PER_SIGMA["panels"][0]


def test_a_sheet_a_panel_and_a_row_a_sigma():
    entry = table(PER_SIGMA)
    cnn, vit = lay_out(entry, build_table(entry, CERTIFICATES))
    assert (cnn.title, vit.title) == ("CNN", "ViT")
    assert cnn.columns == ["Noise", "ε = 0.0", "ε = 0.25"]
    assert texts(cnn) == [["σ = 0.25", "75.0", "50.0"], ["σ = 0.5", "25.0", "25.0"]]
    assert texts(vit) == [["σ = 0.25", "100.0", "100.0"], ["σ = 0.5", "25.0", "25.0"]]
    assert [cell.bold for cell in cnn.rows[0]] == [False, True, True]


def test_every_accuracy_has_its_interval():
    numbers = build_table(table(PER_SIGMA), CERTIFICATES)
    assert (numbers["ci_low_percent"] <= numbers["accuracy_percent"]).all()
    assert (numbers["accuracy_percent"] <= numbers["ci_high_percent"]).all()


@pytest.mark.parametrize(("radii", "said"), [([0.0, 0.25], True), ([0.25], False)])
def test_clean_accuracy_is_said_to_be_a_lower_bound(radii, said):
    entry = table(PER_SIGMA, radii=radii)
    sheets = lay_out(entry, build_table(entry, CERTIFICATES))
    assert [any("lower bound" in note for note in sheet.notes) for sheet in sheets] == [said] * 2


def test_a_nearly_constant_row_is_marked_and_explained():
    entry = table(PER_SIGMA)
    cnn, vit = lay_out(entry, build_table(entry, CERTIFICATES))
    assert [row[0].mark for row in cnn.rows] == ["", "†"]
    assert any(note.startswith("† answers one class") for note in cnn.notes)
    assert not any(note.startswith("†") for note in vit.notes)


def test_published_values_stand_below_ours():
    entry = table(PER_SIGMA, panels=[PANEL | {"published": "4a"}])
    (sheet,) = lay_out(entry, build_table(entry, CERTIFICATES, PUBLISHED))
    assert texts(sheet) == [
        ["σ = 0.25", "75.0", "50.0"],
        ["  published", "76.0", "1.0"],
        ["  difference", "−1.0", "+49.0"],
        ["σ = 0.5", "25.0", "25.0"],
        ["  published", "?", "25.0"],
        ["  difference", "", "+0.0"],
    ]
    assert [cell.mark for cell in sheet.rows[0]] == ["", "", "‡"]  # 1.0 is too far from 50.0
    assert any(note.startswith("?") for note in sheet.notes)
    assert any(note.startswith("‡ differs from the published value") for note in sheet.notes)


@pytest.mark.parametrize(
    ("images", "published", "differs"),
    [
        (10_000, 48.6, False),  # our interval alone, [49.0, 51.0], leaves it out
        (10_000, 48.5, True),
        (500, 46.0, False),
        (500, 45.3, True),
    ],
)
def test_a_published_value_differs_by_the_images_of_both(images, published, differs):
    number = compare_one(published_percent=published, published_images=images)
    assert number["published_outside_interval"] is differs
    assert (number["difference_ci_low"] > 0) is differs


def test_a_difference_is_widened_by_rounding_and_narrowed_by_what_images_share():
    near = {"published_percent": 48.5, "published_images": 10_000.0}
    assert compare_one(**near, published_rounding=0.5)["published_outside_interval"] is False
    near["published_percent"] = 49.5
    assert compare_one(**near)["published_outside_interval"] is False
    assert compare_one(**near, published_correlation=0.9)["published_outside_interval"] is True


@pytest.mark.parametrize(
    "unknown", [{"published_images": None}, {"accuracy_percent": None}, {"published_percent": None}]
)
def test_what_cannot_be_compared_is_neither_marked_nor_said_to_agree(unknown):
    number = compare_one(**{"published_percent": 1.0, "published_images": 500} | unknown)
    assert pd.isna(number["published_outside_interval"])
    assert pd.isna(number["difference_ci_low"])


def compare_one(**numbers):
    """Return a number of ours, 50.0% of 10,000 images, beside a published one."""
    numbers = {"accuracy_percent": 50.0, "images": 10_000} | numbers
    (number,) = compare(pd.DataFrame([numbers], dtype=float)).to_dict("records")
    return number


def test_published_values_that_are_not_given_are_asked_for():
    entry = table(PER_SIGMA, panels=[PANEL | {"published": "4a"}])
    with pytest.raises(ValueError, match="published values of table 4a are asked for, none are"):
        build_table(entry, CERTIFICATES)


@pytest.mark.parametrize("titles", [("CNN", "CNN"), ("5", "5"), ("007", "7"), ("NA", "inf")])
def test_panels_are_told_apart_by_their_place_and_titled_as_written(titles, tmp_path):
    panels = [
        panel | {"title": title} for panel, title in zip(PER_SIGMA["panels"], titles, strict=True)
    ]
    entry = table(PER_SIGMA, panels=panels)
    build_table(entry, CERTIFICATES).to_csv(tmp_path / "t.csv", index=False)
    sheets = lay_out(entry, read_table(tmp_path / "t.csv"))
    assert tuple(sheet.title for sheet in sheets) == titles
    assert [row[1:] for row in texts(sheets[0])] == [["75.0", "50.0"], ["25.0", "25.0"]]
    assert [row[1:] for row in texts(sheets[1])] == [["100.0", "100.0"], ["25.0", "25.0"]]


def test_a_radius_that_no_image_can_reach_is_not_applicable():
    # 100 samples certify up to 0.375 at sigma 0.25 and 0.75 at sigma 0.5.
    entry = table(PER_SIGMA, radii=[0.3, 0.4, 0.8], panels=[PANEL])
    numbers = build_table(entry, CERTIFICATES, records=RECORDS)
    (sheet,) = lay_out(entry, numbers)
    assert [row[1:] for row in texts(sheet)] == [["50.0", "n/a", "n/a"], ["25.0", "25.0", "n/a"]]
    assert not any(cell.bold for row in sheet.rows for cell in row if cell.text == "n/a")
    assert any(note.startswith("n/a: n is too small") for note in sheet.notes)
    assert numbers["largest_radius"].unique() == pytest.approx([0.3751, 0.7502], abs=1e-4)
    assert "n/a" not in str(texts(lay_out(entry, build_table(entry, CERTIFICATES))[0]))  # no alpha


def test_a_radius_that_was_decided_at_another_sigma_is_not_computed_but_where_n_is_too_small():
    # 100 samples certify up to 0.375 at sigma 0.25 and 0.75 at sigma 0.5.
    grids = {"0.25": [0.0, 0.25], "0.5": [0.0, 0.5]}
    decided = {float(sigma): " ".join(map(str, grid)) for sigma, grid in grids.items()}
    rows = CERTIFICATES["e"].query("classifier == 'cnn'")
    rows = rows.assign(decided_radii=rows["sigma"].map(decided))
    sampled = RECORDS["e"]["sampling"] | {"plan": "sequential", "radii": grids}
    entry = table(PER_SIGMA, radii=[0.0, 0.25, 0.3, 0.5], panels=[PANEL])
    numbers = build_table(entry, {"e": rows}, records={"e": {"sampling": sampled}})
    (sheet,) = lay_out(entry, numbers)
    assert [row[1:] for row in texts(sheet)] == [
        ["75.0", "50.0", "n/c", "n/a"],
        ["25.0", "n/c", "n/c", "25.0"],
    ]
    said = "n/c: not computed; the sampling plan did not decide this radius at this σ."
    assert said in sheet.notes


def test_where_n_certifies_nothing_no_radius_is_reached():
    rows = certificates([0.0] * 4, n=9)
    records = {"e": {"sampling": RECORDS["e"]["sampling"] | {"n": 9}}}
    entry = table(PER_SIGMA, panels=[PANEL], radii=[0.0, 0.25])
    (sheet,) = lay_out(entry, build_table(entry, {"e": rows}, records=records))
    assert texts(sheet) == [["σ = 0.25", "n/a", "n/a"]]


@pytest.mark.parametrize(
    ("certified", "bold"),
    [
        ((76, 75), [True, True]),  # one point below
        ((76, 74), [True, False]),
        ((0, 0), [False, False]),
    ],
)
def test_the_best_of_a_column_is_bold_and_so_is_a_near_tie(certified, bold):
    rows = [
        certificates([0.3] * count + [0.0] * (100 - count), sigma=sigma)
        for sigma, count in zip((0.25, 0.5), certified, strict=True)
    ]
    entry = table(PER_SIGMA, panels=[PANEL], radii=[0.25])
    (sheet,) = lay_out(entry, build_table(entry, {"e": pd.concat(rows)}))
    assert [row[1].bold for row in sheet.rows] == bold
    assert ("at most 1 point below" in sheet.bold) == any(bold)


def test_a_published_number_does_not_compete():
    better = PUBLISHED.assign(certified_accuracy=PUBLISHED["certified_accuracy"] + 24.1)
    entry = table(PER_SIGMA, panels=[PANEL | {"published": "4a"}])
    (sheet,) = lay_out(entry, build_table(entry, CERTIFICATES, better))
    assert [row[1].text for row in sheet.rows[:2]] == ["75.0", "100.1"]
    assert [row[1].bold for row in sheet.rows[:2]] == [True, False]


def test_a_difference_is_that_of_the_numbers_shown():
    ours = certificates([0.3] * 914 + [0.0] * 86)
    ours = ours.iloc[: 914 + 85]  # 91.49 percent
    entry = table(PER_SIGMA, panels=[PANEL | {"published": "4a"}], radii=[0.25])
    published = PUBLISHED.assign(certified_accuracy=88.5)
    numbers = build_table(entry, {"e": ours}, published)
    (sheet,) = lay_out(entry, numbers)
    assert [row[1].text for row in sheet.rows] == ["91.5", "88.5", "+3.0"]
    assert numbers["difference_points"][0] == pytest.approx(100 * 914 / 999 - 88.5)  # 2.99


def test_noise_levels_and_radii_are_written_alike():
    rows = pd.concat([certificates([0.3], sigma=sigma) for sigma in (0.25, 0.5, 1.0)])
    entry = table(PER_SIGMA, panels=[PANEL], radii=[0.5, 1.0])
    (sheet,) = lay_out(entry, build_table(entry, {"e": rows}))
    assert [row[0] for row in texts(sheet)] == ["σ = 0.25", "σ = 0.5", "σ = 1.0"]
    assert sheet.columns[1:] == ["ε = 0.5", "ε = 1.0"]
