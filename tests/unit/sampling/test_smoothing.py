"""Votes depend on seed, image, sigma and plan alone, whatever the layout of the work."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from brightness import (
    CLASSES,
    CLASSIFIERS,
    IMAGES,
    PIXELS,
    PLANS,
    SIGMA,
    Brightness,
    Spy,
    count_votes,
    same,
    smoothed,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dds.networks.denoisers import DiffusionDenoiser, NoDenoiser
from dds.networks.schedules import cosine_schedule
from dds.sampling.noise import NoiseSource
from dds.sampling.smoothing import SmoothedClassifier
from dds.sampling.votes import Segment, Votes
from dds.seeds import ESTIMATION
from dds.statistics.plans import make_plan


def test_fixed_plan_draws_n0_and_n():
    votes = count_votes(smoothed())
    assert (votes.selection.sum(axis=2) == 30).all()
    assert (votes.estimation.sum(axis=2) == 250).all()
    assert votes.samples == IMAGES * 280


def test_votes_follow_the_true_probabilities():
    image, n = np.full((1, 1, 2, 2), 0.5), 40_000
    plan = make_plan({"plan": "fixed", "n0": 1, "n": n}, SIGMA)
    smooth = SmoothedClassifier(
        {"c": Brightness(0.4, 0.6)}, NoDenoiser(), SIGMA, plan, 1, batch_size=5000
    )
    share = smooth.count_votes(image, [1], [0], classes=3).estimation[0, 0] / n
    # The mean of four pixels has a standard deviation of sigma / 2; class 0 wins below
    # 0.4 and class 2 above 0.6, each by more than class 1's constant logit.
    tail = 0.5 * (1 - torch.erf(torch.tensor(0.1 / (SIGMA / 2) / 2**0.5)).item())
    np.testing.assert_allclose(share, [tail, 1 - 2 * tail, tail], atol=0.01)


@pytest.mark.parametrize("plan", PLANS)
@given(batch_size=st.integers(1, 700), cut=st.integers(1, IMAGES - 1), backwards=st.booleans())
@settings(max_examples=15)
def test_layout_does_not_matter(plan, batch_size, cut, backwards):
    expected = count_votes(smoothed(plan))
    smooth = smoothed(plan, batch_size=batch_size)
    shards = [range(cut), range(cut, IMAGES)]
    for rows in shards:
        order = list(reversed(rows)) if backwards else list(rows)
        votes = count_votes(smooth, order)
        for at, row in enumerate(order):
            np.testing.assert_array_equal(votes.selection[at], expected.selection[row])
            np.testing.assert_array_equal(votes.estimation[at], expected.estimation[row])


@pytest.mark.parametrize("plan", PLANS)
def test_deterministic_draws_the_same_samples(plan):
    assert same(
        count_votes(smoothed(plan, deterministic=True)), count_votes(smoothed(plan, batch_size=64))
    )


@pytest.mark.parametrize("plan", PLANS)
def test_classifiers_do_not_influence_each_other(plan):
    together = count_votes(smoothed(plan))
    for index, (name, classifier) in enumerate(CLASSIFIERS.items()):
        alone = count_votes(smoothed(plan, {name: classifier}))
        np.testing.assert_array_equal(alone.estimation[:, 0], together.estimation[:, index])


class Shrink(nn.Module):
    """Takes most of an image for noise."""

    def forward(self, x, time):
        return 0.4 * x


#: (images, classifiers, classes) of selection and estimation, by plan, and reverse steps or noise.
COUNTS = {
    ("fixed", "integer"): (
        [[[27, 3, 0], [29, 0, 1]], [[1, 16, 13], [6, 6, 18]]],
        [[[193, 55, 2], [234, 9, 7]], [[18, 119, 113], [49, 24, 177]]],
    ),
    ("sequential", "integer"): (
        [[[84, 15, 1], [94, 4, 2]], [[6, 48, 46], [23, 11, 66]]],
        [[[308, 89, 3], [281, 11, 8]], [[0, 0, 0], [144, 101, 655]]],
    ),
    ("fixed", 0): (
        [[[23, 7, 0], [26, 2, 2]], [[2, 7, 21], [6, 1, 23]]],
        [[[198, 52, 0], [233, 8, 9]], [[12, 105, 133], [30, 37, 183]]],
    ),
    ("curtailed", 0): (
        [[[23, 7, 0], [26, 2, 2]], [[2, 7, 21], [6, 1, 23]]],
        [[[319, 81, 0], [374, 14, 12]], [[17, 169, 214], [48, 58, 294]]],
    ),
    ("sequential", 0): (
        [[[81, 19, 0], [95, 2, 3]], [[4, 41, 55], [17, 7, 76]]],
        [[[239, 61, 0], [95, 1, 4]], [[38, 405, 457], [119, 127, 654]]],
    ),
    ("fixed", 3): (
        [[[15, 15, 0], [25, 4, 1]], [[0, 24, 6], [6, 6, 18]]],
        [[[111, 138, 1], [205, 32, 13]], [[6, 178, 66], [43, 44, 163]]],
    ),
    ("curtailed", 3): (
        [[[15, 15, 0], [25, 4, 1]], [[0, 24, 6], [6, 6, 18]]],
        [[[186, 212, 2], [327, 50, 23]], [[0, 0, 0], [61, 83, 256]]],
    ),
    ("sequential", 3): (
        [[[40, 60, 0], [88, 8, 4]], [[2, 78, 20], [18, 19, 63]]],
        [[[0, 0, 0], [161, 28, 11]], [[0, 0, 0], [35, 38, 127]]],
    ),
}


@pytest.mark.parametrize(
    "options", [{"batch_size": 7}, {"batch_size": 250}, {"deterministic": True}]
)
@pytest.mark.parametrize(("plan", "steps"), COUNTS)
def test_a_seed_gives_these_votes_for_ever(plan, steps, options):
    """Votes of one study are compared and merged over years, machines and versions."""
    # No sample's mean is closer to a threshold than 4e-5, so that rounding moves no vote.
    classifiers = {"strict": Brightness(0.3003, 0.6997), "lax": Brightness(0.4503, 0.5497)}
    denoiser, noise = NoDenoiser(), "float"
    if steps == "integer":
        noise = steps
    elif steps:
        denoiser = DiffusionDenoiser(Shrink(), cosine_schedule(20), steps=steps)
    smooth = smoothed(plan, classifiers, denoiser, noise=noise, **options)
    votes = smooth.count_votes(PIXELS[[1, 3]], [0, 2], [1, 3], classes=CLASSES)
    assert (votes.selection.tolist(), votes.estimation.tolist()) == COUNTS[plan, steps]


class Stop(Exception):
    """Interrupts sampling."""


@pytest.mark.parametrize("plan", PLANS)
@given(stops=st.lists(st.integers(1, 9), min_size=1, max_size=8), batch_size=st.integers(20, 300))
@settings(max_examples=10)
def test_interrupted_sampling_goes_on_where_it_was(plan, stops, batch_size):
    expected = count_votes(smoothed(plan))
    smooth = smoothed(plan, batch_size=batch_size)
    votes = Votes.none(IMAGES, len(CLASSIFIERS), CLASSES)
    for stop in stops:
        batches = iter(range(stop))

        def count(votes, batches=batches):
            if next(batches, None) is None:
                raise Stop

        try:
            count_votes(smooth, votes=votes, after_batch=count)
        except Stop:
            votes = Votes(votes.selection.copy(), votes.estimation.copy(), votes.goals.copy())
    assert same(count_votes(smooth, votes=votes), expected)


def test_seed_image_and_sigma_change_the_noise():
    votes = [
        SmoothedClassifier(CLASSIFIERS, NoDenoiser(), sigma, make_plan(PLANS["fixed"], sigma), seed)
        .count_votes(PIXELS[:1], [0], [image], classes=CLASSES)
        .estimation
        for seed, image, sigma in [(1, 0, 0.5), (2, 0, 0.5), (1, 1, 0.5), (1, 0, 0.51)]
    ]
    assert all(not np.array_equal(votes[0], other) for other in votes[1:])


def test_integer_noise_gives_images_of_whole_levels():
    spy = Spy(0.3, 0.7)
    count_votes(smoothed("fixed", {"spy": spy}, noise="integer"))
    all_levels = 255 * torch.cat(spy.seen)
    torch.testing.assert_close(all_levels, all_levels.round(), atol=1e-3, rtol=0)
    assert all_levels.std() > 100


def test_integer_noise_reaches_as_far_as_a_gaussian_and_has_no_ties():
    """Normals in float32 end at 5.77 on a CPU, and give about one tie in 100,000."""
    smooth = smoothed("fixed", {"f": Brightness(0.3, 0.7)}, noise="integer")
    normal = torch.tensor([5.9, -5.9, 0.5000001 / (255 * SIGMA)], dtype=torch.float64)
    levels = 255 * smooth._add_noise(torch.zeros(3), normal)
    assert levels.dtype == torch.float32
    assert levels.round().tolist() == [752, -752, 1]
    source = NoiseSource(1, SIGMA, [0], torch.zeros(1, 3, 32, 32), torch.float64)
    normal = source.normal([Segment(0, ESTIMATION, 0, 100, (0,))], 100)
    scaled = 255 * SIGMA * normal
    assert normal.dtype == torch.float64
    assert ((scaled - scaled.floor() - 0.5).abs() > 1e-12).all()


@pytest.mark.parametrize("sigma", [0, -1, float("nan"), 10.1, 64])
def test_sigma_is_in_units_of_the_unit_range(sigma):
    with pytest.raises(ValueError, match="sigma must be above 0 and at most 10 in .* pixel units"):
        SmoothedClassifier(CLASSIFIERS, NoDenoiser(), sigma, make_plan(PLANS["fixed"], SIGMA), 1)


def test_networks_may_hold_their_logits():
    class Holds(nn.Module):
        def forward(self, images):
            return SimpleNamespace(logits=CLASSIFIERS["strict"](images))

    held = count_votes(smoothed(classifiers={"f": Holds()}))
    assert same(held, count_votes(smoothed(classifiers={"f": CLASSIFIERS["strict"]})))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_in_other_numbers_are_named(kind):
    network = nn.Sequential(nn.Conv2d(1, CLASSES, 2), nn.Flatten()).to(kind)
    name = str(kind).removeprefix("torch.")
    with pytest.raises(ValueError, match=f"classifier 'f' has weights in {name} and is given"):
        count_votes(smoothed(classifiers={"f": network}))
    denoiser = DiffusionDenoiser(nn.Conv2d(1, 1, 1).to(kind), cosine_schedule(20))
    denoiser.network.forward = lambda x, time: nn.Conv2d.forward(denoiser.network, x)
    with pytest.raises(ValueError, match=f"the denoiser has weights in {name} and is given"):
        count_votes(smoothed(denoiser=denoiser))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="image 0 has values outside"):
        smoothed().count_votes(PIXELS[:1] + 1, [0], [0], classes=CLASSES)
    with pytest.raises(ValueError, match="image 0 has values that are no multiples of 1/255"):
        smoothed(noise="integer").count_votes(PIXELS[:1] / 2, [0], [0], classes=CLASSES)
    with pytest.raises(ValueError, match="unknown noise 'pink'"):
        smoothed(noise="pink")


class Returns(nn.Module):
    """A classifier that does something else to its logits at the end."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, images):
        return self.change(CLASSIFIERS["strict"](images))


@pytest.mark.parametrize("options", [{"batch_size": 50}, {"deterministic": True}])
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda logits: logits[:1], "'f' returned 1 rows of logits for {rows} images"),
        (
            lambda logits: logits.repeat(2, 1),
            "'f' returned {twice} rows of logits for {rows} images",
        ),
        (lambda logits: logits[:, :1], "'f' has a single logit"),
        (lambda logits: logits[:, :2], "'f' has 2 classes, the dataset has 3"),
        (lambda logits: logits[:, 0], r"'f' must return logits of .* not \({rows},\)"),
        (lambda logits: logits[..., None], r"'f' must return logits of .* not \({rows}, 3, 1\)"),
        (lambda logits: (logits, 0), "'f' must return logits of .* not tuple"),
    ],
)
def test_logits_of_another_shape_are_refused(change, problem, options):
    rows = options.get("batch_size", 100)
    with pytest.raises(ValueError, match=f"classifier {problem.format(rows=rows, twice=2 * rows)}"):
        count_votes(smoothed(classifiers={"f": Returns(change)}, **options))


def test_one_class_is_no_choice():
    smooth = smoothed(classifiers={"f": Returns(lambda logits: logits[:, :1])})
    with pytest.raises(ValueError, match="'f' has a single logit; .* 2 classes or more"):
        smooth.count_votes(PIXELS[:1], [0], [0], classes=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_finite_are_refused(value):
    with pytest.raises(FloatingPointError, match="'broken' returned NaN or infinity"):
        count_votes(smoothed(classifiers=CLASSIFIERS | {"broken": Brightness(value, 0.7)}))


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        (lambda images: images[:, :1], (50, 1, 2, 2)),
        (lambda images: images[:1], (1, 3, 2, 2)),
        (lambda images: images.mean(dim=(2, 3), keepdim=True), (50, 3, 1, 1)),
    ],
)
def test_denoised_images_of_another_shape_are_refused(change, shape):
    class Mine(NoDenoiser):
        def denoise(self, noisy, sigma, normal=None):
            return change(noisy)

    smooth = smoothed(denoiser=Mine(), batch_size=50)
    problem = f"denoiser Mine returned shape {shape} for images of shape (50, 3, 2, 2)"
    with pytest.raises(ValueError, match=re.escape(problem)):
        smooth.count_votes(PIXELS.repeat(3, axis=1), [0] * IMAGES, range(IMAGES), classes=CLASSES)


def test_a_dataset_of_other_classes_is_refused():
    with pytest.raises(ValueError, match="'strict' has 3 classes, the dataset has 10"):
        smoothed().count_votes(PIXELS[:1], [0], [0], classes=10)
