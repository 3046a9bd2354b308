"""What the jobs that run are doing, for whoever wants to show it.

While a job runs, a record of it lies beside its log: ``NAME.progress`` beside ``NAME.log``, JSON
with the fields of `Running`. It is replaced at most once a second, and removed at the end. A
record that a killed job left is not read as one that runs; the job's next start replaces it.

Reading needs the standard library and tqdm alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dds.progress import current
from jobs.processes import HEARTBEAT, files_clock, names_a_process, seems_alive, this_process

#: Seconds between two looks at how far a job is.
INTERVAL = 1.0

# Kinds of jobs that count what they do, once they are at it; others are short.
_COUNTING = ("certify", "attack", "train", "finetune", "download")

_facts: dict[str, Any] = {}


@dataclass(frozen=True)
class Running:
    """A job's record of itself.

    Attributes
    ----------
    rule : str
        The job's rule, as ``certify_shard``.
    kind : str
        What the rule does, in one word: ``certify``, ``attack``, ``train``, ``finetune``,
        ``download``.
    name : str
        What it is done to, as ``dds sigma 0.25 images_00000-00499``.
    host, pid, process_started, slurm_job
        Of the job's process; see `jobs.processes.this_process`.
    started : float
        When, in seconds since 1970.
    device : str or None
        What the networks run on; None until it is chosen, and where there are none.
    gpu : str or None
        Which of the machine's GPUs that is, as ``GPU 0``; None where the job claimed none.
    waits_for : str or None
        Who holds the lock that the job waits for; ``a free GPU``, if it waits for that.
    preparing : str or None
        What the job does before it counts on, as ``compiling 2 networks``.
    unit : str or None
        What is counted, as ``samples``; None while the job starts.
    done : int or None
        How many there are, of all jobs that did this work.
    total : int or None
        How many there will be, as far as that can be told; None where it cannot.
    rate : float or None
        How many a second.
    seconds_left : float or None
        Until `total` at this rate.
    parts, parts_done, part_unit : int, int and str, or None
        How many parts the work has and has finished, as ``images``, where that says better how
        far it is.
    """

    rule: str
    kind: str
    name: str
    host: str
    pid: int
    process_started: str | None
    slurm_job: str | None
    started: float
    pid_namespace: str | None = None
    device: str | None = None
    gpu: str | None = None
    waits_for: str | None = None
    preparing: str | None = None
    unit: str | None = None
    done: int | None = None
    total: int | None = None
    rate: float | None = None
    seconds_left: float | None = None
    parts: int | None = None
    parts_done: int | None = None
    part_unit: str | None = None
    log: str = ""  # where its log lies
    updated: float = 0.0  # when the file was written

    @property
    def state(self) -> str:
        """``waiting``, ``starting`` or ``running``."""
        if self.waits_for:
            return "waiting"
        return "starting" if self.unit is None and self.kind in _COUNTING else "running"

    @property
    def share(self) -> str | None:
        """How much is done, in words: ``7 of 16 images`` or ``45%``; None where none can tell."""
        if self.parts is not None and self.parts_done is not None:
            return f"{self.parts_done:,} of {self.parts:,} {self.part_unit}"
        return f"{self.done / self.total:.0%}" if self.total and self.done is not None else None


def progress_path(log: str | Path) -> Path:
    """Return where the job with this log keeps its record."""
    return Path(log).with_suffix(".progress")


def read_record(path: str | Path) -> Running | None:
    """Read a job's record.

    Parameters
    ----------
    path : str or Path
        From `progress_path`.

    Returns
    -------
    Running or None
        None where there is none, or none that can be read.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            found = json.load(file)
            updated = os.fstat(file.fileno()).st_mtime
        if not names_a_process(found):
            return None
        known = {field.name for field in dataclasses.fields(Running)}
        wanted = {key: value for key, value in found.items() if key in known}
        log = str(Path(path).with_suffix(".log"))
        return Running(**wanted | {"log": log, "updated": updated})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def read_running(logs: str | Path, now: float | None = None) -> list[Running]:
    """Read the records of all jobs that live.

    Parameters
    ----------
    logs : str or Path
        The folder of a study's logs: ``results/STUDY/logs``.
    now : float, optional
        The time by the clock of that folder's files; by default `files_clock` is asked.

    Returns
    -------
    list of Running
        Those that run longest first.
    """
    now = files_clock(logs) if now is None else now
    records = filter(None, map(read_record, Path(logs).rglob("*.progress")))
    running = (job for job in records if seems_alive(vars(job), job.updated, now))
    return sorted(running, key=lambda job: job.started)


def note(**facts: Any) -> None:
    """Say a fact of this job: its ``device`` and ``gpu``, or what it ``waits_for``."""
    _facts.update(facts)


@contextmanager
def recorded(rule: str, log: str | Path) -> Iterator[None]:
    """Keep the record of a job, of this process, for the length of the block.

    A record that cannot be written is no harm.

    Parameters
    ----------
    rule : str
        The job's rule.
    log : str or Path
        Its log.
    """
    path, ended = progress_path(log), threading.Event()
    fixed = {
        "rule": rule, "kind": rule.partition("_")[0], "name": _name(Path(log)),
        "started": time.time(), **this_process(),
    }  # fmt: skip
    writer = threading.Thread(target=_keep, args=(path, fixed, ended), daemon=True)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _name(log: Path) -> str:
    """Return what a job is about, by the place of its log: logs/RULE/..."""
    parts = log.with_suffix("").parts
    after = parts[parts.index("logs") + 2 :] if "logs" in parts else ()
    return " ".join(after).replace("sigma_", "sigma ")


def _keep(path: Path, fixed: dict[str, Any], ended: threading.Event) -> None:
    last, written = None, 0.0
    while True:
        record = fixed | _facts | _amounts()
        if record != last or time.monotonic() - written > HEARTBEAT:
            with suppress(OSError):
                temporary = path.with_name(f".{path.name}")
                # Not brought to the disk first, as results are: it is out of date in a second.
                temporary.write_text(json.dumps(record), encoding="utf-8")
                os.replace(temporary, path)
            last, written = record, time.monotonic()
        if ended.wait(INTERVAL):
            return


def _amounts() -> dict[str, Any]:
    progress = current()
    if progress is None:
        return {}
    rate, left = progress.rate, progress.seconds_left
    return {
        "preparing": progress.preparing,
        "unit": progress.unit,
        "done": progress.done,
        "total": progress.total,
        "rate": rate and float(f"{rate:.4g}"),
        "seconds_left": left and round(left, 1),
        "parts": progress.parts,
        "parts_done": progress.parts_done,
        "part_unit": progress.part_unit,
    }
