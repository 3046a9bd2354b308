"""One writer for each shard, across hosts and restarts."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

#: Seconds between the signs of life of a holder, and after how many without one a
#: holder on another host counts as dead when SLURM does not know better.
HEARTBEAT = 15.0
STALE_AFTER = 120.0


class Locked(RuntimeError):
    """Another live job holds the lock."""


class Lock:
    """A lock file that says who holds it; made by `hold`."""

    def __init__(self, path: Path, token: str) -> None:
        self.path = path
        self._token = token

    def verify(self) -> None:
        """Make sure that nobody has taken the lock over.

        Raises
        ------
        Locked
            If another job holds it by now. The caller must not write.
        """
        owner = _read(self.path)
        if owner is None or owner["token"] != self._token:
            raise Locked(f"{self.path} was taken over by {_describe(owner)}; nothing was written")


@contextmanager
def hold(path: str | Path) -> Iterator[Lock]:
    """Hold a lock for the length of the block.

    A holder that died does not block: one on this host whose process is gone, an
    earlier run of this SLURM job, one whose SLURM job is gone, or one on another
    host that has shown no sign of life for `STALE_AFTER` seconds.

    Parameters
    ----------
    path : str or Path
        The lock file; removed at the end.

    Yields
    ------
    Lock
        To `verify` before writing what the lock protects.

    Raises
    ------
    Locked
        If a live job holds the lock; the message says which.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = _myself()
    while not _create(path, owner):
        holder = _read(path)
        if holder is None:  # released in the meantime, or not yet written
            time.sleep(0.05)
        elif _is_alive(path, holder, owner):
            raise Locked(f"{path} is held by {_describe(holder)}; leaving the shard to it")
        else:
            _remove(path, holder)
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(path, ended), daemon=True)
    heart.start()
    try:
        yield Lock(path, owner["token"])
    finally:
        ended.set()
        heart.join()
        _remove(path, owner)


def _myself() -> dict[str, Any]:
    pid = os.getpid()
    return {
        "host": socket.gethostname(), "pid": pid, "process_started": _process_start(pid),
        "slurm_job": os.environ.get("SLURM_JOB_ID"), "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "token": uuid.uuid4().hex,
    }  # fmt: skip


def _create(path: Path, owner: dict[str, Any]) -> bool:
    """Make the lock file, whole, unless it exists."""
    temporary = path.with_name(f"{path.name}.{owner['token']}")
    temporary.write_text(json.dumps(owner), encoding="utf-8")
    try:
        os.link(temporary, path)  # fails where the name exists, on NFS too
        return True
    except FileExistsError:
        return False
    finally:
        temporary.unlink()


def _remove(path: Path, owner: dict[str, Any]) -> None:
    """Remove the lock if it is still `owner`'s.

    It is moved away first, so that of two jobs that find the same dead holder one
    removes it, and is looked at again, in case the other was quicker by a whole turn.
    """
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    moved = _read(aside)
    if moved is not None and moved["token"] != owner["token"]:
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _describe(owner: dict[str, Any] | None) -> str:
    if owner is None:
        return "nobody"
    job = f"SLURM job {owner['slurm_job']}, " if owner["slurm_job"] else ""
    return f"{job}process {owner['pid']} on {owner['host']} since {owner['since']}"


def _is_alive(path: Path, holder: dict[str, Any], me: dict[str, Any]) -> bool:
    if holder["host"] == me["host"]:
        return _process_start(holder["pid"]) == holder["process_started"]
    if holder["slurm_job"] and holder["slurm_job"] == me["slurm_job"]:
        return False  # this job was requeued: its earlier run is over
    if holder["slurm_job"] and (known := _slurm_knows(holder["slurm_job"])) is not None:
        return known
    return _age(path) < STALE_AFTER


def _process_start(pid: int) -> str | None:
    """Return when a process of this host started, in clock ticks; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _slurm_knows(job: str) -> bool | None:
    """Tell whether SLURM still has a job; None where it cannot be asked."""
    if shutil.which("squeue") is None:
        return None
    answer = subprocess.run(
        ["squeue", "--noheader", "--states", "PENDING,RUNNING,SUSPENDED,COMPLETING",
         "--jobs", job, "--format", "%T"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if answer.returncode != 0:
        return False if "Invalid job id" in answer.stderr else None
    return bool(answer.stdout.strip())


def _age(path: Path) -> float:
    """Seconds since the holder's last sign of life, by the file system's own clock."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
    finally:
        probe.unlink(missing_ok=True)


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT):
        with suppress(OSError):
            os.utime(path)
