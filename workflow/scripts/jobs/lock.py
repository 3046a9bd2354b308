"""One writer for each shard, across hosts and restarts."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from dds.progress import Interrupted

#: Seconds between two heartbeats of a lock holder, after how many without one the lock is
#: stale, between two looks at a lock that is waited for, and to wait for squeue.
HEARTBEAT = 15.0
STALE_AFTER = 120.0
LOOK = 5.0
PATIENCE = 60.0

_KEYS = {"host", "pid", "process_started", "slurm_job", "since", "token"}

_log = logging.getLogger("lock")


class Locked(RuntimeError):
    """Another job has taken the lock over."""


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
        with suppress(FileNotFoundError):
            owner = read_owner(self.path)
            if owner.get("token") == self._token:
                return
            raise Locked(f"{self.path} was taken over by {describe(owner)}; nothing was written")
        raise Locked(f"{self.path} was removed; nothing was written")


@contextmanager
def hold(path: str | Path, *, stop: Callable[[], bool] = lambda: False) -> Iterator[Lock]:
    """Hold a lock for the length of the block; wait while another live job holds it.

    A stale lock does not block: its holder is a process of this host that is gone, an
    earlier run of this SLURM job, a SLURM job that does not run any more, or one without a
    heartbeat for `STALE_AFTER` seconds. Should such a holder live after all, `Lock.verify`
    stops it.

    Parameters
    ----------
    path : str or Path
        The lock file; removed at the end.
    stop : callable, optional
        Asked while waiting; when true, the wait ends.

    Yields
    ------
    Lock
        To `verify` before writing what the lock protects.

    Raises
    ------
    Interrupted
        If the wait was stopped.
    OSError
        If the lock file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = _myself()
    waiting = False
    while (file := _create(path, owner)) is None:
        try:
            holder = read_owner(path)
        except FileNotFoundError:  # released in the meantime
            continue
        if not _is_alive(path, holder, owner):
            _log.info("%s was left by %s, which is gone", path, describe(holder))
            _remove(path, holder)
            continue
        if not waiting:
            _log.info("%s is held by %s; waiting for its end", path, describe(holder))
            waiting = True
        if stop():
            raise Interrupted(f"stopped while waiting for {path}, held by {describe(holder)}")
        time.sleep(LOOK)
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(file, ended), daemon=True)
    heart.start()
    try:
        yield Lock(path, owner["token"])
    finally:
        ended.set()
        heart.join()
        file.close()
        _remove(path, owner)


def read_owner(path: str | Path) -> dict[str, Any]:
    """Read who holds a lock.

    Parameters
    ----------
    path : str or Path
        The lock file.

    Returns
    -------
    dict
        ``host``, ``pid``, ``process_started``, ``slurm_job``, ``since`` and ``token``; empty
        if the file does not say, as after a power failure.

    Raises
    ------
    FileNotFoundError
        If nobody holds it.
    """
    try:
        owner = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) and owner.keys() >= _KEYS else {}


def describe(owner: dict[str, Any]) -> str:
    """Say who holds a lock, in a few words.

    Parameters
    ----------
    owner : dict
        From `read_owner`.

    Returns
    -------
    str
    """
    if not owner:
        return "an unknown job"
    job = f"SLURM job {owner['slurm_job']}, " if owner["slurm_job"] else ""
    return f"{job}process {owner['pid']} on {owner['host']} since {owner['since']}"


def _myself() -> dict[str, Any]:
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "process_started": _process_start(pid),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "token": uuid.uuid4().hex,
    }


def _create(path: Path, owner: dict[str, Any]) -> IO[str] | None:
    """Make the lock file, whole, and return it open; None where it exists."""
    temporary = path.with_name(f"{path.name}.{owner['token']}")
    file = temporary.open("x", encoding="utf-8")
    try:
        file.write(json.dumps(owner))
        file.flush()
        os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
        if os.fstat(file.fileno()).st_nlink == 2:  # on NFS the answer of link() may get lost
            return file
        file.close()
        return None
    except OSError:
        with suppress(OSError):
            file.close()
        raise
    finally:
        temporary.unlink()


def _remove(path: Path, owner: dict[str, Any]) -> None:
    """Remove the lock if it is still `owner`'s.

    It is moved away first, so that of two jobs that find the same stale lock one removes
    it, and is read again, in case the other has removed it and made one of its own.
    """
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if read_owner(aside).get("token") != owner.get("token"):
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()


def _is_alive(path: Path, holder: dict[str, Any], me: dict[str, Any]) -> bool:
    if holder:
        if holder["host"] == me["host"]:
            return _process_start(holder["pid"]) == holder["process_started"]
        if holder["slurm_job"] and (
            holder["slurm_job"] == me["slurm_job"]  # requeued: its earlier run is over
            or _slurm_runs(holder["slurm_job"]) is False
        ):
            return False
    return _age(path) < STALE_AFTER


def _process_start(pid: int) -> str | None:
    """Return when a process of this host started, in clock ticks; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]


def _slurm_runs(job: str) -> bool | None:
    """Tell whether a SLURM job runs, and does not wait for a new start; None if unknown."""
    try:
        answer = subprocess.run(
            [
                "squeue",
                "--noheader",
                "--states",
                "RUNNING,SUSPENDED,COMPLETING",
                "--jobs",
                job,
                "--format",
                "%T",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0:
        return False if "Invalid job id" in answer.stderr else None
    return bool(answer.stdout.strip())


def _age(path: Path) -> float:
    """Seconds since the holder's last heartbeat, by the file system's own clock."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
    finally:
        probe.unlink(missing_ok=True)


def _beat(file: IO[str], ended: threading.Event) -> None:
    """Touch the file that was made, never one that another job has put in its place."""
    while not ended.wait(HEARTBEAT):
        with suppress(OSError):
            os.utime(file.fileno())
