"""Estimates count what networks do and what plans draw."""

import pytest

from dds.statistics.plans import make_plan
from paper.costs import MARGINS, classifier_flops, denoiser_flops, estimate, expected_samples

CLASSES = [str(label) for label in range(10)]
UNET = {
    "network": "guided_diffusion_unet",
    "arguments": {
        "image_size": 8, "in_channels": 1, "out_channels": 2, "model_channels": 32,
        "num_res_blocks": 1, "attention_resolutions": [], "channel_mult": [1],
    },
    "input": {"channels": 1, "size": 8},
    "schedule": {"name": "cosine", "steps": 100},
}  # fmt: skip
WRN = {
    "network": "wide_resnet",
    "arguments": {"depth": 10, "width": 1},
    "input": {"channels": 1, "size": 8},
    "classes": CLASSES,
}
CIFAR_UNET = {
    "network": "guided_diffusion_unet",
    "arguments": {
        "image_size": 32, "in_channels": 3, "out_channels": 6, "model_channels": 128,
        "num_res_blocks": 3, "attention_resolutions": [16, 8], "channel_mult": [1, 2, 2, 2],
        "num_heads": 4,
    },
    "input": {"channels": 3, "size": 32},
    "schedule": {"name": "cosine", "steps": 4000},
}  # fmt: skip
VIT = {
    "network": "transformers_vit",
    "input": {"channels": 3, "size": 224, "mean": [0.5], "std": [0.5]},
    "classes": CLASSES,
}
EXPERIMENT = {
    "dataset": "digits", "denoiser": "unet", "classifiers": ["one", "two"], "sigmas": [0.5, 1.0],
    "n0": 100, "n": 900, "alpha": 0.001, "images": 25, "images_per_shard": 10, "plan": "fixed",
}  # fmt: skip


def study(**changes):
    return {
        "datasets": {"digits": {"source": "sklearn_digits"}},
        "models": {"unet": UNET, "one": WRN, "two": WRN},
        "experiments": {"main": EXPERIMENT | changes},
    }


def test_flops_of_the_papers_cifar10_networks():
    assert denoiser_flops(CIFAR_UNET, (3, 32, 32)) / 2 == pytest.approx(8.39e9, rel=0.01)
    assert classifier_flops(VIT, (3, 32, 32)) / 2 == pytest.approx(17.6e9, rel=0.01)


def test_classifiers_share_what_is_denoised():
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


def test_steps_of_a_chain_count():
    shot, chain, full = (
        estimate(study(steps=steps, sigmas=[0.5]), 1e12)[0].flops for steps in (1, 10, 0)
    )
    unet = denoiser_flops(UNET, (1, 8, 8))
    assert chain - shot == 9 * unet * 25 * 1000
    assert full > chain


def test_no_denoiser_costs_nothing():
    (one,) = estimate(study(denoiser="none"), 1e12)
    assert one.flops == one.samples * 2 * classifier_flops(WRN, (1, 8, 8))


@pytest.mark.parametrize("sigma", MARGINS)
def test_plans_save_samples(sigma):
    settings = {"n0": 100, "n": 10_000, "alpha": 0.001, "radii": [0.0, 0.25, 0.5]}
    fixed, curtailed, sequential = (
        expected_samples(make_plan(settings | plan, sigma), sigma)
        for plan in (
            {"plan": "fixed"},
            {"plan": "fixed", "curtail": True},
            {"plan": "sequential"},
        )
    )
    assert fixed == 10_100
    # Curtailing spares the misclassified images whole, and no image that is certified.
    certified = MARGINS[sigma][0][1]
    assert 100 + certified * 0.9 * 10_000 < curtailed < 100 + certified * 10_000 + 100
    assert sequential < curtailed


def test_a_rate_must_be_positive():
    with pytest.raises(ValueError, match="rate"):
        estimate(study(), 0)
