"""The votes of a call in a file, so that an interrupted call goes on where it was.

It is a counts file (`dds.sampling.counts`) from the first vote on: integers, and what they depend
on. A call that is asked the same takes it up; one that is asked something else refuses it. What
running the networks has changed of them, such as a counter or a cache, is named in it, and does not
count: else a call would refuse the file of the one before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dds.differences import first_difference
from dds.front.asked import Asked
from dds.front.results import counts_frame
from dds.sampling.counts import read_counts, stack, write_counts
from dds.sampling.votes import Votes
from dds.statistics.plans import Plan

#: Seconds between two writings.
_EVERY = 30.0

#: Seconds between two notes of what is counted, which cost a copy each.
_NOTED = 1.0

#: Facts that unfinished votes share with those that follow, and that finished ones may differ in:
#: votes of one image are of one function, to the last bit.
_OF_THE_MACHINE = ("backend", "devices", "torch")

#: Facts that are hashes, which say nothing to a reader.
_HASHES = ("images", "ids", "labels", "classifier", "denoiser", "code")


class SavedVotes:
    """The votes of a call, in a file where one is named.

    Parameters
    ----------
    path : Path or None
        The file; None keeps nothing.
    asked : Asked
        The call, all of which the votes depend on.
    parts : sequence of slice
        The rows that are counted apart.

    Attributes
    ----------
    compiled : bool or None
        Whether compiled networks drew the votes; None while there are none.
    """

    def __init__(self, path: Path | None, asked: Asked, parts: Sequence[slice]) -> None:
        self.path = path
        self._asked, self._parts = asked, parts
        self._facts = asked.facts(digests=path is not None)
        self._left_out: set[str] = set()
        self._noted: dict[int, tuple[float, Votes]] = {}
        self._written = time.monotonic()
        self.compiled: bool | None = None

    def take_up(self, plan: Plan, classes: int) -> Votes:
        """Return the votes in the file, or none where there is no file, or none in it.

        Raises
        ------
        ValueError
            If the file is no counts file, or of something else; it is left as it is.
        """
        votes = Votes.none(len(self._asked.ids), 1, classes)
        if self.path is None or not self.path.exists():
            return votes
        counts, found = read_counts(self.path)
        if not stack(counts["selection"]).any():  # of a call that failed before it had a vote
            return votes
        keys = [key for key in self._facts if key not in _OF_THE_MACHINE]
        code = found.get("code") or {}
        self._leave_out(name for name, number in code.items() if number is None)
        # Another Python has other code for the same functions, and earlier versions kept none.
        if code.get("python") != self._facts["code"]["python"]:
            keys.remove("code")
        self._check(found, keys)
        rows, labels = len(counts) == len(votes.goals), self._asked.labels
        if not rows or {*map(len, counts["selection"])} != {classes}:
            raise ValueError(f"{self.path} is damaged; remove it to start over")
        votes.selection[:, 0] = stack(counts["selection"])
        votes.estimation[:, 0] = stack(counts["estimation"])
        for row in np.flatnonzero(votes.selection[:, 0].sum(axis=1) == plan.n0):
            label = None if labels is None else int(labels[row])
            votes.goals[row, 0] = plan.goal(
                label, votes.selection[row, 0], votes.estimation[row, 0]
            )
        self.compiled = found.get("compiled")
        if not votes.finished.all():
            self._check(found, _OF_THE_MACHINE)
        return votes

    def look_again(self) -> None:
        """Leave out of the facts what running the networks changes of them: counters, caches."""
        if self.path is not None:
            now, before = self._asked.code(), self._facts["code"]
            names = now.keys() | before.keys()
            self._leave_out(name for name in names if now.get(name) != before.get(name))

    def note_compiled(self, compiled: bool) -> None:
        """Say, before a batch is noted, whether its networks are compiled.

        Raises
        ------
        ValueError
            If they are not, and those of earlier votes were: an image's votes are of one function.
        """
        if self.compiled and not compiled:
            raise ValueError(
                f"{self.path} holds votes of compiled networks; go on with it on one device where "
                "torch.compile works, or remove it"
            )
        self.compiled = compiled

    @property
    def facts(self) -> dict[str, Any]:
        """All that the votes depend on, as far as it is known by now."""
        return self._facts | {"compiled": self.compiled}

    def start(self, votes: Votes) -> None:
        """Write the first votes, so that a place that cannot be written to is found out early."""
        for index, rows in enumerate(self._parts):
            self.note(index, part_of(votes, rows), at_once=True)
        self.write()

    def note(self, part: int, votes: Votes, *, at_once: bool = False) -> None:
        """Keep what a part has counted, between two batches; now and then, write it."""
        if self.path is None:
            return
        now = time.monotonic()
        if at_once or now - self._noted[part][0] >= _NOTED:
            # A copy, put in place at once: an interruption finds it whole whenever it comes.
            self._noted[part] = (now, Votes(*(array.copy() for array in vars(votes).values())))
        if now - self._written >= _EVERY:
            self.write()

    def write(self) -> None:
        """Write what is noted, atomically."""
        if self.path is None:
            return
        first = self._noted[0][1]
        whole = Votes.none(len(self._asked.ids), *first.selection.shape[1:])
        for rows, (_, votes) in zip(self._parts, self._in_order(), strict=True):
            for name, array in vars(votes).items():
                getattr(whole, name)[rows] = array
        selection, estimation = whole.selection[:, 0], whole.estimation[:, 0]
        asked = self._asked
        frame = counts_frame(asked.ids, asked.labels, asked.sigma, selection, estimation)
        write_counts(self.path, frame, self.facts)
        self._written = time.monotonic()

    def finish(self) -> None:
        """Look again, and write what is noted, whatever comes of that."""
        try:
            self.look_again()
        finally:
            self.write()

    def _in_order(self) -> list[tuple[float, Votes]]:
        return [self._noted[part] for part in range(len(self._parts))]

    def _leave_out(self, names: Iterable[str]) -> None:
        """Leave things out of the facts; their names stay there, for calls that go on."""
        more = set(names) - self._left_out
        if more:
            self._left_out |= more
            self._facts["code"] = self._facts["code"] | dict.fromkeys(self._left_out)
            self._facts |= self._asked.digests(without=self._left_out)

    def _check(self, facts: Mapping[str, Any], keys: Iterable[str]) -> None:
        """Refuse facts that differ from those of this call under some keys."""
        found, wanted = ({key: one.get(key) for key in keys} for one in (facts, self._facts))
        # What others follow from comes first: names of classes from the classifier, code from the
        # networks, the keys that a plan has from its kind.
        first, second = (
            {
                "classifier": one.get("classifier"),
                "denoiser": one.get("denoiser"),
                "plan": (one.get("plan") or {}).get("plan"),
            }
            for one in (found, wanted)
        )
        if other := first_difference(first, second) or first_difference(found, wanted):
            place, _, name = other.place.partition(".")
            said = f": {other.first}, not {other.second}" if place not in _HASHES else ""
            what = other.place
            if place == "code":
                what = (
                    f"code of the networks, {name} (an attribute that decides no answer may be "
                    "left out of its class's __getstate__)"
                )
            raise ValueError(
                f"{self.path} holds votes with other {what}{said}; name another file to "
                "save to, or remove this one"
            )


def part_of(votes: Votes, rows: slice) -> Votes:
    """Return some rows of votes, in the same memory: counting into them counts into the whole."""
    return Votes(votes.selection[rows], votes.estimation[rows], votes.goals[rows])
