"""One writer for each result, across hosts and restarts.

A lock is a file that says who holds it, and whose time of change is the holder's heartbeat. It
needs no locks of the file system, which shared ones often lack between hosts. It is looked at,
made and removed by one process of a host at a time, so that nothing changes in between.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from dds.progress import Interrupted
from jobs import processes, running
from jobs.processes import (
    HEARTBEAT,
    SILENT_AFTER,
    STALE_AFTER,
    files_clock,
    is_alive,
    names_a_process,
    slurm_runs,
    this_process,
)

#: Seconds between two looks at a lock that is waited for.
LOOK = 5.0

_MOST_BYTES = 4096  # of a lock; what is longer is none

# How often another process of this host may be found to look after the locks of a folder, which
# takes it milliseconds, until it is taken to be stopped.
_TRIES, _PAUSE = 500, 0.01

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

    A stale lock does not block: its holder is a process of this host that is gone, or one
    without a heartbeat for `STALE_AFTER` seconds, by whatever clock; for `SILENT_AFTER`, if it
    is of an earlier run of this SLURM job, or of a SLURM job that does not run any more. Should
    such a holder live after all, `Lock.verify` stops it.

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
        If the lock file cannot be written, or something else lies in its place.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = this_process() | {
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "token": uuid.uuid4().hex,
    }
    file = _wait_for(path, owner, stop)
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(file, ended), daemon=True)
    heart.start()
    try:
        yield Lock(path, owner["token"])
    finally:
        ended.set()
        heart.join()
        file.close()
        with suppress(OSError), _alone_on_this_host(path.parent):
            if read_owner(path).get("token") == owner["token"]:
                path.unlink()


def read_owner(path: str | Path) -> dict[str, Any]:
    """Read who holds a lock.

    Parameters
    ----------
    path : str or Path
        The lock file.

    Returns
    -------
    dict
        What `jobs.processes.this_process` returned there, ``since`` and ``token``; empty
        if the file does not say, as after a power failure.

    Raises
    ------
    FileNotFoundError
        If nobody holds it.
    OSError
        If something else lies in its place: a folder, a link, a pipe.
    """
    return _read(Path(path))[0]


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
    return f"{processes.describe(owner)} since {owner['since']}" if owner else "an unknown job"


def _wait_for(path: Path, owner: dict[str, Any], stop: Callable[[], bool]) -> IO[str]:
    """Make the lock, once nobody alive holds it, and return its file, open."""
    seen, since, waiting = None, 0.0, False
    while True:
        with _alone_on_this_host(path.parent):
            if file := _create(path, owner):
                running.note(waits_for=None)
                return file
        try:
            found = holder, beat = _read(path)
        except FileNotFoundError:  # released in the meantime
            continue
        if found != seen:
            seen, since = found, time.monotonic()
        silent = max(time.monotonic() - since, files_clock(path.parent) - beat)
        if _is_stale(holder, owner, silent):
            _remove(path, found)
            continue
        if not waiting:
            waiting = True
            running.note(waits_for=describe(holder))
            _log.info(
                "%s is held by %s; waiting for its end, or for %g s without a sign of life",
                path, describe(holder), STALE_AFTER,
            )  # fmt: skip
        if stop():
            raise Interrupted(f"stopped while waiting for {path}, held by {describe(holder)}")
        time.sleep(LOOK)


def _is_stale(holder: dict[str, Any], me: dict[str, Any], silent: float) -> bool:
    """Tell whether a holder without a heartbeat for so many seconds is gone."""
    if holder:
        if (alive := is_alive(holder)) is not None:
            return not alive
        job = holder["slurm_job"]
        requeued = job == me["slurm_job"] and holder["host"] != me["host"]  # that run is over
        if job and silent >= SILENT_AFTER and (requeued or slurm_runs(job) is False):
            return True
    return silent >= STALE_AFTER


def _remove(path: Path, stale: tuple[dict[str, Any], float]) -> None:
    """Remove a stale lock, unless somebody has done so, or its holder has moved."""
    with _alone_on_this_host(path.parent), suppress(FileNotFoundError):
        if _read(path) == stale:
            path.unlink()
            _log.info("%s was left by %s, which is gone", path, describe(stale[0]))


@contextmanager
def _alone_on_this_host(folder: Path) -> Iterator[None]:
    """Let no other process of this host make or remove a lock in a folder meanwhile.

    Between hosts, and where a folder cannot be locked, two jobs may take over one stale lock
    at the same moment: `Lock.verify` then stops the one that came first.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:  # the system lets go when a process dies, but not when it is stopped
        for _ in range(_TRIES):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_PAUSE)
            except OSError:
                break
        yield
    finally:
        os.close(handle)


def _create(path: Path, owner: dict[str, Any]) -> IO[str] | None:
    """Make the lock file and return it open; None where it exists."""
    try:
        file = path.open("x", encoding="utf-8")
    except FileExistsError:
        return None
    try:
        file.write(json.dumps(owner))
        file.flush()
        os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            file.close()
        path.unlink()
        raise
    return file


def _read(path: Path) -> tuple[dict[str, Any], float]:
    """Return who holds a lock, empty if it does not say, and when it was changed last."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(f"{path} should be a lock file and is something else; remove it")
    with path.open("rb") as file:
        content, beat = file.read(_MOST_BYTES), os.fstat(file.fileno()).st_mtime
    try:
        owner = json.loads(content)
    except (ValueError, RecursionError):
        return {}, beat
    whole = names_a_process(owner) and all(
        isinstance(owner.get(key), str) for key in ("since", "token")
    )
    return (owner if whole else {}), beat


def _beat(file: IO[str], ended: threading.Event) -> None:
    """Touch the file that was made, never one that another job has put in its place."""
    while not ended.wait(HEARTBEAT):
        with suppress(OSError):
            os.utime(file.fileno())
