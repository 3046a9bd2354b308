"""A shard's work, kept across the jobs that do it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dds.sampling.votes import Votes
from jobs.checkpoints import UnusableCheckpoint, load_checkpoint, save_checkpoint
from jobs.energy import EnergyMeter
from jobs.lock import Lock

_log = logging.getLogger("work")


class Work:
    """A shard's votes so far, and the record of the runs that made them.

    Goes on from the checkpoint where there is a usable one, and writes a first one, so
    that a place that cannot be written to is found out before the work.

    Parameters
    ----------
    checkpoint : Path
        Where the votes are kept between runs.
    identity : mapping
        All that the votes depend on, as JSON can hold it.
    lock : Lock
        Held by this job; verified before each write.
    votes : Votes
        What to start from without a checkpoint.
    meter : EnergyMeter
        Of the device that works.

    Attributes
    ----------
    votes : Votes
        To be counted into.
    """

    def __init__(
        self, checkpoint: Path, identity: Mapping[str, Any], lock: Lock, votes: Votes,
        meter: EnergyMeter,
    ) -> None:  # fmt: skip
        self._checkpoint, self._identity, self._lock = checkpoint, identity, lock
        self._meter = meter
        self.votes = votes
        self._earlier = {"starts": 0, "samples_drawn": 0, "seconds": 0.0}
        try:
            if found := load_checkpoint(checkpoint, identity):
                arrays, self._earlier = found
                self.votes = Votes(**arrays)
                _log.info("going on after %d samples, from %s", self.votes.samples, checkpoint)
        except UnusableCheckpoint as reason:
            _log.warning("%s; the shard starts over", reason)
        self._resumed = self.votes.samples
        self._started = time.monotonic()
        self.save()

    def record(self) -> dict[str, Any]:
        """Return how far all runs together have come, and how fast this one is.

        Returns
        -------
        dict
            ``images_done``; ``samples``, the votes there are; ``samples_per_second`` of
            this run; and of all runs ``starts``, ``samples_drawn``, ``seconds`` and, where
            the device counts it, ``joules``. What a run that was killed did after its
            last checkpoint is not known, and left out.
        """
        seconds = time.monotonic() - self._started
        samples = self.votes.samples
        drawn = samples - self._resumed
        record = {
            "images_done": sum(
                not self.votes.wanting(row).size for row in range(len(self.votes.goals))
            ),
            "samples": samples,
            "samples_per_second": round(drawn / seconds, 1),
            "starts": self._earlier["starts"] + 1,
            "samples_drawn": self._earlier["samples_drawn"] + drawn,
            "seconds": round(self._earlier["seconds"] + seconds, 3),
        }
        if (joules := self._meter.joules()) is not None:
            record["joules"] = self._earlier.get("joules", 0.0) + joules
        return record

    def save(self) -> None:
        """Write the checkpoint.

        Raises
        ------
        Locked
            If another job has taken the shard over.
        OSError
            If it cannot be written; the last one is then still there.
        """
        self._lock.verify()
        self._saved = time.monotonic()
        try:
            save_checkpoint(self._checkpoint, vars(self.votes), self._identity, self.record())
        except OSError as error:
            raise OSError(
                f"cannot write {self._checkpoint}: {error.strerror}; the last one is kept"
            ) from error

    def save_sometimes(self, every: float) -> None:
        """Write the checkpoint if the last attempt is `every` seconds ago; failing is no harm."""
        if time.monotonic() - self._saved > every:
            try:
                self.save()
            except OSError as error:
                _log.warning("%s", error)
