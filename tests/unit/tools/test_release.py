"""What a release, a catalogue and the public host read agrees with the project."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import dds

ROOT = Path(__file__).parents[3]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
DEPOSIT = json.loads((ROOT / ".zenodo.json").read_text("utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
README = (ROOT / "README.md").read_text("utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RELEASES = re.findall(
    r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$",
    (ROOT / "CHANGELOG.md").read_text("utf-8"),
    re.M,
)


def test_the_version_is_the_same_wherever_it_is_read():
    version, date = RELEASES[0]
    assert version == PROJECT.get("version", getattr(dds, "__version__", None))
    assert (CITATION["version"], str(CITATION["date-released"])) == (version, date)
    assert (DEPOSIT["version"], DEPOSIT["publication_date"]) == (version, date)


def test_releases_stand_newest_first():
    numbers = [tuple(map(int, version.split("."))) for version, _ in RELEASES]
    assert numbers == sorted(set(numbers), reverse=True)
    assert [date for _, date in RELEASES] == sorted((date for _, date in RELEASES), reverse=True)


def test_the_citation_and_the_deposit_say_the_same():
    assert DEPOSIT["title"] == CITATION["title"]
    assert DEPOSIT["description"] == CITATION["abstract"].strip()
    assert DEPOSIT["keywords"] == CITATION["keywords"]
    assert DEPOSIT["license"] == CITATION["license"] == PROJECT["license"]
    assert [one["name"] for one in DEPOSIT["creators"]] == [
        one["name"] for one in CITATION["authors"]
    ]


def test_the_catalogue_finds_the_workflow_and_how_it_is_run():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"].keys() <= {
        "conda", "apptainer", "apptainer+conda", "report",
    }  # fmt: skip
    assert (ROOT / "workflow" / "Snakefile").is_file()
    assert {path.suffix for path in (ROOT / "workflow" / "rules").iterdir()} == {".smk"}
    assert {"snakemake", "workflow"} <= set(re.findall(r"\w+", README.lower()))


def test_the_catalogue_s_copy_of_the_configuration_s_page_has_no_broken_link():
    """It shows config/README.md alone, so that links to other files would lead nowhere."""
    page = (ROOT / "config" / "README.md").read_text("utf-8")
    links = re.findall(r"\]\(([^)]*)\)", page)
    assert links
    assert [link for link in links if not link.startswith(("#", "https://"))] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_of_the_public_host_call_what_there_is(path):
    jobs = yaml.safe_load(path.read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    targets = re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text())
    assert commands
    for command in commands:
        if made := re.match(r"make ([a-z-]+)", command):
            assert made[1] in targets
        for tested in re.findall(r"tests/\S+", command):
            assert (ROOT / tested).exists()


def test_every_python_that_the_project_allows_is_tested():
    matrix = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    versions = matrix["jobs"]["test"]["strategy"]["matrix"]["python"]
    low, high = (int(minor) for minor in re.findall(r"3\.(\d+)", PROJECT["requires-python"]))
    assert versions == [f"3.{minor}" for minor in range(low, high)]


def test_both_ends_of_the_library_s_ranges_are_tested():
    job = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["library"]
    rows = job["strategy"]["matrix"]["include"]
    assert {row["versions"] for row in rows} == {"highest", "lowest-direct"}
    assert any(row["system"].startswith("macos") for row in rows)
    (install,) = (step["run"] for step in job["steps"] if "--extra models" in step.get("run", ""))
    assert "--resolution ${{ matrix.versions }}" in install


def test_the_image_is_built_from_files_that_there_are():
    steps = (ROOT / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    copied = [step.split()[1:-1] for step in steps if re.match("COPY (?!--from)", step)]
    let_through = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied
    for source in sum(copied, []):
        assert (ROOT / source).is_file()
        assert f"!{source}" in let_through
    (installed,) = (step for step in steps if step.startswith("RUN make"))
    venv, target = re.search(r"VENV=(\S+) .* (\S+)/ready$", installed).groups()
    assert venv == target
    assert any(step.startswith(f"ENV PATH={venv}/bin:") for step in steps)


def test_what_a_cluster_installs_is_what_is_locked():
    installed = re.findall(r"snakemake\S*==\S+[0-9]", (ROOT / "slurm/README.md").read_text("utf-8"))
    lock = (ROOT / "envs/requirements.lock").read_text().split()
    assert installed
    assert set(installed) <= set(lock)


def test_badges_are_true():
    for workflow in re.findall(r"actions/workflows/(\w+\.yml)", README):
        assert ROOT / ".github" / "workflows" / workflow in WORKFLOWS
    (least,) = re.findall(r'min_version\("(.*)"\)', (ROOT / "workflow/Snakefile").read_text())
    for number in re.findall(r"badge/[Ss]nakemake-(?:≥|%E2%89%A5)([\d.]+)-", README):
        assert number == least
    for licence in re.findall(r"badge/licence-(\w+)-", README):
        assert licence == PROJECT["license"]


@pytest.mark.parametrize("kind", ["table", "dataset", "network"])
def test_the_examples_for_contributors_are_kinds(kind, tmp_path):
    from dds.data.sources import SOURCES
    from dds.networks.families import CONTRACT, FAMILIES
    from paper.parts import Captioned
    from paper.tables import TABLES

    (section,) = re.findall(
        rf"(?ms)^## Add a (?:kind of )?{kind}$.*?^```python\n(.*?)^```$",
        (ROOT / "CONTRIBUTING.md").read_text("utf-8"),
    )
    file = tmp_path / "example.py"
    file.write_text(section)
    if kind == "table":
        import pandas as pd

        module = TABLES[str(file)]
        assert issubclass(module.Keys, Captioned)
        shown = [{"experiment": "mine", "classifier": "net"}]
        entry = module.Keys(caption="Mine.", shown=shown)
        certificates = {"mine": pd.DataFrame({"radius": [0.25, 0.5]})}
        (sheet,) = module.lay_out(module.build(entry, certificates, None, {}))
        assert [cell.text for cell in sheet.rows[0]] == ["net", "0.500"]
    elif kind == "dataset":
        module = SOURCES[str(file)]
        packs = module.prepare(module.Keys(splits={"test": 5}), {}, seed=1)
        assert packs["test"].images.shape == (5, 1, 4, 4)
        assert list(packs["test"].labels) == [0, 1, 0, 1, 0]
    else:
        import torch

        module = FAMILIES[str(file)]
        assert all(hasattr(module, name) for name in CONTRACT)
        network = module.build(module.Keys(size=4), classes=3, channels=2)
        assert network(torch.zeros(5, 2, 4, 4)).shape == (5, 3)
