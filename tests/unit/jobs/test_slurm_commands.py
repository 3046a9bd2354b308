"""SLURM's commands answer the same, whatever the user has set for his own use of them."""

import os

import pytest

from jobs.processes import slurm_runs
from jobs.slurm_commands import ask


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """A stand-in that shows a job to whoever asks for jobs of all partitions, and the time."""
    script = tmp_path / "squeue"
    script.write_text('#!/bin/sh\n[ -n "$SQUEUE_PARTITION" ] || echo $SLURM_TIME_FORMAT\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SQUEUE_PARTITION", "cpu")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "%a %T")


def test_no_filter_of_the_user_counts(squeue):
    assert ask("squeue") == "standard\n"
    assert slurm_runs("4711")
    assert os.environ["SQUEUE_PARTITION"] == "cpu"


def test_a_command_that_is_not_there_or_hangs_has_no_answer(squeue):
    assert ask("no-such-command") is None
    assert ask("sleep", "60", timeout=0.1) is None
