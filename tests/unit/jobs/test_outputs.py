"""A job that fails loses nothing that it found, however many Snakemakes run one within another."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import jobs

SCRIPTS = Path(jobs.__file__).parents[1]

WORKFLOW = f"""
import sys
sys.path.insert(0, {str(SCRIPTS)!r})
from jobs.outputs import keep_updated_outputs

keep_updated_outputs()

rule certify:
    output:
        votes=update("votes"), record=update("record"), other="other",
    shell:
        "echo new > votes; echo > other; exit 1"
"""

# What starts a job's step on a cluster, without one.
SRUN = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
exec "$@"
"""


@pytest.mark.parametrize("executor", ["local", "slurm-jobstep"])
def test_what_a_failed_job_found_stays(tmp_path, executor):
    (tmp_path / "Snakefile").write_text(WORKFLOW)
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    (tmp_path / "record").write_text("old")
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    answer = subprocess.run(
        [sys.executable, "-m", "snakemake", "--executor", executor, "--jobs", "1", "--force",
         "votes"],
        cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Error in rule certify" in answer.stderr
    assert (tmp_path / "record").read_text() == "old"
    assert (tmp_path / "votes").read_text() == "new\n"  # such a job writes whole files
    assert not (tmp_path / "other").exists()
