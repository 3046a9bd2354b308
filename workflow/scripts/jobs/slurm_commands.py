"""SLURM's commands, which answer here whatever is asked, however the user likes to see it."""

from __future__ import annotations

import os
import subprocess

# By these users have the commands show or do less than they are told to, as SQUEUE_PARTITION.
_HABITS = ("SACCT_", "SCANCEL_", "SINFO_", "SQUEUE_")


def plain_environment() -> dict[str, str]:
    """Return this process's environment without what changes the answers of SLURM's commands."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_HABITS)}
    return kept | {"SLURM_TIME_FORMAT": "standard"}


def ask(*command: str, timeout: float | None = None) -> str | None:
    """Return what one of SLURM's commands prints; None where it fails, too: see `run`."""
    answer = run(*command, timeout=timeout)
    return None if answer is None or answer.returncode else answer.stdout


def run(*command: str, timeout: float | None = None) -> subprocess.CompletedProcess[str] | None:
    """Run one of SLURM's commands.

    Parameters
    ----------
    *command : str
        The command and its arguments.
    timeout : float, optional
        Seconds to wait for it; by default as long as it takes.

    Returns
    -------
    subprocess.CompletedProcess or None
        None where it could not be run, or not in time.
    """
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False,
            timeout=timeout, env=plain_environment(),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
