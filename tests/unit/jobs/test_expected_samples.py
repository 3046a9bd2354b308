"""How many samples a shard takes is known for every plan as well as it can be."""

import numpy as np
import pytest

from dds.sampling.votes import Queue, Votes
from dds.statistics.plans import make_plan
from jobs.shard import expected_samples

IMAGES, N0, N = 40, 100, 5_000
PLANS = {
    "fixed": {"plan": "fixed"},
    "curtailed": {"plan": "curtailed", "radii": [0.25]},
    "sequential": {"plan": "sequential", "radii": [0.25, 0.5]},
}


def draw(plan, batch):
    """Yield the votes of images, easy, hard and misclassified ones, after each batch."""
    rng = np.random.default_rng(1)
    right = rng.choice([0.6, 0.9, 0.999], IMAGES)
    labels = rng.choice([0, 1], IMAGES, p=[0.8, 0.2]).tolist()
    votes = Votes.none(IMAGES, classifiers=1, classes=2)
    queue = Queue(votes, plan, labels, one_segment=False)
    while segments := queue.next_batch(batch):
        drawn = [rng.random(part.length) > right[part.row] for part in segments]
        queue.count(segments, np.concatenate(drawn)[None].astype(int))
        yield votes


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("batch", [200, 2000])
def test_what_is_left_is_about_what_comes(plan, batch):
    plan = make_plan(PLANS[plan] | {"n0": N0, "n": N, "alpha": 0.001}, sigma=0.5)
    course = [(votes.samples, expected_samples(votes, N0, N)) for votes in draw(plan, batch)]
    total, expected = course[-1]
    assert expected == total  # a finished shard is done by all its samples
    for samples, expected in course:
        if samples > total / 4:
            assert expected - samples == pytest.approx(total - samples, rel=0.75, abs=2 * N)


def test_a_fixed_plan_is_known_from_the_first_image_on():
    plan = make_plan({"plan": "fixed", "n0": N0, "n": N}, sigma=0.5)
    for votes in draw(plan, 1000):
        assert expected_samples(votes, N0, N) == IMAGES * (N0 + N)


def test_nothing_is_expected_before_anything_is_known():
    assert expected_samples(Votes.none(IMAGES, 1, 2), N0, N) is None
