"""What the Makefile sets up, beside what its targets run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


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
