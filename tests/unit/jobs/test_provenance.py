"""Where a result comes from is recorded as far as it can be known, and summed up over parts."""

import logging
import os
import re
import subprocess
from pathlib import Path

import pytest

from jobs import provenance
from jobs.provenance import Provenance, summarize

ROOT = Path(__file__).parents[3]


def record(**changes):
    return {
        "images": "images_00000-00009", "sigma": 0.25, "device": "A", "samples": 10,
        "seconds": 1.5, "started": "2026-01-02T00:00:00", "finished": "2026-01-02T01:00:00",
    } | changes  # fmt: skip


def test_records_that_are_read_one_by_one_are_summed_up():
    summary = summarize(iter([
        record(),
        record(started="2026-01-01T00:00:00"),
        record(sigma=0.5, device="B", samples=5, finished="2026-01-03T00:00:00"),
    ]))  # fmt: skip
    assert summary == {
        "parts": 3, "samples": 25, "seconds": 4.5, "device": ["A", "B"],
        "seconds_by_sigma": {"0.25": 3.0, "0.5": 1.5},
        "started": "2026-01-01T00:00:00", "finished": "2026-01-03T00:00:00",
    }  # fmt: skip


def test_energy_is_summed_up_where_every_part_has_it():
    assert summarize([record(joules=1.5), record(joules=2.0)])["joules"] == 3.5
    assert "joules" not in summarize([record(joules=1.5), record()])


@pytest.fixture
def git(tmp_path, monkeypatch):
    """Put a git on PATH, alone, that does what it is told."""

    def make(script):
        command = tmp_path / "git"
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return make


def test_the_commit_is_known_whoever_owns_the_checkout(monkeypatch):
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # as git's own tests do
    refused = subprocess.run(["git", "status"], cwd=ROOT, capture_output=True, check=False)
    assert refused.returncode == 128
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?", Provenance().finish()["commit"])


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exec /bin/sleep 600", "git does not answer within 0.2 s"),
        ("/bin/sleep 5 & wait", "git does not answer within 0.2 s"),
        ("echo 'fatal: not a git repository' >&2; exit 128", "fatal: not a git repository"),
        ("exit 1", "git says nothing"),
        (None, "git cannot be run (No such file or directory)"),
    ],
)
def test_a_git_that_is_missing_or_hangs_stops_nothing(git, monkeypatch, caplog, script, said):
    monkeypatch.setattr(provenance, "_PATIENCE", 0.2)
    git(script or "")
    if script is None:
        monkeypatch.setenv("PATH", "/nowhere")
    with caplog.at_level(logging.INFO):
        record = Provenance().finish(samples=1)
    assert record["commit"] is None
    assert record["samples"] == 1
    assert caplog.messages == [f"the commit of this code is not recorded: {said}"]


def test_git_is_asked_before_the_work(git, monkeypatch):
    git("echo 0123")
    started = Provenance()
    monkeypatch.setattr(subprocess, "run", lambda *command, **options: pytest.fail("too late"))
    assert started.finish()["commit"] == "0123"
    assert os.environ.get("GIT_OPTIONAL_LOCKS") is None
