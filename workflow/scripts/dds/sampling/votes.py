"""Votes so far, and which samples to draw next.

What is drawn for an image depends on the study's seed, the image, sigma and the
sampling plan alone: each block of noise has a generator of its own, and a plan is
asked for its next goal only when an image has reached the last one. Batches,
shards, order and restarts therefore leave the samples unchanged, and images share
batches freely, so that the device is kept full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dds.seeds import BLOCK, ESTIMATION, SELECTION

if TYPE_CHECKING:
    from dds.statistics.plans import Plan

#: In place of a class: no sample of this classifier's, or logits that are NaN or infinite.
NOT_WANTED, NOT_FINITE = -1, -2

_UNKNOWN = -1  # the goal of an image whose selection is not complete


@dataclass(eq=False)
class Votes:
    """The class counts of some images so far; all there is to know to go on.

    Attributes
    ----------
    selection : ndarray of int64, shape (images, classifiers, classes)
        Votes of the samples that select a class.
    estimation : ndarray of int64, shape (images, classifiers, classes)
        Votes of the samples that bound that class's probability.
    goals : ndarray of int64, shape (images, classifiers)
        How many estimation samples the plan wants before it is asked again; an
        image that has as many is finished. -1 while its selection is incomplete.

    Examples
    --------
    >>> votes = Votes.none(images=2, classifiers=1, classes=3)
    >>> votes.samples, votes.wanting(0).tolist()
    (0, [0])
    """

    selection: np.ndarray
    estimation: np.ndarray
    goals: np.ndarray

    @classmethod
    def none(cls, images: int, classifiers: int, classes: int) -> Votes:
        """Return the votes before the first sample.

        Parameters
        ----------
        images, classifiers, classes : int
            How many of each.

        Returns
        -------
        Votes
        """
        return cls(
            np.zeros((images, classifiers, classes), np.int64),
            np.zeros((images, classifiers, classes), np.int64),
            np.full((images, classifiers), _UNKNOWN, np.int64),
        )

    def wanting(self, row: int) -> np.ndarray:
        """Return the classifiers that still want samples of an image.

        Parameters
        ----------
        row : int
            Position of the image among those sampled.

        Returns
        -------
        ndarray of int
            Positions of classifiers; empty where the image is finished.
        """
        goals = self.goals[row]
        return np.flatnonzero((goals == _UNKNOWN) | (self.estimation[row].sum(axis=1) < goals))

    @property
    def finished(self) -> np.ndarray:
        """Which images want no other sample, (images,)."""
        return ((self.goals >= 0) & (self.estimation.sum(axis=2) >= self.goals)).all(axis=1)

    @property
    def samples(self) -> int:
        """How many noisy images have been denoised, each of which all classifiers may share."""
        return int(
            self.selection.sum(axis=2).max(axis=1).sum()
            + self.estimation.sum(axis=2).max(axis=1).sum()
        )


class Segment(NamedTuple):
    """Consecutive samples of one image, within one block of noise."""

    row: int  # position of the image among those sampled
    phase: str
    start: int
    stop: int
    wanted: tuple[int, ...]  # classifiers that count these samples

    @property
    def length(self) -> int:
        """How many samples there are."""
        return self.stop - self.start

    @property
    def block(self) -> int:
        """Number of the block of noise that the samples lie in."""
        return self.start // BLOCK

    @property
    def inside(self) -> slice:
        """Where in that block the samples lie."""
        return slice(self.start - self.block * BLOCK, self.stop - self.block * BLOCK)

    @property
    def whole_block(self) -> Segment:
        """All samples of that block."""
        return self._replace(start=self.block * BLOCK, stop=(self.block + 1) * BLOCK)


class Queue:
    """Which samples to draw next: of the image with the lowest goal, then of the next one.

    So the classes of all images are selected first, and those that stop soon are finished before
    one that may take long is gone on with: what all of them take is known early.

    Parameters
    ----------
    votes : Votes
        What there is so far; counted into by `count`.
    plan : Plan
        Asked for an image's next goal when it has reached the last one.
    labels : sequence of int or None
        True class of each image, where known.
    one_segment : bool
        Whether a batch holds one segment and no more.
    """

    def __init__(
        self, votes: Votes, plan: Plan, labels: Sequence[int | None], *, one_segment: bool
    ) -> None:
        self._votes, self._plan, self._labels = votes, plan, labels
        self._one_segment = one_segment
        # Samples handed out so far, votes of which may still be missing.
        self._selected = votes.selection[:, 0].sum(axis=1)
        self._estimated = votes.estimation.sum(axis=2).max(axis=1)
        self._unfinished = [row for row in range(len(labels)) if votes.wanting(row).size]
        self._next_goals = {row: self._next_goal(row) for row in self._unfinished}

    def can_extend(self, batch: list[Segment], size: int) -> bool:
        """Tell whether a batch of at most `size` samples has room for a segment."""
        return not batch if self._one_segment else length(batch) < size

    def next_batch(self, size: int) -> list[Segment]:
        """Take samples for a batch, at most `size`; none while no image wants more."""
        batch: list[Segment] = []
        for row in sorted(self._unfinished, key=self._next_goals.__getitem__):
            while size > 0 and (segment := self._take(row, size)):
                batch.append(segment)
                size -= segment.length
                if self._one_segment:
                    return batch
            if size == 0:
                break
        return batch

    def count(self, batch: list[Segment], predictions: np.ndarray) -> None:
        """Count the votes of a batch, and ask for new goals.

        Parameters
        ----------
        batch : list of Segment
            One that `next_batch` gave, or a part of it; an image's in their order.
        predictions : ndarray of int, shape (classifiers, samples)
            The class of each sample; those a classifier does not want are not read.
        """
        votes, column = self._votes, 0
        for segment in batch:
            columns = slice(column, column + segment.length)
            column = columns.stop
            counts = votes.selection if segment.phase == SELECTION else votes.estimation
            for index in segment.wanted:
                counts[segment.row, index] += np.bincount(
                    predictions[index, columns], minlength=counts.shape[2]
                )
            self._update_goals(segment)

    def _take(self, row: int, size: int) -> Segment | None:
        everyone = tuple(range(self._votes.goals.shape[1]))
        start = int(self._selected[row])
        if start < self._plan.n0:
            segment = _cut(row, SELECTION, start, min(self._plan.n0, start + size), everyone)
            self._selected[row] = segment.stop
            return segment
        # Classifiers that want more have all seen the same samples; the nearest goal
        # comes first, so that what one classifier counts never depends on the others.
        wanted = self._votes.wanting(row)
        start = int(self._estimated[row])
        stop = min(int(self._votes.goals[row, wanted].min()), start + size)
        if start >= stop:  # all is handed out; the goals wait for the votes
            return None
        segment = _cut(row, ESTIMATION, start, stop, tuple(wanted.tolist()))
        self._estimated[row] = segment.stop
        return segment

    def _update_goals(self, segment: Segment) -> None:
        votes, row = self._votes, segment.row
        if segment.phase == SELECTION:
            reached = range(votes.goals.shape[1]) if segment.stop == self._plan.n0 else ()
        else:
            reached = [i for i in segment.wanted if votes.goals[row, i] == segment.stop]
        for index in reached:
            votes.goals[row, index] = self._plan.goal(
                self._labels[row], votes.selection[row, index], votes.estimation[row, index]
            )
        if votes.wanting(row).size:
            self._next_goals[row] = self._next_goal(row)
        else:
            self._unfinished.remove(row)

    def _next_goal(self, row: int) -> int:
        """Return the lowest goal that an image has not reached."""
        return int(self._votes.goals[row, self._votes.wanting(row)].min())


def length(batch: list[Segment]) -> int:
    """Return how many samples a batch has."""
    return sum(segment.length for segment in batch)


def split(batch: list[Segment], size: int) -> list[list[Segment]]:
    """Cut a batch into parts of at most `size` samples, in the same order.

    Examples
    --------
    >>> batch = [Segment(0, SELECTION, 0, 30, (0,)), Segment(1, SELECTION, 0, 10, (0,))]
    >>> [[(s.row, s.start, s.stop) for s in part] for part in split(batch, 25)]
    [[(0, 0, 25)], [(0, 25, 30), (1, 0, 10)]]
    """
    parts: list[list[Segment]] = [[]]
    for segment in batch:
        while segment.length:
            room = size - length(parts[-1])
            if room == 0:
                parts.append([])
                continue
            cut = min(segment.start + room, segment.stop)
            parts[-1].append(segment._replace(stop=cut))
            segment = segment._replace(start=cut)
    return parts


def places(batch: list[Segment], classifier: int) -> list[slice]:
    """Return where in a batch the samples lie that a classifier counts.

    Examples
    --------
    >>> batch = [Segment(0, SELECTION, 0, 30, (0,)), Segment(1, SELECTION, 0, 10, (0, 1))]
    >>> places(batch, classifier=1)
    [slice(30, 40, None)]
    """
    found, column = [], 0
    for segment in batch:
        if classifier in segment.wanted:
            found.append(slice(column, column + segment.length))
        column += segment.length
    return found


def _cut(row: int, phase: str, start: int, stop: int, wanted: tuple[int, ...]) -> Segment:
    """Make the segment from `start`, ended by `stop` or by the end of the block."""
    return Segment(row, phase, start, min(stop, (start // BLOCK + 1) * BLOCK), wanted)
