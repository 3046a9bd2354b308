"""Which process this is, and whether another one that said so of itself still lives."""

from __future__ import annotations

import os
import re
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jobs.slurm_commands import run

#: Seconds between two signs of life that a job gives in its files, and after how many without
#: one it is taken for dead by whoever cannot see its process; and after how many where SLURM says
#: so, too. SLURM alone may be that of another cluster, or have lost its jobs while they run on.
HEARTBEAT = 15.0
STALE_AFTER = 120.0
SILENT_AFTER = 3 * HEARTBEAT

#: Seconds to wait for squeue. Whoever asks heeds no signal meanwhile, and SLURM kills a job
#: 30 s after it has told it to end (KillWait).
PATIENCE = 15.0

_PROC = Path("/proc")

#: What `this_process` says, and how each value is known to be one.
_FIELDS = {
    "host": lambda value: isinstance(value, str),
    "pid": lambda value: type(value) is int and 0 < value < 2**31,
    "process_started": lambda value: value is None or isinstance(value, str),
    "slurm_job": lambda value: (
        value is None or (isinstance(value, str) and re.fullmatch(r"\d+([_+.]\d+)*", value))
    ),
}


def this_process() -> dict[str, Any]:
    """Return what tells this process from every other.

    Returns
    -------
    dict
        ``host``; ``pid_namespace``, None where the system has none; ``pid``;
        ``process_started``, in clock ticks, None where the system does not say it; and
        ``slurm_job``, None outside SLURM.
    """
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "pid_namespace": _pid_namespace(),
        "pid": pid,
        "process_started": _started(pid),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def names_a_process(value: Any) -> bool:
    """Tell whether a value, as read from a file, has what `this_process` returns."""
    return isinstance(value, dict) and all(
        key in value and is_right(value[key]) for key, is_right in _FIELDS.items()
    )


def describe(process: Mapping[str, Any]) -> str:
    """Name a process in a few words: its SLURM job, number and host."""
    job = f"SLURM job {process['slurm_job']}, " if process["slurm_job"] else ""
    return f"{job}process {process['pid']} on {process['host']}"


def is_alive(process: Mapping[str, Any]) -> bool | None:
    """Tell whether a process lives, as far as this host can see it.

    Parameters
    ----------
    process : mapping
        What `this_process` returned there.

    Returns
    -------
    bool or None
        None where it cannot be known from here, as of a process on another host.
    """
    here = process["host"] == socket.gethostname()
    if not here or process.get("pid_namespace") != _pid_namespace():
        return None
    try:
        os.kill(process["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    started = _started(process["pid"])
    if None in (started, process["process_started"]):
        return None  # the number may have been given to another process since
    return started == process["process_started"]


def seems_alive(process: Mapping[str, Any], sign: float, now: float) -> bool:
    """Tell whether a process lives; by its last sign of life where it cannot be seen.

    Parameters
    ----------
    process : mapping
        What `this_process` returned there; empty where that is not known.
    sign : float
        When a file was changed that it changes every `HEARTBEAT` seconds.
    now : float
        The time by the same clock; see `files_clock`.
    """
    seen = is_alive(process) if process else None
    return abs(now - sign) < STALE_AFTER if seen is None else seen


def files_clock(folder: str | Path) -> float:
    """Return the time by the clock that says when files of a folder are changed.

    It may be a file server's, minutes from this host's. This host's is taken where nothing can
    be written, as where one may only read. No file is left.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:
        return time.time()


def slurm_runs(job: str) -> bool | None:
    """Tell whether a SLURM job runs, and does not wait for a new start; None if unknown."""
    states = "RUNNING,SUSPENDED,COMPLETING"
    answer = run("squeue", "--noheader", "--states", states, "--jobs", job, "--format", "%T",
                 timeout=PATIENCE)  # fmt: skip
    if answer is None:
        return None
    if answer.returncode != 0:
        return False if "Invalid job id" in answer.stderr else None
    return bool(answer.stdout.strip())


def _started(pid: int) -> str | None:
    """Return when a process started, in clock ticks; None where /proc does not show it."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "ended, and not waited for" if fields[0] == "Z" else fields[19]


def _pid_namespace() -> str | None:
    """Return what tells this host's process numbers from those inside its containers."""
    with suppress(OSError):
        return os.readlink(_PROC / "self" / "ns" / "pid")
    return None
