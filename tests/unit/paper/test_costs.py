"""Estimates count what networks do and what plans draw."""

from types import SimpleNamespace

import pytest

import costs
from dds.networks.description import ClassifierKeys, DenoiserKeys
from dds.statistics.plans import make_plan
from paper.costs import (
    ESTIMATED_PLANS,
    MARGINS,
    classifier_flops,
    denoiser_flops,
    estimate,
    expected_samples,
    image_shape,
)

CLASSES = [str(label) for label in range(10)]
UNET = DenoiserKeys(
    network="guided_diffusion_unet",
    arguments={
        "image_size": 8,
        "in_channels": 1,
        "out_channels": 2,
        "model_channels": 32,
        "num_res_blocks": 1,
        "attention_resolutions": [],
        "channel_mult": [1],
    },
    input={"channels": 1, "size": 8},
    schedule={"name": "cosine", "steps": 100},
)
WRN = ClassifierKeys(
    network="wide_resnet",
    arguments={"depth": 10, "width": 1},
    input={"channels": 1, "size": 8},
    classes=CLASSES,
)
CIFAR_UNET = DenoiserKeys(
    network="guided_diffusion_unet",
    arguments={
        "image_size": 32,
        "in_channels": 3,
        "out_channels": 6,
        "model_channels": 128,
        "num_res_blocks": 3,
        "attention_resolutions": [16, 8],
        "channel_mult": [1, 2, 2, 2],
        "num_heads": 4,
    },
    input={"channels": 3, "size": 32},
    schedule={"name": "cosine", "steps": 4000},
)
VIT = ClassifierKeys(
    network="transformers_vit",
    input={"channels": 3, "size": 224, "mean": [0.5], "std": [0.5]},
    classes=CLASSES,
)
EXPERIMENT = {
    "dataset": "digits",
    "denoiser": "unet",
    "steps": 1,
    "classifiers": ["one", "two"],
    "sigmas": [0.5, 1.0],
    "n0": 100,
    "n": 900,
    "alpha": 0.001,
    "images": 25,
    "images_per_shard": 10,
    "plan": "fixed",
}


@pytest.fixture
def source(tmp_path):
    """Return a function that writes a source of images of one size, or of sizes unknown."""

    def write(size):
        path = tmp_path / f"source_{size}.py".replace(" ", "")
        path.write_text(
            "from types import SimpleNamespace\n"
            "def images(keys):\n"
            f"    return SimpleNamespace(classes=10, channels=1, size={size})\n"
        )
        return SimpleNamespace(source=str(path))

    return write


@pytest.fixture
def study(source):
    """Return a function that makes a study of one experiment with other settings."""

    def make(**changes):
        return SimpleNamespace(
            datasets={"digits": source((8, 8))},
            models={"unet": UNET, "one": WRN, "two": WRN},
            experiments={"main": SimpleNamespace(**EXPERIMENT | changes)},
        )

    return make


def test_flops_of_the_papers_cifar10_networks():
    assert denoiser_flops(CIFAR_UNET, (3, 32, 32)) / 2 == pytest.approx(8.39e9, rel=0.01)
    assert classifier_flops(VIT, (3, 32, 32)) / 2 == pytest.approx(17.6e9, rel=0.01)


def test_an_entry_that_is_a_mapping_counts_the_same():
    assert classifier_flops(WRN.model_dump(), (1, 8, 8)) == classifier_flops(WRN, (1, 8, 8))


def test_classifiers_share_what_is_denoised(study):
    (one,) = estimate(study(), rate=1e12)
    unet, classifier = denoiser_flops(UNET, (1, 8, 8)), classifier_flops(WRN, (1, 8, 8))
    assert one.samples == 25 * 2 * 1000
    assert one.flops == one.samples * (unet + 2 * classifier)
    assert one.gpu_hours == pytest.approx(one.flops / 1e12 / 3600)
    assert one.gpu_hours_unshared == pytest.approx(
        one.samples * 2 * (unet + classifier) / 1e12 / 3600
    )
    assert one.shards == 6
    assert one.hours_a_shard == pytest.approx(one.gpu_hours * 10 / 50)


def test_steps_of_a_chain_count(study):
    shot, chain, full = (
        estimate(study(steps=steps, sigmas=[0.5]), 1e12)[0].flops for steps in (1, 10, "all")
    )
    unet = denoiser_flops(UNET, (1, 8, 8))
    assert chain - shot == 9 * unet * 25 * 1000
    assert full > chain


def test_no_denoiser_costs_nothing(study):
    (one,) = estimate(study(denoiser="none"), 1e12)
    assert one.flops == one.samples * 2 * classifier_flops(WRN, (1, 8, 8))


def test_images_are_as_large_as_their_source_says_or_as_the_classifier_wants(source):
    assert image_shape(source((4, 6)), WRN) == (1, 4, 6)
    assert image_shape(source(None), WRN) == (1, 8, 8)


@pytest.mark.parametrize("plan", ESTIMATED_PLANS)
def test_the_plan_that_is_asked_for_is_among_those_estimated(study, plan):
    radii = {} if plan == "fixed" else {"radii": [0.25, 0.5]}
    (one,) = estimate(study(plan=plan, **radii), 1e12)
    assert one.chosen == plan
    assert tuple(one.expected) == ESTIMATED_PLANS
    assert one.expected["fixed"] == pytest.approx(one.gpu_hours)
    assert one.expected["sequential"] < one.expected["curtailed"] < one.expected["fixed"]


def test_another_plan_that_is_asked_for_has_a_column(study):
    asked, other = (estimate(study(**plan), 1e12)[0] for plan in ({"plan": "radius"}, {}))
    assert tuple(asked.expected) == (*ESTIMATED_PLANS, "radius")
    assert asked.expected["sequential"] < asked.expected["radius"] < asked.expected["fixed"]
    header, first, second, total = costs.table([asked, other]).splitlines()[1:]
    assert header.split()[-1] == "radius"
    assert first.endswith("*")
    assert len(second) < len(first)
    assert len(total) < len(first)


@pytest.mark.parametrize("sigma", MARGINS)
def test_plans_save_samples(sigma):
    settings = {"n0": 100, "n": 10_000, "alpha": 0.001, "radii": [0.0, 0.25, 0.5]}
    fixed, curtailed, sequential = (
        expected_samples(make_plan(settings | {"plan": plan}, sigma), sigma)
        for plan in ESTIMATED_PLANS
    )
    assert fixed == 10_100
    # Curtailing spares the misclassified images whole, and no image that is certified.
    certified = MARGINS[sigma][0][1]
    assert 100 + certified * 0.9 * 10_000 < curtailed < 100 + certified * 10_000 + 100
    assert sequential < curtailed


def test_a_rate_must_be_positive(study):
    with pytest.raises(ValueError, match="rate"):
        estimate(study(), 0)
