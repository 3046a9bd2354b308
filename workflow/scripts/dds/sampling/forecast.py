"""How many samples images will take, by what is known of them so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from dds.progress import Progress
from dds.statistics.plans import simulate

if TYPE_CHECKING:
    from dds.sampling.votes import Votes
    from dds.statistics.plans import Plan

#: Images are simulated at so many probabilities of the selected class.
_SIMULATED = 128

#: More votes than these say no more of an image than they do: the next simulated one is as far.
_MOST_VOTES = 400

#: An image that takes more than nearly all simulated ones is expected to take as much again.
_RARE = 0.02

_FINISHED = -2  # in place of a goal


class Forecast:
    """How many samples the images of a shard will take in all.

    What a plan draws of an image depends on the probability of its class. It is simulated once
    for many probabilities; an image takes the mean of them, weighted by how likely its votes
    are at each. So something is known of an image as soon as its class is selected.

    Parameters
    ----------
    plan : Plan
        See `dds.statistics.plans`.

    Examples
    --------
    Four images, of which one is finished after 200 samples, and the others wait for theirs:

    >>> from dds.sampling.votes import Votes
    >>> from dds.statistics.plans import make_plan
    >>> plan = make_plan({"plan": "curtailed", "n0": 100, "n": 1000, "alpha": 0.001}, sigma=0.5)
    >>> votes = Votes.none(images=4, classifiers=1, classes=2)
    >>> votes.selection[0, 0, 0], votes.estimation[0, 0, 0], votes.goals[0, 0] = 100, 100, 100
    >>> Forecast(plan).samples(votes)
    800
    """

    def __init__(self, plan: Plan) -> None:
        self._plan, random = plan, np.random.default_rng(0)
        # Evenly in radius, from those that are hopeless to those that are certain.
        z = np.linspace(-2.5, 4.5, _SIMULATED)
        self._p = np.array([NormalDist().cdf(one) for one in z])
        self._ends = np.array([simulate(plan, 0, p, random) for p in self._p])
        self._goals = self._expected = np.empty(0)

    @property
    def is_certain(self) -> bool:
        """Whether the plan draws as much of every image."""
        return bool((self._ends == self._plan.n).all())

    def samples(self, votes: Votes) -> int | None:
        """Return how many samples there will be when all images are finished, as far as is known.

        Parameters
        ----------
        votes : Votes
            Those so far; always of the same images.

        Returns
        -------
        int or None
            None while no image has its class selected.
        """
        known = (votes.goals >= 0).all(axis=1)
        if self.is_certain:
            return len(known) * (self._plan.n0 + self._plan.n)
        if not known.any():
            return None
        self._update(votes)
        ends = self._expected.max(axis=1)
        return round(len(known) * (self._plan.n0 + ends[known].mean()))

    def _update(self, votes: Votes) -> None:
        """Expect something else of the images that have got another goal, or are finished."""
        estimated = votes.estimation.sum(axis=2)
        goals = np.where(estimated < votes.goals, votes.goals, _FINISHED)
        if self._goals.shape != goals.shape:
            self._goals, self._expected = np.full(goals.shape, -1), np.zeros(goals.shape)
        for at in zip(*np.nonzero(self._goals != goals), strict=True):
            if goals[at] == _FINISHED:
                self._expected[at] = estimated[at]
            else:
                self._expected[at] = self._mean(votes, at)
        self._goals = goals

    def _mean(self, votes: Votes, at: tuple[int, ...]) -> float:
        """Return what an image takes on average that has the votes of one and is as far."""
        goal = int(votes.goals[at])
        as_far = self._ends >= goal
        selected = votes.selection[at].argmax()
        all_of_them = votes.selection[at] + votes.estimation[at]
        drawn, hits = all_of_them.sum(), all_of_them[selected]
        scale = min(1.0, _MOST_VOTES / drawn)
        with np.errstate(divide="ignore"):
            likely = hits * np.log(self._p) + (drawn - hits) * np.log1p(-self._p)
        weights = np.exp(scale * (likely - likely.max())) * np.gradient(self._p)
        if weights @ as_far < _RARE * weights.sum():
            return min(2 * goal, self._plan.n)
        weights *= as_far
        return float(weights @ self._ends / weights.sum())


@contextmanager
def sampling_progress(
    plan: Plan, votes: Votes, label: str, *, shown: bool | None = None
) -> Iterator[Callable[[], None]]:
    """Show how far the drawing of votes is, in samples, or in images where the plan may stop.

    Parameters
    ----------
    plan : Plan
        See `dds.statistics.plans`.
    votes : Votes
        Those so far, which more are counted into.
    label, shown
        As of `dds.progress.Progress`.

    Yields
    ------
    function
        To be called whenever more votes are counted.
    """
    forecast = Forecast(plan)
    with Progress(
        forecast.samples(votes),
        label,
        "samples",
        done=votes.samples,
        parts=None if forecast.is_certain else len(votes.goals),
        parts_done=int(votes.finished.sum()),
        part_unit="images",
        shown=shown,
    ) as progress:
        yield lambda: progress.advance(
            votes.samples - progress.done,
            total=forecast.samples(votes),
            parts_done=int(votes.finished.sum()),
        )
