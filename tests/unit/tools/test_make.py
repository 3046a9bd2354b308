"""What the Makefile sets up, beside what its targets run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _not_inside_of_make(monkeypatch):
    """What `make test` hands on would have another make say which folder it enters."""
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        monkeypatch.delenv(name, raising=False)


def test_the_environment_may_lie_on_another_disk(tmp_path):
    elsewhere, project = tmp_path / "disk" / "environment", tmp_path / "project"
    elsewhere.parent.mkdir()
    (project / "envs").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", project)
    (project / "envs" / "requirements.lock").touch()
    (project / ".venv").symlink_to(elsewhere)
    made = ["make", ".venv/ready", f"PYTHON={sys.executable}"]
    for _ in range(2):  # it is made, and then brought up to a newer lock
        subprocess.run(made, cwd=project, check=True, capture_output=True)
        (project / ".venv" / "ready").unlink()
    assert (project / ".venv").is_symlink()
    assert (elsewhere / "bin" / "python").exists()
    (elsewhere / ".hidden").touch()
    subprocess.run(["make", "clean"], cwd=project, check=True, capture_output=True)
    assert not list(elsewhere.iterdir())
    subprocess.run(made, cwd=project, check=True, capture_output=True)
    assert (elsewhere / "bin" / "python").exists()


def test_an_environment_of_another_python_is_not_mixed_with_this_one(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "requirements.lock").touch()
    (tmp_path / ".venv" / "lib" / "python3.10").mkdir(parents=True)
    made = ["make", "status", f"PYTHON={sys.executable}"]
    answer = subprocess.run(made, cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode != 0
    assert answer.stdout.startswith("make: .venv is of python3.10, and ")
    assert "make clean" in answer.stdout
    assert not (tmp_path / ".venv" / "bin").exists()


@pytest.fixture
def recorded(tmp_path):
    """The Makefile beside an environment whose programs print their arguments, one a line."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "requirements.lock").touch()
    for program in ("python", "snakemake"):
        file = tmp_path / ".venv" / "bin" / program
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        file.chmod(0o755)
    (tmp_path / ".venv" / "ready").touch()
    return tmp_path


@pytest.mark.parametrize("target", ["status", "costs", "archive", "report", "rebuild"])
def test_a_study_and_a_deposit_may_have_spaces_in_their_paths(recorded, target):
    study, deposit = "../my pets/mine.yaml", "my deposits/mine.tar.gz"
    made = ["make", target, f"STUDY={study}", f"DEPOSIT={deposit}"]
    answer = subprocess.run(made, cwd=recorded, check=True, capture_output=True, text=True)
    words = [word.removeprefix("study=").removeprefix("deposit=") for word in
             answer.stdout.splitlines()]  # fmt: skip
    assert study in words
    assert deposit in words


@pytest.mark.parametrize("target", ["status", "costs", "archive", "report", "demo"])
def test_the_configuration_names_the_study_where_nothing_else_does(recorded, target):
    made = ["make", target, "STUDY="]
    answer = subprocess.run(made, cwd=recorded, check=True, capture_output=True, text=True)
    assert "digits" not in answer.stdout
    assert "" not in answer.stdout.splitlines()


def test_to_rebuild_a_study_needs_a_deposit(recorded):
    made = ["make", "rebuild", "STUDY=paper"]
    answer = subprocess.run(made, cwd=recorded, capture_output=True, text=True)
    assert answer.returncode != 0
    assert answer.stdout == ""
    assert "make rebuild needs DEPOSIT=" in answer.stderr


def test_clean_leaves_no_environment(recorded):
    for _ in range(2):
        subprocess.run(["make", "clean"], cwd=recorded, check=True, capture_output=True)
        assert not (recorded / ".venv").exists()
    (recorded / ".venv").symlink_to("a/disk/that/is/not/there")
    subprocess.run(["make", "clean"], cwd=recorded, check=True, capture_output=True)
    assert (recorded / ".venv").is_symlink()
