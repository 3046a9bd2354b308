"""The whole chain, from data to paper, as a user runs it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
from base64 import b64decode

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient

from paper.figures import FIGURES, draw_figure, read_data, save_figure
from paper.parts import read_entry

pytestmark = pytest.mark.slow


def test_everything_is_made(project):
    results = project.results
    for table in project.study["tables"]:
        for form in ("csv", "md", "tex", "html"):
            assert (results / "tables" / f"{table}.{form}").stat().st_size > 100
    for artefact in (*project.study["tables"], *project.study["figures"]):
        (path,) = results.glob(f"[tf]*s/{artefact}.json")
        for name, record in json.loads(path.read_text())["experiments"].items():
            settings = project.study["experiments"][name]
            for key in ("images", "n0", "n", "alpha", "plan"):
                assert record["sampling"][key] == settings[key]
    for figure in project.study["figures"]:
        assert (results / "figures" / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
        assert (results / "figures" / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
    assert (results / "paper.pdf").read_bytes().startswith(b"%PDF")
    assert json.loads((results / "checks.json").read_text())["failed"] == 0


def test_a_second_run_does_nothing(project):
    assert project.planned_rules("all") == []


def test_counts_are_integers_of_every_image(project):
    for name, settings in project.study["experiments"].items():
        counts = pd.read_parquet(project.results / "counts" / f"{name}.parquet")
        assert len(counts) == (
            settings["images"] * len(settings["sigmas"]) * len(settings["classifiers"])
        )
        assert (counts["selection"].map(np.sum) == settings["n0"]).all()
        drawn = counts["estimation"].map(np.sum)
        stops = settings["plan"] != "fixed"
        assert (drawn <= settings["n"]).all() if stops else (drawn == settings["n"]).all()


def test_it_is_on_record_what_the_denoiser_gains(project):
    for name, settings in project.study["experiments"].items():
        record = json.loads((project.results / "counts" / f"{name}.json").read_text())
        found = record.get("denoising", [])
        found = found if isinstance(found, list) else [found]
        denoises = settings["denoiser"] != "none"
        assert {each["sigma"] for each in found} == set(settings["sigmas"] if denoises else [])
        assert all(each["psnr_denoised"] > each["psnr_noisy"] for each in found)


def test_every_image_is_judged_as_it_is_and_under_attack(project):
    attacked = pd.read_parquet(project.results / "attacks" / "denoised.parquet")
    assert attacked[["image", "radius"]].to_numpy().tolist() == [
        [image, radius] for image in range(3) for radius in (0, 0.25)
    ]
    assert (attacked["norm"] <= attacked["radius"]).all()
    assert (attacked["label_successes"] <= attacked["n"]).all()
    checks = json.loads((project.results / "checks.json").read_text())["checks"]
    assert [check["passed"] for check in checks if "attack denoised" in check["name"]] == [True] * 2


def test_notebooks_ran_and_show_what_they_are_for(project):
    for name in project.study["notebooks"]:
        notebook = nbformat.read(project.results / "notebooks" / f"{name}.ipynb", as_version=4)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        pictures = [output for output in outputs if "image/png" in output.get("data", {})]
        assert all(b64decode(p.data["image/png"]).startswith(b"\x89PNG") for p in pictures)
        assert pictures
        assert not [output for output in outputs if output.output_type == "error"]
        assert "from startup" not in str(outputs)
        (injected,) = [c for c in notebook.cells if "injected-parameters" in c.metadata.tags]
        assert injected.source.splitlines()[1:] == [
            'study = "small.yaml"',
            'results = "results/small"',
        ]


def test_a_notebook_shows_the_figures_of_the_study(project):
    notebook = nbformat.read(project.results / "notebooks" / "figures.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    assert [b64decode(picture) for picture in shown] == [
        (project.results / "figures" / f"{name}.png").read_bytes()
        for name in project.study["figures"]
    ]


def test_no_setting_of_an_account_reaches_a_figure(project, tmp_path):
    for name, keys in project.study["figures"].items():
        entry = read_entry(FIGURES, keys)
        sources = ["certificates/denoised.parquet", "attacks/denoised.parquet"]
        sources = [f"pictures/{name}.npz"] if "experiment" in keys else sources
        data = read_data([project.results / source for source in sources])
        save_figure(draw_figure(entry, data), tmp_path / "f.png")
        written = (project.results / "figures" / f"{name}.png").read_bytes()
        assert written == (tmp_path / "f.png").read_bytes()


def test_a_notebook_runs_by_hand_beside_its_library(project):
    notebook = nbformat.read(project.folder / "notebooks" / "figures.ipynb", as_version=4)
    notebook.cells[1].source = 'study = "small.yaml"\nresults = "results/small"'
    folder = {"metadata": {"path": str(project.folder / "notebooks")}}
    NotebookClient(notebook, kernel_name="python3", resources=folder).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    assert pictures == len(project.study["figures"])


def test_a_deleted_table_is_made_again_by_one_rule(project):
    (project.results / "tables" / "table_4.csv").unlink()
    assert project.planned_rules("table_4") == ["render_table", "table_4"]
    project.snakemake("table_4")
    assert (project.results / "tables" / "table_4.csv").exists()
    project.snakemake("all")


def test_the_shard_size_does_not_change_a_count(project):
    merged = project.results / "counts" / "denoised.parquet"
    before = pd.read_parquet(merged)
    experiment = project.study["experiments"]["denoised"]
    experiment["images_per_shard"] = 7
    project.write_study()
    try:
        project.snakemake(str(merged.relative_to(project.folder)))
        pd.testing.assert_frame_equal(pd.read_parquet(merged), before)
    finally:
        experiment["images_per_shard"] = 20
        project.write_study()
        project.snakemake("all")


def test_another_alpha_certifies_nothing_again(project):
    experiment = project.study["experiments"]["undefended"]
    experiment["alpha"] = 0.01
    project.write_study()
    try:
        rules = project.planned_rules("all")
        assert "compute_certificates" in rules
        assert "certify_shard" not in rules
        assert "train_classifier" not in rules
    finally:
        experiment["alpha"] = 0.001
        project.write_study()


def test_a_misspelt_key_is_one_line(project):
    experiment = project.study["experiments"]["denoised"]
    experiment["sigmaz"] = experiment.pop("sigmas")
    project.write_study()
    try:
        result = project.snakemake("all", check=False)
        assert result.returncode != 0
        assert "Traceback" not in result.stderr
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert "experiments.denoised.sigmaz" in line
        assert "sigmas" in line
        assert result.stderr.strip().endswith(line)
    finally:
        experiment["sigmas"] = experiment.pop("sigmaz")
        project.write_study()


def test_a_result_edited_by_hand_is_refused_in_one_line(project):
    certificates = project.results / "certificates" / "denoised.parquet"
    kept = certificates.read_bytes()
    frame = pd.read_parquet(certificates)
    frame.loc[0, "radius"] += 1
    frame.to_parquet(certificates, index=False)
    try:
        result = project.snakemake("results/small/paper.pdf", check=False)
    finally:
        certificates.write_bytes(kept)
        project.snakemake("all")
    assert result.returncode != 0
    assert (
        "results/small/certificates/denoised.parquet is not what rule compute_certificates wrote; "
        "remove it and run again" in result.stderr
    )


def test_a_failed_check_is_one_line_and_leaves_no_file(project):
    check = project.study["checks"][0]
    sides = {key: check[key] for key in ("experiment", "classifier")}
    check |= {**check["than"], "than": sides}
    project.write_study()
    target = "results/small/checks.json"
    try:
        result = project.snakemake(target, check=False)
        assert result.returncode != 0
        assert "check_results: 1 of" in result.stderr
        assert "undefended is better than denoised" in result.stderr
        assert not (project.folder / target).exists()
    finally:
        check |= {**check["than"], "than": {key: check[key] for key in sides}}
        project.write_study()
        project.snakemake("all")


def test_an_incomplete_study_is_not_archived(project):
    table = project.results / "tables" / "table_4.tex"
    kept = table.rename(table.with_suffix(".kept"))
    archive = [sys.executable, "tools/archive.py", "small.yaml"]
    try:
        answer = subprocess.run(archive, cwd=project.folder, capture_output=True, text=True)
    finally:
        kept.rename(table)
    assert answer.returncode == 1
    assert answer.stderr == (
        "archive: there is no results/small/tables/table_4.tex; run the study to its end, "
        "or snakemake results/small/tables/table_4.tex\n"
    )


def test_the_archive_holds_results_and_no_weights_or_data(project):
    archive = [sys.executable, "tools/archive.py", "small.yaml"]
    subprocess.run(archive, cwd=project.folder, check=True)
    with tarfile.open(project.folder / "dist" / "small.tar.gz") as tar:
        tar.extractall(project.folder / "dist", filter="data")
    top = project.folder / "dist" / "small"
    names = {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}
    assert {
        "study.json", "small.yaml", "Snakefile", "pyproject.toml", "envs/requirements.lock",
        "config/config.yaml", "workflow/scripts/dds/data/packs.py", "results/small/checks.json",
        "results/small/tables/table_4.csv", "results/small/records/tables/table_4.json",
    } <= names  # fmt: skip
    assert not [name for name in names if name.endswith((".pt", ".npz"))]
    for line in (top / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert digest == hashlib.sha256((top / name).read_bytes()).hexdigest()
