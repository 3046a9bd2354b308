"""The votes of a call in a file, so that an interrupted call goes on where it was.

It is a counts file (`dds.sampling.counts`) from the first vote on: integers, and what they depend
on. A call that is asked the same takes it up; one that is asked something else refuses it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dds.differences import first_difference
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
    facts : mapping
        All that the votes depend on, as JSON can hold it.
    ids : sequence of int
        Number of each image.
    labels : ndarray of int, shape (images,), or None
        Its true class.
    sigma : float
        Noise level in [0,1] pixel units.
    parts : sequence of slice
        The rows that are counted apart.

    Attributes
    ----------
    compiled : bool or None
        Whether compiled networks drew the votes; None while there are none.
    """

    def __init__(
        self,
        path: Path | None,
        facts: Mapping[str, Any],
        ids: Sequence[int],
        labels: np.ndarray | None,
        sigma: float,
        parts: Sequence[slice],
    ) -> None:
        self.path = path
        self._facts, self._sigma, self._parts = dict(facts), sigma, parts
        self._ids, self._labels = ids, labels
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
        votes = Votes.none(len(self._ids), 1, classes)
        if self.path is None or not self.path.exists():
            return votes
        counts, found = read_counts(self.path)
        if not stack(counts["selection"]).any():  # of a call that failed before it had a vote
            return votes
        keys = [key for key in self._facts if key not in _OF_THE_MACHINE]
        # Another Python has other code for the same functions, and earlier versions kept none.
        if (found.get("code") or {}).get("python") != self._facts["code"]["python"]:
            keys.remove("code")
        self._check(found, keys)
        rows = len(counts) == len(self._ids)
        if not rows or {*map(len, counts["selection"])} != {classes}:
            raise ValueError(f"{self.path} is damaged; remove it to start over")
        votes.selection[:, 0] = stack(counts["selection"])
        votes.estimation[:, 0] = stack(counts["estimation"])
        for row in np.flatnonzero(votes.selection[:, 0].sum(axis=1) == plan.n0):
            label = None if self._labels is None else int(self._labels[row])
            votes.goals[row, 0] = plan.goal(
                label, votes.selection[row, 0], votes.estimation[row, 0]
            )
        self.compiled = found.get("compiled")
        if not votes.finished.all():
            self._check(found, _OF_THE_MACHINE)
        return votes

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
        whole = Votes.none(len(self._ids), *first.selection.shape[1:])
        for rows, (_, votes) in zip(self._parts, self._in_order(), strict=True):
            for name, array in vars(votes).items():
                getattr(whole, name)[rows] = array
        frame = counts_frame(
            self._ids, self._labels, self._sigma, whole.selection[:, 0], whole.estimation[:, 0]
        )
        write_counts(self.path, frame, self._facts | {"compiled": self.compiled})
        self._written = time.monotonic()

    def _in_order(self) -> list[tuple[float, Votes]]:
        return [self._noted[part] for part in range(len(self._parts))]

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


def counts_frame(
    ids: ArrayLike,
    labels: np.ndarray | None,
    sigma: float,
    selection: np.ndarray,
    estimation: np.ndarray,
    classifier: str = "classifier",
) -> pd.DataFrame:
    """Return class counts as a table, a row an image; the label of unknown ones is -1."""
    return pd.DataFrame(
        {
            "image": np.asarray(ids),
            "label": -1 if labels is None else labels,
            "sigma": sigma,
            "classifier": classifier,
            "selection": list(selection),
            "estimation": list(estimation),
        }
    )
