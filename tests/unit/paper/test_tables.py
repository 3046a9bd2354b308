"""Tables carry the right numbers, marks and published values, in every format."""

import pandas as pd
import pytest

from paper.sheets import WRITERS, to_json, to_text
from paper.tables import build_table, lay_out, read_table

RADII = [0.0, 0.25]


def certificates(radii, *, sigma=0.25, classifier="cnn", selected=None, **columns):
    images = len(radii)
    return pd.DataFrame(
        {
            "image": range(images), "label": 1, "sigma": sigma, "classifier": classifier,
            "n0": 10, "n": 100, "radius": radii, "correct": [radius > 0 for radius in radii],
            "selected": range(images) if selected is None else selected,
            "label_successes": [100 if radius > 0 else 30 for radius in radii],
            "lowest_radius": 0.0,
        } | columns
    )  # fmt: skip


CERTIFICATES = {
    "e": pd.concat(
        [
            certificates([0.3, 0.3, 0.1, 0.0]),
            certificates([0.6, 0.0, 0.0, 0.0], sigma=0.5, selected=[3] * 4),
            certificates([0.3, 0.3, 0.3, 0.3], classifier="vit"),
            certificates([0.3, 0.0, 0.0, 0.0], classifier="vit", sigma=0.5),
        ]
    ),
    "other": pd.concat(
        [
            certificates([0.3, 0.0, 0.1, 0.0]),
            certificates([0.0, 0.0, 0.0, 0.0], sigma=0.5),
        ]
    ),
}
CERTIFICATES["early"] = CERTIFICATES["e"].assign(
    n=[40, 60, 0, 90, *[100] * 12], radius=[0.3, 0.1, 0.1, 0.0, 0.7, *[0.0] * 11]
)
PUBLISHED = pd.DataFrame(
    [
        ("4a", "sigma = 0.25", 0.25, 0.0, 76.0, None, "printed"),
        ("4a", "sigma = 0.25", 0.25, 0.25, 1.0, None, "printed"),
        ("4a", "sigma = 0.5", 0.5, 0.0, None, None, "not_legible"),
        ("4a", "sigma = 0.5", 0.5, 0.25, 25.0, None, "printed"),
        ("3", "RS", None, 0.25, 61.0, 75.0, "printed"),
    ],
    columns=["table", "row", "sigma", "radius", "certified_accuracy", "clean_accuracy", "status"],
)
PER_SIGMA = {
    "kind": "per_sigma", "caption": "Some caption.", "radii": RADII,
    "panels": [
        {"title": "CNN", "experiment": "e", "classifier": "cnn"},
        {"title": "ViT", "experiment": "e", "classifier": "vit"},
    ],
}  # fmt: skip
BEST = {
    "kind": "best_over_sigma", "caption": "Some caption.", "radii": [0.25],
    "rows": [
        {"label": "RS", "off_the_shelf": "none", "published": {"table": "3", "row": "RS"}},
        {"label": "Ours", "off_the_shelf": "full", "extra_data": True, "experiment": "e",
         "classifier": "vit"},
    ],
}  # fmt: skip
COMPARISON = {
    "kind": "comparison", "caption": "Some caption.", "radii": [0.25],
    "classifiers": {"cnn": "CNN"},
    "methods": [{"label": "one-shot", "experiment": "e"},
                {"label": "multi-step", "experiment": "other"}],
}  # fmt: skip
PLANS = {
    "kind": "sampling_plans", "caption": "Some caption.", "radii": [0.25],
    "classifiers": {"cnn": "CNN"},
    "methods": [{"label": "fixed", "experiment": "e"},
                {"label": "early", "experiment": "early"}],
}  # fmt: skip


def texts(sheet):
    return [[cell.text for cell in row] for row in sheet.rows]


def test_per_sigma_has_a_sheet_a_panel_and_a_row_a_sigma():
    table = build_table(PER_SIGMA, CERTIFICATES)
    cnn, vit = lay_out("per_sigma", table)
    assert cnn.columns == ["Noise", "ε = 0.0", "ε = 0.25"]
    assert texts(cnn) == [["σ = 0.25", "75.0", "50.0"], ["σ = 0.5", "25.0", "25.0"]]
    assert texts(vit) == [["σ = 0.25", "100.0", "100.0"], ["σ = 0.5", "25.0", "25.0"]]
    assert [cell.bold for cell in cnn.rows[0]] == [False, True, True]


def test_every_accuracy_has_its_interval():
    table = build_table(PER_SIGMA, CERTIFICATES)
    assert (table["ci_low_percent"] <= table["accuracy_percent"]).all()
    assert (table["accuracy_percent"] <= table["ci_high_percent"]).all()
    best = build_table(BEST, CERTIFICATES, PUBLISHED).dropna(subset="accuracy_percent")
    assert (best["clean_ci_low_percent"] < best["clean_ci_high_percent"]).all()


def test_a_nearly_constant_row_is_marked_and_explained():
    cnn, vit = lay_out("per_sigma", build_table(PER_SIGMA, CERTIFICATES))
    assert [row[0].mark for row in cnn.rows] == ["", "†"]
    assert cnn.notes[0].startswith("† answers one class")
    assert not vit.notes


def test_published_values_stand_below_ours():
    panel = PER_SIGMA["panels"][0] | {"published": "4a"}
    table = build_table(PER_SIGMA | {"panels": [panel]}, CERTIFICATES, PUBLISHED)
    (sheet,) = lay_out("per_sigma", table)
    assert texts(sheet) == [
        ["σ = 0.25", "75.0", "50.0"],
        ["  published", "76.0", "1.0"],
        ["  difference", "−1.0", "+49.0"],
        ["σ = 0.5", "25.0", "25.0"],
        ["  published", "?", "25.0"],
        ["  difference", "", "+0.0"],
    ]
    assert [cell.mark for cell in sheet.rows[0]] == ["", "", "‡"]  # 1.0 is outside our interval
    assert any(note.startswith("?") for note in sheet.notes)


def test_what_the_authors_logs_say_stands_below_what_was_printed():
    logs = PUBLISHED.assign(recomputed_accuracy=60.8, recomputed_clean_accuracy=74.9)
    (sheet,) = lay_out("best_over_sigma", build_table(BEST, CERTIFICATES, logs))
    assert [row[0] for row in texts(sheet)] == ["RS", "  from their logs", "Ours"]
    cell = sheet.rows[1][3]
    assert (cell.text, cell.raised) == ("60.8", "74.9")


def test_best_over_sigma_shows_clean_accuracy_and_prior_work():
    (sheet,) = lay_out("best_over_sigma", build_table(BEST, CERTIFICATES, PUBLISHED))
    assert texts(sheet) == [["RS", "○", "×", "61.0"], ["Ours", "●", "✓", "100.0"]]
    assert [row[3].raised for row in sheet.rows] == ["75.0", "100.0"]
    assert [row[3].bold for row in sheet.rows] == [False, True]


def test_published_values_that_do_not_exist_are_refused():
    row = {"label": "X", "off_the_shelf": "none", "published": {"table": "3", "row": "X"}}
    with pytest.raises(ValueError, match="no published cell of table 3, row X"):
        build_table(BEST | {"rows": [row]}, CERTIFICATES, PUBLISHED)


def test_comparison_is_of_the_same_images():
    table = build_table(COMPARISON, CERTIFICATES)
    (sheet,) = lay_out("comparison", table)
    assert texts(sheet)[:3] == [
        ["CNN", "σ = 0.25", "one-shot", "82.5", "50.0"],
        ["", "", "multi-step", "65.0", "25.0"],
        ["", "", "difference", "−17.5 ± 55.7", "−25.0 ± 79.6"],
    ]
    certified = table[table["quantity"] == "certified"]
    assert certified[["ci_low_percent", "ci_high_percent"]].stack().between(0, 100).all()


def test_comparison_refuses_images_that_stopped_early():
    methods = [{"label": "one-shot", "experiment": "e"}, {"label": "x", "experiment": "early"}]
    with pytest.raises(ValueError, match="draws n samples of every image"):
        build_table(COMPARISON | {"methods": methods}, CERTIFICATES)


def test_sampling_plans_show_their_samples_and_where_they_decide_otherwise():
    records = {
        "e": {"seconds_by_sigma": {"0.25": 3.0, "0.5": 4.0}},
        "early": {"seconds_by_sigma": {"0.25": 1.25}},
    }
    (sheet,) = lay_out("sampling_plans", build_table(PLANS, CERTIFICATES, records=records))
    head = ["Noise", "Plan", "Samples", "Per image", "Share", "Seconds", "ε = 0.25"]
    assert sheet.columns == head
    assert texts(sheet) == [
        ["σ = 0.25", "fixed", "440", "110", "100.0%", "3.0", "50.0"],
        ["", "early", "230", "58", "52.3%", "1.2", "25.0"],
        ["σ = 0.5", "fixed", "440", "110", "100.0%", "4.0", "25.0"],
        ["", "early", "440", "110", "100.0%", "", "25.0"],
    ]
    assert [row[-1].mark for row in sheet.rows] == ["", "*", "", ""]
    assert any(note.startswith("*") for note in sheet.notes)
    assert not any(cell.bold for row in sheet.rows for cell in row)


def test_costs_stand_beside_their_estimates():
    estimate = {
        "images": 10, "samples": 4000, "flops": 7.2e15, "shards": 2, "chosen": "curtail",
        "expected": {"fixed": 2.0, "curtail": 1.5, "sequential": 0.5},
    }  # fmt: skip
    record = {
        "estimate": estimate, "samples": 1000, "seconds": 3600.0, "parts": 2,
        "device": ["A100", "H100"], "precision": "float32", "joules": 7.2e6,
    }  # fmt: skip
    entry = {"kind": "costs", "gpu": "a100", "methods": [{"label": "ours", "experiment": "e"}]}
    table = build_table(entry, {}, records={"e": record})
    (sheet,) = lay_out("costs", table)
    assert texts(sheet) == [
        ["ours", "estimated", "3,000", "5.4", "1.5", "2", "0.75", "0.556", "1", ""],
        ["", "measured", "1,000", "1.8", "1", "2", "0.5", "0.278", "0.5", "2"],
    ]
    assert "the rate of a100; measured on A100, H100." in sheet.notes[0]
    no_energy = table.assign(kwh=float("nan"))
    assert lay_out("costs", no_energy)[0].columns == sheet.columns[:-1]


def test_decisions_that_differ_are_marked_where_the_accuracies_agree():
    other = CERTIFICATES | {"early": CERTIFICATES["e"].assign(
        radius=[0.3, 0.1, 0.3, 0.0, 0.6, *[0.0] * 11], correct=True)}  # fmt: skip
    (sheet,) = lay_out("sampling_plans", build_table(PLANS, other))
    assert [row[-1].text for row in sheet.rows[:2]] == ["50.0", "50.0"]
    assert [row[-1].mark for row in sheet.rows[:2]] == ["", "*"]


@pytest.mark.parametrize(
    "entry", [PER_SIGMA, BEST, COMPARISON, PLANS], ids=lambda entry: entry["kind"]
)
def test_a_table_survives_the_disk_and_every_format(entry, tmp_path):
    table = build_table(entry, CERTIFICATES, PUBLISHED)
    table.to_csv(tmp_path / "t.csv", index=False)
    sheets = lay_out(entry["kind"], table)
    assert lay_out(entry["kind"], read_table(tmp_path / "t.csv")) == sheets
    numbers = [cell.text for sheet in sheets for row in sheet.rows for cell in row[3:]]
    for write in [*WRITERS.values(), to_text]:
        written = write(sheets, entry["caption"]).replace(r"\%", "%")
        assert "Some caption." in written
        for number in numbers:
            assert number.replace("−", "") in written.replace("−", "").replace("$-$", "").replace(
                r"$\pm$", "±"
            )
    assert to_json(sheets, entry["caption"])["sheets"][0]["rows"][0][0]["text"]


def test_latex_and_html_escape_what_they_must():
    entry = PER_SIGMA | {"panels": [PER_SIGMA["panels"][0] | {"title": "A_b & <c> 5%"}] * 2}
    entry["panels"][1] = entry["panels"][1] | {"title": "other"}
    sheets = lay_out("per_sigma", build_table(entry, CERTIFICATES))
    assert r"A\_b \& <c> 5\%" in WRITERS["tex"](sheets, "x")
    assert "A_b &amp; &lt;c&gt; 5%" in WRITERS["html"](sheets, "x")
