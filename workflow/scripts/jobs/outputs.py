"""What Snakemake does with the results that a job finds, once the job has failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def keep_updated_outputs() -> None:
    """Have Snakemake leave outputs alone that are flagged ``update``.

    To be called when the workflow is read. Jobs write such outputs whole or not at all, and look
    at what they find there: it may be right still, and have cost days. Snakemake copies it before
    the job, and puts the copy back when the job fails. On a cluster three of them do so, one
    within the other; the inner one puts it back, and the others, which find no copy any more,
    remove it.
    """
    from snakemake.persistence import FileBackupMixin

    FileBackupMixin.backup_output = _leave
    FileBackupMixin.restore_output = _is_there


def _leave(persistence: Any, path: Path) -> None:
    pass


def _is_there(persistence: Any, path: Path) -> bool:
    return path.exists()
