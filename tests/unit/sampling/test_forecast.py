"""How long a shard takes is known early, whichever plan draws, in whichever order images come."""

import logging

import numpy as np
import pytest
from scipy.special import ndtr

from dds import progress
from dds.progress import Progress
from dds.sampling.forecast import Forecast
from dds.sampling.votes import Queue, Votes
from dds.statistics.plans import make_plan, simulate

IMAGES, N0, N, RATE = 200, 100, 5_000, 1_000  # samples a second
PLANS = {
    "fixed": {"plan": "fixed"},
    "curtailed": {"plan": "curtailed", "radii": [0.25]},
    "sequential": {"plan": "sequential", "radii": [0.25, 0.5]},
    "radius": {"plan": "radius", "within": 0.1},
}
STOPPING = [name for name in PLANS if name != "fixed"]

PROBABILITIES = ndtr(np.random.default_rng(1).uniform(-0.5, 3.5, IMAGES))
ORDERS = {"easy first": 1, "hard first": -1}


def plan_of(name, n=N):
    return make_plan(PLANS[name] | {"n0": N0, "n": n, "alpha": 0.001}, sigma=0.5)


def draw(plan, batch, order=1):
    """Yield the votes of images, one in ten misclassified, after each batch."""
    rng = np.random.default_rng(1)
    takes = [simulate(plan, 0, p, rng) for p in PROBABILITIES]
    right = PROBABILITIES[np.argsort(takes)][::order]
    labels = rng.choice([0, 1], IMAGES, p=[0.9, 0.1]).tolist()
    votes = Votes.none(IMAGES, classifiers=1, classes=2)
    queue = Queue(votes, plan, labels, one_segment=False)
    while segments := queue.next_batch(batch):
        drawn = [rng.random(part.length) > right[part.row] for part in segments]
        queue.count(segments, np.concatenate(drawn)[None].astype(int))
        yield votes


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize(
    ("plan", "n"), [("curtailed", N), ("sequential", N), ("sequential", 100_000), ("radius", N)]
)
def test_the_time_left_is_right_by_a_factor_of_two(plan, n, order, monkeypatch):
    clock = {"now": 0.0}
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock["now"])
    plan, course = plan_of(plan, n), []
    forecast = Forecast(plan)
    with Progress(None, "certify", "samples", parts=IMAGES, part_unit="images") as work:
        for votes in draw(plan, 2_000, order):
            clock["now"] = votes.samples / RATE
            decided = int(votes.finished.sum())
            work.advance(
                votes.samples - work.done, total=forecast.samples(votes), parts_done=decided
            )
            course.append((decided, clock["now"], work.seconds_left))
    decided, times, left = (np.array(column, float) for column in zip(*course, strict=True))
    assert (np.diff(decided) >= 0).all()
    assert (decided[-1], left[-1]) == (IMAGES, 0)
    truth = times[-1] - times
    told = (decided >= IMAGES / 4) & (decided <= 0.95 * IMAGES)  # the last few are chance
    assert told.sum() > 10
    assert (left[told] < 2 * truth[told]).all()
    assert (left[told] > truth[told] / 2).all()


def test_a_fixed_plan_is_known_before_the_first_sample():
    forecast = Forecast(plan_of("fixed"))
    assert forecast.is_certain
    assert forecast.samples(Votes.none(IMAGES, 1, 2)) == IMAGES * (N0 + N)
    for votes in draw(plan_of("fixed"), 1000):
        assert forecast.samples(votes) == IMAGES * (N0 + N)


@pytest.mark.parametrize("plan", STOPPING)
def test_nothing_is_expected_before_anything_is_known(plan):
    forecast = Forecast(plan_of(plan))
    assert not forecast.is_certain
    assert forecast.samples(Votes.none(IMAGES, 1, 2)) is None


def test_the_classifier_that_wants_most_decides():
    plan = plan_of("sequential")
    easy, hard, both = (Votes.none(1, classifiers, 2) for classifiers in (1, 1, 2))
    easy.selection[0] = both.selection[0, 0] = 100, 0
    hard.selection[0] = both.selection[0, 1] = 84, 16
    for votes in (easy, hard, both):
        votes.goals[:] = 100
    expected = [Forecast(plan).samples(votes) for votes in (easy, hard, both)]
    assert expected[0] < expected[1] == expected[2]


def test_the_line_of_a_stopping_plan_counts_images(caplog, monkeypatch):
    clock = {"now": 0.0}
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock["now"])
    label = "certify cifar10 sigma 0.25 images_0-15"
    with (
        caplog.at_level(logging.INFO),
        Progress(None, label, "samples", parts=16, part_unit="images") as work,
    ):
        work.advance(2_000, parts_done=0)
        clock["now"] = 150.0
        work.advance(810_000, total=1_514_000, parts_done=7)
    expected = f"{label}: 7 of 16 images, 812,000 samples, 5,400 samples/s, ETA 2:10"
    assert caplog.messages[-1] == expected
