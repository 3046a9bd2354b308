"""The SLURM profile, with its examples filled in, fits the workflow's rules."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from snakemake.cli import parse_args

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "slurm" / "profile.v9+.yaml"
README = ROOT / "slurm" / "README.md"

#: Each command of the README that runs Snakemake.
COMMANDS = re.findall(r"(?m)^    snakemake (.*?)(?: +#.*)?$", README.read_text())


def example():
    """Return the profile's resources with every line that a site may uncomment."""
    block = re.search(r"(?m)^default-resources:\n(?:  .*\n)+", PROFILE.read_text())[0]
    return re.sub(r"(?m)^  # (\w+:)", r"  \1", block)


@pytest.fixture
def project(tmp_path):
    """A folder with the project's files, and a site's file."""
    for part in ("Snakefile", "config", "envs", "notebooks", "profiles", "slurm", "workflow"):
        (tmp_path / part).symlink_to(ROOT / part)
    site = "software-deployment-method: env-modules\n" + example()
    (tmp_path / "my_site.yaml").write_text(site)
    return tmp_path


@pytest.fixture
def study(project):
    """The paper in few shards, which are planned faster."""
    paper = yaml.safe_load((ROOT / "config/studies/paper.yaml").read_text())
    for experiment in paper["experiments"].values():
        experiment["images_per_shard"] = 10000
    (project / "few_shards.yaml").write_text(yaml.safe_dump(paper))
    return "few_shards.yaml"


def test_every_job_goes_where_its_kind_belongs(project, study):
    """With a rule's time changed, as the README says, and a rule for every kind of work."""
    (command,) = (command for command in COMMANDS if "--set-resources" in command)
    answer = subprocess.run(
        [sys.executable, "-m", "snakemake", "--profile", "slurm", "--profile", "my_site.yaml",
         "--dry-run", *shlex.split(command)[2:], "--config", f"study={study}"],
        cwd=project, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT / "workflow" / "scripts")},
    )  # fmt: skip
    output = answer.stdout + answer.stderr
    assert answer.returncode == 0, output
    found = re.findall(r"(?m)^rule (\w+):\n(?:    .*\n)*?    resources: (.*)$", output)
    jobs = [(rule, dict(item.split("=", 1) for item in items.split(", "))) for rule, items in found]
    assert {"certify_shard", "measure_accuracy", "draw_pictures", "finetune_classifier"} <= {
        rule for rule, resources in jobs if "gpu" in resources
    }
    assert {"compute_certificates", "render_paper"} <= {
        rule for rule, resources in jobs if "gpu" not in resources
    }
    keys = ("slurm_partition", "slurm_account", "gpu_model")
    for rule, resources in jobs:
        assert tuple(map(resources.get, keys)) == (
            ("gpu", "my_gpus", "a100") if "gpu" in resources else ("cpu", "my_project", None)
        )
        assert int(resources["runtime"]) > 0
        assert int(resources["mem_mb"]) > 0
        if rule == "certify_shard":
            assert (resources["runtime"], resources["mem_mb"]) == ("240", "32000")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_readme_are_understood(command, project, monkeypatch):
    monkeypatch.chdir(project)
    _, arguments = parse_args(shlex.split(command))
    assert arguments.targets in (["all"], [])
    assert arguments.executor == "slurm"
    assert yaml.safe_load(PROFILE.read_text())["retries"] == arguments.retries
    assert "slurm_partition" not in arguments.default_resources or "my_site" in command
