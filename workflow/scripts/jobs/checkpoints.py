"""Work in progress on disk, so that an interrupted certification goes on where it was.

A checkpoint is one line of JSON, which says how far the work has come, and behind it the
arrays it goes on from, in NumPy's npz format. The line can be read alone, and quickly.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dds.files import atomic_path


class UnusableCheckpoint(ValueError):
    """A checkpoint that is damaged, or that belongs to other work."""


def save_checkpoint(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    identity: Mapping[str, Any],
    progress: Mapping[str, Any],
) -> None:
    """Write the state of some work, atomically.

    Parameters
    ----------
    path : str or Path
        The checkpoint.
    arrays : mapping of str to ndarray
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
    buffer = io.BytesIO()
    np.savez_compressed(buffer, identity=np.array(json.dumps(identity)), **arrays)
    payload = buffer.getvalue()
    head = {"progress": dict(progress), "digest": _digest(progress, payload)}
    with atomic_path(path) as temporary:
        temporary.write_bytes(json.dumps(head).encode() + b"\n" + payload)


def load_checkpoint(
    path: str | Path, identity: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Read a checkpoint's arrays and progress, or None where there is no checkpoint.

    Raises
    ------
    UnusableCheckpoint
        If the file is damaged, or its identity differs, naming the first difference.
    """
    try:
        line, _, payload = Path(path).read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    head = _parse(line, path)
    if head["digest"] != _digest(head["progress"], payload):
        raise UnusableCheckpoint(f"checkpoint {path} is damaged")
    with np.load(io.BytesIO(payload)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    saved = json.loads(str(arrays.pop("identity")))
    wanted = json.loads(json.dumps(identity))
    for key in sorted(saved.keys() | wanted.keys()):
        if saved.get(key) != wanted.get(key):
            raise UnusableCheckpoint(
                f"checkpoint {path} has another {key}: {saved.get(key)}, not {wanted.get(key)}"
            )
    return arrays, head["progress"]


def read_progress(path: str | Path) -> dict[str, Any]:
    """Read how far the work of a checkpoint has come; its arrays are not looked at.

    Raises
    ------
    UnusableCheckpoint
        If the file does not start like a checkpoint.
    FileNotFoundError
        If there is none.
    """
    with Path(path).open("rb") as file:
        return _parse(file.readline(), path)["progress"]


def _parse(line: bytes, path: str | Path) -> dict[str, Any]:
    try:
        head = json.loads(line)
        return {"digest": str(head["digest"]), "progress": dict(head["progress"])}
    except (ValueError, TypeError, KeyError):
        raise UnusableCheckpoint(f"checkpoint {path} is damaged") from None


def _digest(progress: Mapping[str, Any], payload: bytes) -> str:
    line = json.dumps(progress, sort_keys=True).encode()
    return hashlib.sha256(line + b"\n" + payload).hexdigest()
