"""Another workflow uses this one as a module, from a folder or from a repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import yaml
from projects import PARTS, ROOT, Project

pytestmark = pytest.mark.slow

#: A workflow with a rule of its own that uses a result of the module.
SNAKEFILE = """
configfile: "my_config.yaml"


module certified:
    snakefile: {snakefile}
    config: config


use rule * from certified


rule counted:
    input:
        "results/tiny/tables/table_tiny.csv",
    output:
        "lines.txt",
    shell:
        "wc -l < {{input}} > {{output}}"
"""

TINY = {
    "seed": 3,
    "datasets": {"digits": {"source": "sklearn_digits",
                            "splits": {"train": 1097, "validation": 200, "test": 500}}},
    "models": {"tiny_cnn": {"like": "digits_cnn", "weights": {"train": {
        "dataset": "digits", "iterations": 20, "batch_size": 64, "learning_rate": 6.0e-3}}}},
    "experiments": {"plain": {
        "dataset": "digits", "denoiser": "none", "classifiers": ["tiny_cnn"], "sigmas": [0.25],
        "n0": 100, "n": 100, "alpha": 0.001, "images": 10, "images_per_shard": 10,
        "plan": "fixed"}},
    "tables": {"table_tiny": {
        "kind": "per_sigma", "caption": "A tiny table.", "radii": [0.0, 0.125],
        "panels": [{"title": "CNN", "experiment": "plain", "classifier": "tiny_cnn"}]}},
}  # fmt: skip


def run(folder, *arguments, **variables):
    """Run Snakemake in a folder that holds nothing of this project."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=folder, env=environment | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    return output


def jobs(output):
    """Return the summary of a dry run: how many jobs of each rule."""
    rows = output.split("Job stats:")[1].split("\n\n")[0].splitlines()
    return {row[0]: int(row[1]) for row in map(str.split, rows) if row and row[-1].isdigit()}


def importing(folder, snakefile, study):
    """Write a workflow that imports this one."""
    (folder / "Snakefile").write_text(SNAKEFILE.format(snakefile=snakefile))
    (folder / "my_config.yaml").write_text(yaml.safe_dump({"study": study}))
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A folder of Snakemake's, into which it has cloned a repository that holds this project."""
    project = Project(tmp_path_factory.mktemp("project"))
    cache = tmp_path_factory.mktemp("cache")
    clones = cache / "snakemake/snakemake/source-cache/snakemake-git-cache"
    bare = clones / "github.com/somebody/certified"
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (
        ["init", "--quiet"], ["add", *PARTS], [*author, "commit", "--quiet", "-m", "all"],
        ["tag", "v1"],
        ["clone", "--quiet", "--bare", ".", str(bare)],
    ):  # fmt: skip
        subprocess.run(["git", *command], cwd=project.folder, check=True)
    return cache


def test_a_module_runs_a_study_and_its_results_are_used(tmp_path):
    importing(tmp_path, repr(str(ROOT / "workflow/Snakefile")), "tiny.yaml")
    run(tmp_path, "counted")
    assert int((tmp_path / "lines.txt").read_text()) == 3
    assert "Nothing to be done" in run(tmp_path, "counted")


def test_a_module_may_be_read_from_a_hosted_repository(tmp_path, cache):
    hosted = 'github("somebody/certified", path="workflow/Snakefile", tag="v1")'
    importing(tmp_path, hosted, "tiny.yaml")
    run(tmp_path, "counted", XDG_CACHE_HOME=str(cache))
    assert int((tmp_path / "lines.txt").read_text()) == 3


def test_every_way_in_gives_the_same_jobs(tmp_path):
    importing(tmp_path, repr(str(ROOT / "workflow/Snakefile")), "digits")
    clone = tmp_path / "clone"
    clone.mkdir()
    project = Project(clone)
    ways = [
        run(tmp_path, "--dry-run", "all"),
        run(project.folder, "--dry-run", "all"),
        run(project.folder, "--dry-run", "--snakefile", "workflow/Snakefile"),
        run(project.folder, "--dry-run"),
    ]
    assert len({str(jobs(output)) for output in ways}) == 1
    assert jobs(ways[0])["certify_shard"] > 10
    assert all(re.search("Using workflow specific profile profiles/default", w) for w in ways[1:])
