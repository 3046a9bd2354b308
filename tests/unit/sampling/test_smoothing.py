"""Votes depend on seed, image, sigma and plan alone, whatever the layout of the work."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dds.networks.denoisers import NoDenoiser
from dds.sampling import smoothing
from dds.sampling.smoothing import SmoothedClassifier, Votes
from dds.statistics.plans import make_plan

SIGMA = 0.5
IMAGES, CLASSES = 7, 3
PIXELS = np.random.default_rng(0).integers(0, 256, (IMAGES, 1, 2, 2)) / 255
PLANS = {
    "fixed": {"plan": "fixed", "n0": 30, "n": 250},
    "curtailed": {"plan": "fixed", "n0": 30, "n": 400, "curtail": True, "alpha": 0.01},
    "sequential": {
        "plan": "sequential", "n0": 100, "n": 900, "alpha": 0.01, "radii": [0.0, 0.25, 0.5],
    },
}  # fmt: skip


class Brightness(nn.Module):
    """Votes by the mean of the image, against a threshold."""

    def __init__(self, low, high):
        super().__init__()
        self.low, self.high = low, high

    def forward(self, images):
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([self.low - mean, 0 * mean, mean - self.high], dim=1)


CLASSIFIERS = {"strict": Brightness(0.3, 0.7), "lax": Brightness(0.45, 0.55)}


def smoothed(plan="fixed", classifiers=CLASSIFIERS, **options):
    return SmoothedClassifier(
        classifiers, NoDenoiser(), SIGMA, make_plan(PLANS[plan], SIGMA), 1, **options
    )


def sample(smooth, rows=range(IMAGES), **options):
    rows = list(rows)
    labels = [row % CLASSES for row in rows]
    return smooth.sample(PIXELS[rows], labels, rows, classes=CLASSES, **options)


def same(first, second):
    return (
        np.array_equal(first.selection, second.selection)
        and np.array_equal(first.estimation, second.estimation)
        and np.array_equal(first.goals, second.goals)
    )


def test_fixed_plan_draws_n0_and_n():
    votes = sample(smoothed())
    assert (votes.selection.sum(axis=2) == 30).all()
    assert (votes.estimation.sum(axis=2) == 250).all()
    assert votes.samples == IMAGES * 280


def test_votes_follow_the_true_probabilities():
    image, n = np.full((1, 1, 2, 2), 0.5), 40_000
    plan = make_plan({"plan": "fixed", "n0": 1, "n": n}, SIGMA)
    smooth = SmoothedClassifier({"c": Brightness(0.4, 0.6)}, NoDenoiser(), SIGMA, plan, 1,
                                batch_size=5000)  # fmt: skip
    share = smooth.sample(image, [1], [0], classes=3).estimation[0, 0] / n
    # The mean of four pixels has a standard deviation of sigma / 2; class 0 wins below
    # 0.4 and class 2 above 0.6, each by more than class 1's constant logit.
    tail = 0.5 * (1 - torch.erf(torch.tensor(0.1 / (SIGMA / 2) / 2**0.5)).item())
    np.testing.assert_allclose(share, [tail, 1 - 2 * tail, tail], atol=0.01)


@pytest.mark.parametrize("plan", PLANS)
@given(batch_size=st.integers(1, 700), cut=st.integers(1, IMAGES - 1), backwards=st.booleans())
@settings(max_examples=15)
def test_layout_does_not_matter(plan, batch_size, cut, backwards):
    expected = sample(smoothed(plan))
    smooth = smoothed(plan, batch_size=batch_size)
    shards = [range(cut), range(cut, IMAGES)]
    for rows in shards:
        order = list(reversed(rows)) if backwards else list(rows)
        votes = sample(smooth, order)
        for at, row in enumerate(order):
            np.testing.assert_array_equal(votes.selection[at], expected.selection[row])
            np.testing.assert_array_equal(votes.estimation[at], expected.estimation[row])


@pytest.mark.parametrize("plan", PLANS)
def test_deterministic_draws_the_same_samples(plan):
    assert same(sample(smoothed(plan, deterministic=True)), sample(smoothed(plan, batch_size=64)))


@pytest.mark.parametrize("plan", PLANS)
def test_classifiers_do_not_influence_each_other(plan):
    together = sample(smoothed(plan))
    for index, (name, classifier) in enumerate(CLASSIFIERS.items()):
        alone = sample(smoothed(plan, {name: classifier}))
        np.testing.assert_array_equal(alone.estimation[:, 0], together.estimation[:, index])


class Stop(Exception):
    """Interrupts sampling."""


@pytest.mark.parametrize("plan", PLANS)
@given(stops=st.lists(st.integers(1, 9), min_size=1, max_size=8), batch_size=st.integers(20, 300))
@settings(max_examples=10)
def test_interrupted_sampling_goes_on_where_it_was(plan, stops, batch_size):
    expected = sample(smoothed(plan))
    smooth = smoothed(plan, batch_size=batch_size)
    votes = Votes.none(IMAGES, len(CLASSIFIERS), CLASSES)
    for stop in stops:
        batches = iter(range(stop))

        def count(votes, batches=batches):
            if next(batches, None) is None:
                raise Stop

        try:
            sample(smooth, votes=votes, after_batch=count)
        except Stop:
            votes = Votes(votes.selection.copy(), votes.estimation.copy(), votes.goals.copy())
    assert same(sample(smooth, votes=votes), expected)


def test_batches_are_filled_across_images():
    sizes = []

    class Spy(Brightness):
        def forward(self, images):
            sizes.append(len(images))
            return super().forward(images)

    sample(smoothed("sequential", {"spy": Spy(0.45, 0.55)}, batch_size=128))
    assert sizes[0] == 128
    assert sum(size == 128 for size in sizes) >= len(sizes) // 2


class Greedy(Brightness):
    """Runs out of memory above a batch size."""

    def __init__(self, most):
        super().__init__(0.45, 0.55)
        self.most = most

    def forward(self, images):
        if len(images) > self.most:
            raise torch.OutOfMemoryError
        return super().forward(images)


@pytest.mark.parametrize("plan", PLANS)
def test_out_of_memory_halves_the_batch_and_goes_on(plan):
    expected = sample(smoothed(plan, {"greedy": Greedy(700)}))
    smooth = smoothed(plan, {"greedy": Greedy(70)}, batch_size=512)
    assert same(sample(smooth), expected)
    assert smooth.batch_size == 64


def test_out_of_memory_with_one_sample_or_fixed_shapes_is_an_error():
    for options in ({}, {"deterministic": True}):
        with pytest.raises(torch.OutOfMemoryError):
            sample(smoothed("fixed", {"greedy": Greedy(0)}, **options))


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    "options", [{"batch_size": 37}, {"batch_size": 400}, {"deterministic": True}]
)
def test_counting_may_lag_behind(plan, options):
    """As on a GPU, where a batch is queued before the votes of the last are known."""
    smooth = smoothed(plan, **options)
    smooth._ahead = 3
    assert same(sample(smooth), sample(smoothed(plan)))


@pytest.mark.parametrize("plan", PLANS)
def test_compiled_networks_see_four_shapes_and_count_the_same(plan, monkeypatch):
    shapes = set()

    class Spy(Brightness):
        def forward(self, images):
            shapes.add(len(images))
            return super().forward(images)

    monkeypatch.setattr(smoothing, "compile_networks", lambda networks, run, once: True)
    spies = {"strict": Spy(0.3, 0.7), "lax": Spy(0.45, 0.55)}
    votes = sample(smoothed(plan, spies, batch_size=80, compiled=True))
    assert same(votes, sample(smoothed(plan)))
    assert shapes <= {20, 40, 60, 80}


def test_automatic_settings_are_replaced_by_what_ran():
    smooth = smoothed(precision="auto", batch_size="auto")
    assert smooth.precision in ("float32", "bfloat16")
    sample(smooth)
    assert isinstance(smooth.batch_size, int)


def test_seed_image_and_sigma_change_the_noise():
    votes = [
        SmoothedClassifier(
            CLASSIFIERS, NoDenoiser(), sigma, make_plan(PLANS["fixed"], sigma), seed
        ).sample(PIXELS[:1], [0], [image], classes=CLASSES).estimation
        for seed, image, sigma in [(1, 0, 0.5), (2, 0, 0.5), (1, 1, 0.5), (1, 0, 0.51)]
    ]  # fmt: skip
    assert all(not np.array_equal(votes[0], other) for other in votes[1:])


def test_integer_noise_gives_images_of_whole_levels():
    levels = []

    class Spy(Brightness):
        def forward(self, images):
            levels.append(images * 255)
            return super().forward(images)

    sample(smoothed("fixed", {"spy": Spy(0.3, 0.7)}, noise="integer"))
    all_levels = torch.cat(levels)
    torch.testing.assert_close(all_levels, all_levels.round(), atol=1e-3, rtol=0)
    assert all_levels.std() > 100


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="image 0 has values outside"):
        smoothed().sample(PIXELS[:1] + 1, [0], [0], classes=CLASSES)
    with pytest.raises(ValueError, match="image 0 has values that are no multiples of 1/255"):
        smoothed(noise="integer").sample(PIXELS[:1] / 2, [0], [0], classes=CLASSES)
    with pytest.raises(ValueError, match="'strict' has 3 classes, the dataset has 10"):
        smoothed().sample(PIXELS[:1], [0], [0], classes=10)
    with pytest.raises(FloatingPointError, match="'nan' returned NaN"):
        sample(smoothed(classifiers={"nan": Brightness(float("nan"), 0.7)}))
    for wrong in [
        {"noise": "pink"}, {"precision": "int8"}, {"batch_size": 0}, {"batch_size": "big"},
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            smoothed(**wrong)
