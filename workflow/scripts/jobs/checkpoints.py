"""Work in progress on disk, so that an interrupted job goes on where it was.

A checkpoint is one line of JSON, which says whose work it is and how far it has come, and
behind it the state to go on from, as bytes. The line can be read alone, and quickly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dds.differences import first_difference
from dds.files import atomic_path


class UnusableCheckpoint(ValueError):
    """A checkpoint that is damaged, or that belongs to other work."""


def save_checkpoint(
    path: str | Path, state: bytes, identity: Mapping[str, Any], progress: Mapping[str, Any]
) -> None:
    """Write the state of some work, atomically.

    Parameters
    ----------
    path : str or Path
        The checkpoint.
    state : bytes
        What the work goes on from.
    identity : mapping
        All that the work's result depends on, as JSON can hold it.
    progress : mapping
        How far it has come, as JSON can hold it.

    Raises
    ------
    OSError
        If it cannot be written; an earlier checkpoint is then still there.
    """
    head = {"progress": dict(progress), "identity": dict(identity)}
    head["digest"] = _digest(head, state)
    with atomic_path(path) as temporary:
        temporary.write_bytes(json.dumps(head).encode() + b"\n" + state)


def load_checkpoint(
    path: str | Path, identity: Mapping[str, Any]
) -> tuple[bytes, dict[str, Any]] | None:
    """Read a checkpoint's state and progress, or None where there is no checkpoint.

    Parameters
    ----------
    path : str or Path
        The checkpoint.
    identity : mapping
        All that the work's result depends on, as `save_checkpoint` takes it.

    Returns
    -------
    state : bytes
        What to go on from.
    progress : dict
        How far the work had come.

    Raises
    ------
    UnusableCheckpoint
        If the file is damaged, or of other work, naming the first thing that differs.
    """
    try:
        line, _, state = Path(path).read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    head = _parse(line, path)
    if head.pop("digest") != _digest(head, state):
        raise UnusableCheckpoint(f"checkpoint {path} is damaged")
    wanted = json.loads(json.dumps(identity))
    if other := first_difference(head["identity"], wanted):
        raise UnusableCheckpoint(
            f"checkpoint {path} has another {other.place}: {other.first}, not {other.second}"
        )
    return state, head["progress"]


def read_progress(path: str | Path) -> dict[str, Any]:
    """Read how far the work of a checkpoint has come; its state is not looked at.

    Parameters
    ----------
    path : str or Path
        The checkpoint.

    Returns
    -------
    dict

    Raises
    ------
    UnusableCheckpoint
        If the file does not start like a checkpoint.
    FileNotFoundError
        If there is none.
    """
    with Path(path).open("rb") as file:
        return _parse(file.readline(), path)["progress"]


def read_identity(path: str | Path) -> dict[str, Any]:
    """Read what the work of a checkpoint depends on; otherwise like `read_progress`."""
    with Path(path).open("rb") as file:
        return _parse(file.readline(), path)["identity"]


def _parse(line: bytes, path: str | Path) -> dict[str, Any]:
    try:
        head = json.loads(line)
        return {
            "progress": dict(head["progress"]),
            "identity": dict(head["identity"]),
            "digest": str(head["digest"]),
        }
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UnusableCheckpoint(f"checkpoint {path} is damaged") from None


def _digest(head: Mapping[str, Any], state: bytes) -> str:
    line = json.dumps(head, sort_keys=True).encode()
    return hashlib.sha256(line + b"\n" + state).hexdigest()
