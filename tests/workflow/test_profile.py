"""The SLURM profile, with its examples filled in, fits the workflow's rules."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "slurm" / "profile.v9+.yaml"

#: The profile's block for GPU jobs, which a site uncomments.
GPU_BLOCK = re.search(r"(?m)^# set-resources:\n(?:#   .*\n)+", PROFILE.read_text())[0]


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """Resources of every job that the digits study sends to a cluster, with its rule."""
    folder = tmp_path_factory.mktemp("project")
    for part in ("Snakefile", "config", "envs", "notebooks", "slurm", "workflow"):
        (folder / part).symlink_to(ROOT / part)
    site = {
        "software-deployment-method": "env-modules",
        "default-resources": {"slurm_partition": "cpus", "mem_mb": 4000, "runtime": 60},
        "config": {"study": "digits"},
    }
    (folder / "site.yaml").write_text(
        yaml.safe_dump(site) + re.sub(r"(?m)^# ?", "", GPU_BLOCK)
    )  # fmt: skip
    answer = subprocess.run(
        [sys.executable, "-m", "snakemake", "--profile", "slurm", "--profile", "site.yaml",
         "--dry-run", "all"],
        cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT / "workflow" / "scripts")},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    jobs = re.findall(
        r"(?m)^rule (\w+):\n(?:    .*\n)*?    resources: (.*)$", answer.stdout + answer.stderr
    )
    return [(rule, dict(item.split("=") for item in items.split(", "))) for rule, items in jobs]


def test_the_gpu_block_names_the_rules_that_take_a_gpu(planned):
    named = set(yaml.safe_load(re.sub(r"(?m)^# ?", "", GPU_BLOCK))["set-resources"])
    assert named == {rule for rule, resources in planned if "gpu" in resources}


def test_jobs_go_to_the_partition_of_their_kind(planned):
    for _, resources in planned:
        kind = {key: resources.get(key) for key in ("slurm_partition", "gpu", "gpu_model")}
        assert kind in (
            {"slurm_partition": "gpu", "gpu": "1", "gpu_model": "a100"},
            {"slurm_partition": "cpus", "gpu": None, "gpu_model": None},
        )


def test_every_job_says_its_time_and_memory(planned):
    rules = {rule for rule, _ in planned}
    assert {"certify_shard", "compute_certificates", "render_paper"} <= rules
    for _, resources in planned:
        assert int(resources["runtime"]) > 0
        assert int(resources["mem_mb"]) > 0
