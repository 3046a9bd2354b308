"""Votes on disk, so that an interrupted certification goes on where it was."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dds.files import atomic_path
from dds.smoothing import Votes


class UnusableCheckpoint(ValueError):
    """A checkpoint that is damaged, or that belongs to another certification."""


def save_checkpoint(path: str | Path, votes: Votes, identity: Mapping[str, Any]) -> None:
    """Write votes and what they are votes of, atomically.

    Parameters
    ----------
    path : str or Path
        The checkpoint.
    votes : Votes
        The votes so far.
    identity : mapping
        All that the samples depend on (protocol, seed, models, data, plan,
        precision, device, images), as JSON can hold it.
    """
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, selection=votes.selection, estimation=votes.estimation, goals=votes.goals,
        identity=np.array(json.dumps(identity, sort_keys=True)),
    )  # fmt: skip
    payload = buffer.getvalue()
    with atomic_path(path) as temporary:
        temporary.write_bytes(_digest(payload) + payload)


def load_checkpoint(path: str | Path, identity: Mapping[str, Any]) -> Votes | None:
    """Read the votes of a checkpoint, or None where there is none.

    Raises
    ------
    UnusableCheckpoint
        If the file is damaged, or its identity differs, naming the first difference.
    """
    path = Path(path)
    if not path.exists():
        return None
    content = path.read_bytes()
    payload = content[hashlib.sha256().digest_size :]
    if _digest(payload) != content[: -len(payload) or None]:
        raise UnusableCheckpoint(f"checkpoint {path} is damaged")
    with np.load(io.BytesIO(payload)) as stored:
        saved = json.loads(str(stored["identity"]))
        wanted = json.loads(json.dumps(identity))
        for key in sorted(saved.keys() | wanted.keys()):
            if saved.get(key) != wanted.get(key):
                raise UnusableCheckpoint(
                    f"checkpoint {path} has another {key}: {saved.get(key)}, not {wanted.get(key)}"
                )
        return Votes(stored["selection"], stored["estimation"], stored["goals"])


def _digest(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()
