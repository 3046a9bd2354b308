"""Work that outlives the job that does it: one job at a time, its state kept in between.

Certifying a shard, training and tuning all go on from a checkpoint beside their result,
under a lock beside it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from dds.files import remove_leftovers
from dds.progress import Interrupted
from jobs.checkpoints import (
    UnusableCheckpoint,
    load_checkpoint,
    read_identity,
    save_checkpoint,
)
from jobs.energy import EnergyMeter
from jobs.lock import Lock, hold

Read = TypeVar("Read")

_log = logging.getLogger("work")


class Work:
    """The state of some work so far, and the record of the jobs that did it; made by `resume`.

    Attributes
    ----------
    output : Path
        The result.
    checkpoint : Path
        Where its state is kept, beside it.
    state : bytes or None
        What an earlier job left; None where this one starts.
    """

    def __init__(
        self,
        output: Path,
        identity: Mapping[str, Any],
        lock: Lock,
        every: float,
        meter: EnergyMeter | None,
    ) -> None:
        self.output = output
        self.state: bytes | None = None
        self.checkpoint = output.with_suffix(".checkpoint")
        self._identity, self._lock, self._every, self._meter = identity, lock, every, meter
        self._earlier: dict[str, Any] = {}
        try:
            if found := load_checkpoint(self.checkpoint, identity):
                self.state, self._earlier = found
        except UnusableCheckpoint as reason:
            _log.warning("%s; the work starts over", reason)
        self._started = self._saved = time.monotonic()

    def take_up(self, read: Callable[[bytes], Read]) -> Read | None:
        """Return what `read` makes of the state that an earlier job left, or None.

        None where there is no state, and where it cannot be read, as by another version of
        what wrote it: the log names the checkpoint, and the work starts over.
        """
        if self.state is None:
            return None
        try:
            return read(self.state)
        except Exception as error:  # of whatever kind
            reason = " ".join(str(error).split()) or type(error).__name__
            _log.warning(
                "checkpoint %s cannot be read (%s); the work starts over", self.checkpoint, reason
            )
            self.state, self._earlier = None, {}
            return None

    def earlier(self, fact: str) -> Any:
        """Return a fact of the jobs before this one, such as ``samples_drawn``; 0 for none."""
        return self._earlier.get(fact, 0)

    @property
    def seconds(self) -> float:
        """How long this job has been at it."""
        return time.monotonic() - self._started

    def record(self, **facts: Any) -> dict[str, Any]:
        """Return `facts`, and of all jobs together ``starts``, ``seconds`` and ``joules``.

        The last only where the device counts it. What a job that was killed did after its
        last checkpoint is not known, and left out.
        """
        record = facts | {
            "starts": self.earlier("starts") + 1,
            "seconds": round(self.earlier("seconds") + self.seconds, 3),
        }
        joules = self._meter.joules() if self._meter else None
        return record if joules is None else record | {"joules": self.earlier("joules") + joules}

    def due(self) -> bool:
        """Tell whether it is time to save."""
        return time.monotonic() - self._saved > self._every

    def verify(self) -> None:
        """Make sure that no other job has taken the work over; see `jobs.lock.Lock.verify`."""
        self._lock.verify()

    def save(self, state: bytes, **facts: Any) -> None:
        """Write the checkpoint.

        Parameters
        ----------
        state : bytes
            What to go on from.
        **facts
            How far the work has come, as JSON can hold it.

        Raises
        ------
        Locked
            If another job has taken the work over.
        OSError
            If it cannot be written; the last one is then still there.
        """
        self._lock.verify()
        self._saved = time.monotonic()
        try:
            save_checkpoint(self.checkpoint, state, self._identity, self.record(**facts))
        except OSError as error:
            raise OSError(
                f"cannot write {self.checkpoint}: {error.strerror}; the last one is kept"
            ) from error

    def save_if_possible(self, state: bytes, **facts: Any) -> None:
        """Write the checkpoint; a full disk is no reason to stop working."""
        try:
            self.save(state, **facts)
        except OSError as error:
            _log.warning("%s", error)

    def forget(self) -> None:
        """Remove the checkpoint, when the result is there."""
        self.checkpoint.unlink(missing_ok=True)


def begun_on(output: Path) -> str | None:
    """Return the device on which an earlier job began this work; None for none that says so."""
    with suppress(FileNotFoundError, UnusableCheckpoint):
        return read_identity(output.with_suffix(".checkpoint")).get("device")
    return None


@contextmanager
def resume(
    output: str | Path,
    identity: Mapping[str, Any],
    *,
    every: float,
    stop: Callable[[], bool],
    meter: EnergyMeter | None = None,
) -> Iterator[Work]:
    """Go on with the work that makes `output`, alone, for the length of the block.

    Parameters
    ----------
    output : str or Path
        The result. Its lock, checkpoint and provenance lie beside it, under its name; what
        jobs that were killed have left half written of them goes.
    identity : mapping
        All that the result depends on, as JSON can hold it. A checkpoint of another
        identity is not used; the log says in one line what differs.
    every : float
        Seconds between two checkpoints.
    stop : callable
        Asked while another job holds the lock; when true, waiting ends.
    meter : EnergyMeter, optional
        Of the device that works.

    Yields
    ------
    Work

    Raises
    ------
    Interrupted
        If it was stopped before the work began.
    """
    output = Path(output)
    with hold(output.with_suffix(".lock"), stop=stop) as lock:
        for suffix in (output.suffix, ".checkpoint", ".json"):
            remove_leftovers(output.with_suffix(suffix))
        if stop():
            raise Interrupted(f"stopped before the work on {output} began")
        yield Work(output, identity, lock, every, meter)
