"""What notebooks start from: the results of a study, found from its name, or one line."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from study.finished import ResultsError, open_results
from study.printed import Printed

ROOT = Path(__file__).parents[3]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A working directory with files at all the places where results of digits lie."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results" / "digits"
    folder.mkdir(parents=True)
    for _ in range(100):
        try:
            open_results("digits", "results/digits")
        except ResultsError as error:
            (path,) = [Path(word.rstrip(";")) for word in str(error).split() if ";" in word]
            path.parent.mkdir(exist_ok=True)
            path.touch()
        else:
            return folder
    raise AssertionError("always something is missing")


def test_a_study_is_opened_by_its_name(finished):
    results = open_results("digits", "results/digits")
    assert results.study.title.endswith("rebuilt on digits")
    assert results.study.figures["figure_2"].panels[0].classifier == "digits_cnn"
    assert Path(results.paths.counts("denoised")) == finished / "counts" / "denoised.parquet"
    (finished / "tables" / "table_1.csv").write_text("label,radius\n007,0.5\n")
    assert list(results.table("table_1")["label"]) == ["007"]


@pytest.mark.parametrize(
    "missing", ["tables/table_1.csv", "pictures/figure_pictures.npz", "counts/plan_fixed.parquet"]
)
def test_what_is_missing_is_one_line_with_what_to_run_where(finished, missing):
    (finished / missing).unlink()
    with pytest.raises(ResultsError) as caught:
        open_results("digits", "results/digits")
    (line,) = caught.value._render_traceback_()
    assert line == (
        f"there is no {finished / missing}; to make it, run in {finished.parents[1]}: "
        "snakemake --cores all --config study=digits"
    )


def test_a_study_that_does_not_exist_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResultsError) as caught:
        open_results("digit", "results/digit")
    (line,) = caught.value._render_traceback_()
    assert "did you mean digits" in line


BY_HAND = """
import json, sys
for path in sys.argv[1:]:
    cells = [cell for cell in json.load(open(path))["cells"] if cell["cell_type"] == "code"]
    names = {}
    exec("".join(cells[0]["source"]), names)
    names["results"] = "nowhere/at/all"
    try:
        exec("".join(cells[1]["source"]), names)
    except Exception as error:
        print(*getattr(error, "_render_traceback_", lambda: [repr(error)])())
"""


@pytest.mark.parametrize("folder", [ROOT, ROOT / "notebooks"], ids=["root", "notebooks"])
def test_by_hand_every_notebook_finds_the_library_and_says_what_to_run(folder):
    command = [sys.executable, "-c", BY_HAND, *map(str, NOTEBOOKS)]
    made = subprocess.run(command, cwd=folder, env={}, capture_output=True, text=True, check=True)
    lines = made.stdout.splitlines()
    assert len(lines) == len(NOTEBOOKS)
    for line in lines:
        assert line.startswith(f"there is no {ROOT}/nowhere/at/all/")
        assert line.endswith(f"run in {ROOT}: snakemake --cores all --config study=digits")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_few_parameters_which_fit_the_default_study(path):
    (cell,) = [
        cell
        for cell in json.loads(path.read_text())["cells"]
        if "parameters" in cell["metadata"].get("tags", [])
    ]
    names = {}
    exec("".join(cell["source"]), {}, names)
    assert names == {"study": "digits", "results": "results/digits"}


@pytest.mark.parametrize(
    ("label", "votes", "said"),
    [
        (1, [0, 1000], "prediction 1 (-1 abstains), certified within 0.500; with 1000 samples the"),
        (0, [0, 0], "no radius, as the plan stopped; with 1000 samples the"),
    ],
)
def test_the_notebook_on_one_image_goes_by_the_plan(label, votes, said, capsys):
    """A plan that decides some radii reaches the largest of them, and may stop before."""
    plan = {
        "plan": "sequential",
        "n0": 10,
        "n": 1000,
        "alpha": 0.001,
        "frugal": True,
        "radii": [0.25, 0.5],
    }
    experiment = SimpleNamespace(n=1000, last_alpha=0.001, model_dump=lambda: plan)
    row = {"image": 0, "label": label, "classifier": "cnn", "sigma": 0.5, "selection": [0, 10]}
    names = {"counts": pd.DataFrame([row | {"estimation": votes}]), "experiment": experiment}
    names |= {"image": 0, "classifier": "cnn", "sigma": 0.5, "alpha": 0.001}
    (path,) = (path for path in NOTEBOOKS if path.stem == "one_image")
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    exec("".join(line for line in cells[1]["source"] if line.startswith("from dds")), names)
    for cell in cells[4:6]:  # the bound on the probability, and the radius
        exec("".join(cell["source"]), names)
    assert capsys.readouterr().out.endswith(f"{said} plan could certify at most 0.500\n")


def test_the_notebook_on_one_image_does_without_pictures(monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [*sys.path])  # notebooks add to it
    settings = SimpleNamespace(classifiers=["cnn"], sigmas=[0.25, 0.5], alpha=0.001)
    study = SimpleNamespace(figures={}, experiments={"e": settings, "other": None})
    paths = SimpleNamespace(counts=lambda name: name)
    results = SimpleNamespace(study=study, paths=paths)
    monkeypatch.setattr("study.finished.open_results", lambda study, folder: results)
    row = {"image": 0, "label": 1, "classifier": "cnn", "sigma": 0.5}
    votes = {"selection": np.array([0, 10]), "estimation": np.array([1, 99])}
    counts = {"e": (pd.DataFrame([row | votes]), {})}
    monkeypatch.setattr("dds.sampling.counts.read_counts", counts.get)
    (path,) = (path for path in NOTEBOOKS if path.stem == "one_image")
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    names = {}
    for cell in cells[:4]:  # up to the votes
        exec("".join(cell["source"]), names)
    assert capsys.readouterr().out == (
        "not shown: the study has no figure of kind pictures\n"
        "label 1; n0 = 10 votes to pick, n = 100 to measure\n"
    )


@pytest.mark.parametrize(("name", "shown_by"), [("tables", 5), ("ablation", 4)])
def test_a_notebook_shows_all_numbers_of_a_table_as_they_are(name, shown_by, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [*sys.path])
    facts = {
        "sigma": 0.125,
        "alpha": 0.001,
        "hours": 4.871e-5,
        "percent": 90.3722,
        "source": "s" * 99,
    }
    numbers = pd.DataFrame([facts | {"method": str(i)} for i in range(70)])
    numbers = numbers.assign(**{f"column_{i}": 1 for i in range(30)})
    entries = {"t": SimpleNamespace(kind="comparison", caption="x", methods=[], classifiers={})}
    results = SimpleNamespace(study=SimpleNamespace(tables=entries), table=lambda name: numbers)
    monkeypatch.setattr("study.finished.open_results", lambda study, folder: results)
    monkeypatch.setattr("paper.tables.lay_out", lambda entry, table: [])
    (path,) = (path for path in NOTEBOOKS if path.stem == name)
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    names = {}
    with pd.option_context("display.width", 10_000):
        for cell in cells[:shown_by]:
            exec("".join(cell["source"]), names)
    pd.reset_option("display")
    *_, table = capsys.readouterr().out.split("Markdown object>")
    heads, *rows = table.strip().splitlines()
    assert {"sigma", "alpha", *(f"column_{i}" for i in range(30))} <= set(heads.split())
    assert len(rows) == 70 - (name == "ablation")  # its first method is what others differ from
    for row in rows:
        assert row.split()[1:6] == ["0.125", "0.001", "4.871e-05", "90.37", "s" * 99]


def test_printed_parameters_end_no_script_and_are_a_plain_mapping_otherwise():
    import pickle

    plain = {"entry": {"caption": "a </script><script> <!-- b"}}
    printed = Printed(plain)
    assert "<" not in f"{printed}"
    assert printed == plain
    assert repr(printed) == repr(plain)  # what Snakemake remembers of a job
    assert type(pickle.loads(pickle.dumps(printed))) is dict
