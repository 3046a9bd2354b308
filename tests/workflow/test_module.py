"""Another workflow uses this one as a module, from a folder or from a repository.

So does the workflow that `snakedeploy` writes, as catalogues of workflows tell their readers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from containers_standin import lay_tools
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
def project(tmp_path_factory):
    """A repository that holds this project, with a tag."""
    project = Project(tmp_path_factory.mktemp("project"))
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (
        ["init", "--quiet"], ["add", *PARTS], [*author, "commit", "--quiet", "-m", "all"],
        ["tag", "v1"],
    ):  # fmt: skip
        subprocess.run(["git", *command], cwd=project.folder, check=True)
    return project


@pytest.fixture(scope="module")
def cache(project, tmp_path_factory):
    """A folder of Snakemake's, into which it has cloned the repository from its public host."""
    cache = tmp_path_factory.mktemp("cache")
    clones = cache / "snakemake/snakemake/source-cache/snakemake-git-cache"
    bare = clones / "github.com/somebody/certified"
    command = ["git", "clone", "--quiet", "--bare", project.folder, bare]
    subprocess.run(command, check=True)
    return cache


#: What `snakedeploy deploy-workflow` 0.17 writes for a repository on a public host.
DEPLOYED = """
from snakemake.utils import min_version


min_version("6.10.0")


configfile: "config/config.yaml"


module certified:
    snakefile:
        github("somebody/certified", path="workflow/Snakefile", tag="v1")
    config:
        config


use rule * from certified
"""


def deploy(folder, project):
    """Do what `snakedeploy deploy-workflow ADDRESS . --tag v1` does in an empty folder."""
    for part in ("config", "profiles"):
        shutil.copytree(project.folder / part, folder / part)
    shutil.copy(project.folder / "LICENSE", folder)
    (folder / "workflow").mkdir()
    (folder / "workflow/Snakefile").write_text(DEPLOYED)


def ran_in_containers(asked, script):
    """Return the folders that containers of a script's jobs saw, and how each was started."""
    lines = asked.read_text().splitlines()
    return [line.split(" | ", 1) for line in lines if f".{script}.py" in line]


def test_a_module_runs_a_study_in_containers_and_its_results_are_used(tmp_path):
    importing(tmp_path, repr(str(ROOT / "workflow/Snakefile")), "tiny.yaml")
    (tmp_path / "dds.sif").touch()
    tools, asked = lay_tools(tmp_path)
    counted = ("counted", "--sdm", "apptainer", "--config", "container=dds.sif")
    run(tmp_path, *counted, **tools)
    assert int((tmp_path / "lines.txt").read_text()) == 3
    ((seen, asks),) = ran_in_containers(asked, "certify_shard")
    assert str(ROOT) in seen.split(",")  # which holds the packages that the script imports
    assert re.search(r" dds.sif (ba)?sh -c ", asks)
    assert "Nothing to be done" in run(tmp_path, *counted, **tools)


def test_a_deployed_workflow_runs_the_study_in_its_own_config(tmp_path, project, cache):
    """In environments of conda's inside containers, as no path of this project is on its own."""
    deploy(tmp_path, project)
    (tmp_path / "config/studies/digits.yaml").write_text(yaml.safe_dump(TINY))
    (tmp_path / "dds.sif").touch()
    tools, asked = lay_tools(tmp_path)
    run(
        tmp_path, "table_tiny", "--sdm", "conda", "apptainer", "--config", "container=dds.sif",
        XDG_CACHE_HOME=str(cache), **tools,
    )  # fmt: skip
    assert (tmp_path / "results/digits/tables/table_tiny.csv").is_file()
    (checkout,) = (cache / "snakemake/snakemake/source-cache/checkouts").iterdir()
    ((seen, asks),) = ran_in_containers(asked, "certify_shard")
    assert str(checkout) in seen.split(",")
    assert re.search(r"^exec --home \S+ --nv .*/\.snakemake/conda/", asks)


def test_rules_are_read_from_the_folder_that_holds_what_they_name():
    """One that was read from a repository alone would find no package in a conda environment."""
    (first, *others) = re.findall("(?m)^include: (.*)$", (ROOT / "workflow/Snakefile").read_text())
    assert first == '"rules/common.smk"'  # which finds that folder
    rules = {path.name for path in (ROOT / "workflow/rules").iterdir()} - {"common.smk"}
    assert sorted(others) == sorted(f'f"{{ROOT}}/workflow/rules/{name}"' for name in rules)


def test_every_way_in_gives_the_same_jobs(tmp_path, project, cache):
    importing(tmp_path, repr(str(ROOT / "workflow/Snakefile")), "digits")
    deployed = tmp_path / "deployed"
    deployed.mkdir()
    deploy(deployed, project)
    ways = [
        run(tmp_path, "--dry-run", "all"),
        run(project.folder, "--dry-run", "all"),
        run(project.folder, "--dry-run", "--snakefile", "workflow/Snakefile"),
        run(project.folder, "--dry-run"),
        run(deployed, "--dry-run", XDG_CACHE_HOME=str(cache)),
    ]
    assert len({str(jobs(output)) for output in ways}) == 1
    assert jobs(ways[0])["certify_shard"] > 10
    assert all(re.search("Using workflow specific profile profiles/default", w) for w in ways[1:])
