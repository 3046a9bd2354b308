"""The typeset paper: what is numbered, named and cited, whatever a study calls its parts."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import typst
from matplotlib.figure import Figure
from paper_samples import BEST, CERTIFICATES, COMPARISON, PER_SIGMA, PUBLISHED, table

from paper.document import document
from paper.figures import save_figure
from paper.tables import build_table

REPORT = Path(__file__).parents[3] / "workflow" / "report"
NASTY = "a|b \\ c $x_1$ {y}^2 #hash ~ 50% & <b> *em* _em_ @carlini `tick` [l](u) -- \\textbf{}"

EXPERIMENT = SimpleNamespace(
    dataset=NASTY, denoiser="none", steps=1, classifiers=["cnn"], sigmas=[0.25, 0.5, 1.0],
    n0=10, n=100, alpha=0.001, images=4, plan="fixed", precision="float32",
)  # fmt: skip
RECORD = {
    "versions": {"python": "3.11"}, "commit": "0123abc", "protocol": 2, "processor": "a CPU",
    "device": "cpu", "backend": "cpu", "precision": "float32", "samples": 1000, "seconds": 2.5,
    "parts": 1, "started": "2026-01-01", "finished": "2026-01-02", "models": {"cnn": "f" * 64},
}  # fmt: skip
MEASURED = {
    "classifier": "cnn", "accuracy": 0.5, "ci_low": 0.4, "ci_high": 0.6, "images": 96,
    "expected_accuracy": 0.9,
}  # fmt: skip
PANELS = [
    panel | {"title": title}
    for panel, title in zip(PER_SIGMA["panels"], ("007", NASTY), strict=True)
]
ENTRIES = {
    "inf": table(BEST, caption=NASTY, rows=[row | {"cite": "lecuyer"} for row in BEST["rows"]]),
    "table_3": table(PER_SIGMA, panels=PANELS, intervals=True),
    "own": table(COMPARISON, classifiers={"cnn": NASTY}),
}


#: Of figures, in inches.
SIZES = {"figure_2": (3.5, 2.5), "figure_wide": (12, 2), "figure_tall": (5, 15)}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What the paper of a study with names of every sort shows, and where its template lies."""
    folder = tmp_path_factory.mktemp("paper")
    tables = {}
    for name, entry in ENTRIES.items():
        build_table(entry, CERTIFICATES, PUBLISHED).to_csv(folder / f"{name}.csv", index=False)
        tables[name] = SimpleNamespace(**dict(entry), experiments=["e"])
    figures = {}
    for name, inches in SIZES.items():
        save_figure(Figure(figsize=inches), folder / f"{name}.pdf")
        figures[name] = SimpleNamespace(caption=NASTY, experiments=[])
    study = SimpleNamespace(
        title="", name=NASTY, authors=[NASTY], seed=1, tables=tables, figures=figures,
        experiments={"inf": EXPERIMENT, "e": EXPERIMENT},
    )  # fmt: skip
    paths = [folder / f"{name}.csv" for name in tables]
    records = {"inf": RECORD, "e": RECORD | {"seconds": 5e4, "joules": 7.2e6}}
    drawn = [folder / f"{name}.pdf" for name in figures]
    data = document(study, paths, drawn, records, [MEASURED])
    (folder / "data.json").write_text(json.dumps(data), "utf-8")
    for file in ("paper.typ", "references.yaml"):
        shutil.copy(REPORT / file, folder)
    return data, folder / "paper.typ"


def test_a_figure_keeps_its_size_where_the_page_is_as_large(shown):
    images = json.loads(typst.query(shown[1], "image"))
    widths = {
        Path(image["source"]).stem: float(re.search(r"([\d.]+)pt", image["width"])[1]) / 72
        for image in images
    }
    assert widths == {
        "figure_2": pytest.approx(3.5),  # of one panel
        "figure_wide": pytest.approx((21 - 2 * 2.4) / 2.54, rel=1e-3),
        "figure_tall": pytest.approx(5 * 20 / 2.54 / 15, rel=1e-3),
    }


def test_names_and_captions_of_every_sort_are_typeset_as_they_are(shown):
    figures = json.loads(typst.query(shown[1], "figure"))
    figures = [figure for figure in figures if figure["label"].startswith("<table")]
    assert [figure["label"] for figure in figures] == [
        "<table:inf>",
        "<table:table_3>",
        "<table:own>",
    ]
    assert [figure["supplement"]["text"] for figure in figures] == ["Table"] * 3
    captions = [figure["caption"]["body"]["text"] for figure in figures]
    assert captions == [NASTY, "Some caption.", "Some caption."]


def test_a_table_has_the_number_of_its_name_and_others_the_next_one_free(shown):
    numbers = {entry["label"]: entry["number"] for entry in shown[0]["tables"]}
    assert numbers == {"table:inf": 1, "table:table_3": 3, "table:own": 4}


def test_titles_that_look_like_numbers_stay_text(shown):
    assert [sheet["title"] for sheet in shown[0]["tables"][1]["sheets"]] == ["007", NASTY]


def test_a_study_bears_its_own_name_and_says_what_it_expected(shown):
    data, _ = shown
    assert data["title"] == f"Certified accuracy: study “{NASTY}”"
    rows = {name: text for name, text, _ in data["provenance"]}
    assert rows["cnn"].startswith("50.00% (95% interval 40.00 to 60.00) of 96 clean images right")
    assert rows["cnn"].endswith("expected: 90.0%")
    for word in ("published", "Rebuilt", "rebuilt", "Adversarial Robustness for Free"):
        assert word not in json.dumps(data["provenance"] + data["experiments"])


def test_what_sampling_took_is_in_units_that_suit_and_says_what_shows_it(shown):
    rows = {name: (text, labels) for name, text, labels in shown[0]["provenance"]}
    assert rows["inf"][0].startswith(
        "1,000 samples in 1 shard, 2.5 s of work (400 samples/s), 2026"
    )
    assert "13.9 h of work (0.02 samples/s), 2 kWh, " in rows["e"][0]
    assert rows["e"][1] == ["table:inf", "table:table_3", "table:own"]
    assert rows["inf"][1] == []


def test_noise_levels_are_written_alike(shown):
    assert shown[0]["experiments"][1][4] == "0.25, 0.5, 1.0"


def asked(template, folder, value, data):
    """Return the value of an expression of Typst at the end of the paper, without figures."""
    data = data | {"figures": [], "provenance": []}
    for file in (template, template.with_name("references.yaml")):
        shutil.copy(file, folder)
    (folder / "data.json").write_text(json.dumps(data), "utf-8")
    copy = folder / template.name
    copy.write_text(f"{copy.read_text('utf-8')}\n#context [#metadata({value}) <asked>]", "utf-8")
    (found,) = json.loads(typst.query(copy, "<asked>"))
    return found["value"]


def test_captions_and_titles_stand_on_the_page_of_their_panels(shown, tmp_path):
    data, template = shown
    pages = "(emph, table, figure.caption).map(it => query(it).map(it => it.location().page()))"
    (panel, *_) = data["tables"][1]["sheets"]
    sheets = [panel | {"title": f"net_{number}"} for number in range(31)]
    entry = {"caption": "x", "sheets": sheets, "notes": [], "number": 1, "label": "table:many"}
    for rows in range(1, 30, 4):  # of experiments: they move what follows down the page
        experiments = [data["experiments"][0], *data["experiments"][1:2] * rows]
        other = data | {"tables": [entry], "experiments": experiments}
        titles, tables, captions = asked(template, tmp_path, pages, other)
        panels = tables[1:-1]  # experiments are a table, and so is provenance
        assert titles[: len(panels)] == panels  # the bibliography has slanted type, too
        assert captions == panels[:1]


def test_a_name_that_is_wider_than_its_column_is_wrapped(shown, tmp_path):
    data, template = shown
    name = "_".join(["weights"] * 40)
    heights = f'(3cm, 100cm).map(width => measure(width: width, written("{name}")).height / 1pt)'
    narrow, wide = asked(template, tmp_path, heights, data)
    assert narrow > 10 * wide
