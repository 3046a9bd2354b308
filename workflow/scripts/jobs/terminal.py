"""What a person sees while Snakemake works: a live line on a terminal, and lines short enough.

Snakemake reports that a job began and that it ended. What a job is at in between, it says itself,
in its record (`jobs.running`); here that becomes one line at the foot of the terminal.
"""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TextIO

from snakemake_interface_logger_plugins.common import LogEvent

from dds.progress import clock
from jobs.running import Running, progress_path, read_record

#: Seconds between two looks at what runs.
LOOK = 1.0

#: Most characters of the reason for a job.
LONGEST_REASON = 200

_CLEAR = "\r\x1b[K"


@dataclass(frozen=True)
class Started:
    """A job that Snakemake has started."""

    name: str
    log: str | None
    at: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        record = read_record(progress_path(self.log)) if self.log else None
        waiting = f", waiting for {record.waits_for}" if record and record.waits_for else ""
        gpu = f"{record.gpu}: " if record and record.gpu and not waiting else ""
        so_far = clock(time.monotonic() - self.at)
        if record and record.preparing:
            so_far += f" {record.preparing},"
        elif record and record.unit:
            so_far = progress(record)
        # What changes comes first: a name may be cut where the line ends.
        return f"{gpu}{so_far} {self.name}{waiting}"


class Terminal(logging.Filter):
    """Follows a run of Snakemake by what it logs; a filter of its logger.

    Parameters
    ----------
    stream : file object, optional
        Where the live line goes, if that is a terminal; by default standard error.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = stream or sys.stderr
        self._started: dict[int, Started] = {}
        self._steps = ""
        self._interrupted = False
        self._ended = threading.Event()
        self._drawing: threading.Thread | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Note what happens, and shorten what is logged of it; say whether it is logged."""
        match getattr(record, "event", None):
            case LogEvent.JOB_INFO:
                record.reason = shortened(record.reason)
                name = " ".join([record.rule_name, "/".join(map(str, record.wildcards.values()))])
                log = record.log[0] if record.log else None
                self._started[record.jobid] = Started(name.strip(), log)
            case LogEvent.JOB_FINISHED:
                self._started.pop(record.job_id, None)
            case LogEvent.JOB_ERROR:
                self._started.pop(record.jobid, None)
            case LogEvent.PROGRESS:
                self._steps = f"{record.done}/{record.total}"
        message = record.getMessage()
        self._interrupted |= message.startswith("Terminating processes on user request")
        # Said of what was left as it was (`keep_updated_outputs`).
        return "(updating job failed)" not in message

    def start(self, logger: logging.Logger, steps: int) -> None:
        """Draw the live line of a run of so many steps from here on, where there is a terminal."""
        self._steps = f"0/{steps}"
        if not self._stream.isatty():
            return
        for handler in logger.handlers:  # whatever it prints starts on a clear line
            if getattr(handler, "stream", None) is self._stream:
                handler.addFilter(self._clear)
        self._drawing = threading.Thread(target=self._draw, daemon=True)
        self._drawing.start()

    def stop(self) -> None:
        """End the live line; say how to go on, if the run was interrupted."""
        self._ended.set()
        if self._drawing:
            self._drawing.join()
            self._clear()
        if self._interrupted:
            print("interrupted; run the same again to go on", file=self._stream)

    def line(self, width: int) -> str:
        """Return the live line: the steps that are done, and each running job."""
        before = f"{self._steps} | " if self._steps else ""
        return before + joined(map(str, list(self._started.values())), width - len(before))

    def _draw(self) -> None:
        while not self._ended.wait(LOOK):
            width = shutil.get_terminal_size().columns
            # The cursor goes back: what a job itself prints starts at the line's beginning.
            self._write(f"{_CLEAR}{self.line(width - 1)}\r")

    def _clear(self, record: Any = None) -> bool:
        self._write(_CLEAR)
        return True

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # the terminal is gone; the work goes on
            self._ended.set()


def progress(job: Running) -> str:
    """Say in a few words how far a job is: ``45% 1,250 samples/s 2:10 left,``."""
    words = [job.share] if job.share else []
    if job.rate:
        words.append(f"{job.rate:,.{0 if job.rate > 10 else 2}f} {job.unit}/s")
    if job.seconds_left is not None:
        words.append(f"{clock(job.seconds_left)} left,")
    return " ".join(words)


def shortened(reason: str) -> str:
    """Cut the reason for a job, which may name every parameter, to what can be read."""
    if len(reason) <= LONGEST_REASON:
        return reason
    return f"{reason[:LONGEST_REASON].rstrip()} ... (docs/reruns.md says what makes a job run)"


def joined(parts: Iterable[str], width: int) -> str:
    """Join what a line of so many characters holds of the parts, and say how many more there are.

    Where not even the first fits, it is cut.
    """
    parts = list(parts)
    for kept in range(len(parts), 0, -1):
        more = f" | {len(parts) - kept} more" if kept < len(parts) else ""
        line = " | ".join(parts[:kept])
        if len(line) + len(more) <= width or kept == 1:
            return line[: max(width - len(more), 0)] + more
    return ""
