"""Estimates count what networks do and what plans draw."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import costs
from dds.networks.description import ClassifierKeys, DenoiserKeys
from dds.statistics.plans import make_plan
from paper.costs import (
    ESTIMATED_PLANS,
    GPUS,
    MARGINS,
    START_SECONDS,
    Gpu,
    Rate,
    attack_hours,
    courses,
    estimate,
    image_shape,
    mean_longest,
    network_flops,
    read_rates,
    training_hours,
)

ROOT = Path(__file__).parents[3]
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
BEIT = ClassifierKeys(
    network="timm",
    arguments={
        "model": "beit_large_patch16_512",
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
    },
    input={"channels": 3, "size": 32, "mean": [0.5], "std": [0.5]},
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
    "precision": "float32",
}
#: A GPU that does 1 TFLOP/s in float32 and 4 in bfloat16.
GPU = Gpu({"float32": 1e12, "bfloat16": 4e12}, "assumed")


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
    assert network_flops(CIFAR_UNET, (3, 32, 32)) / 2 == pytest.approx(8.39e9, rel=0.01)
    assert network_flops(VIT, (3, 32, 32)) / 2 == pytest.approx(17.6e9, rel=0.01)


def test_flops_of_a_beit_are_at_least_those_of_its_weights():
    # 17 tokens of width 32 through 2 blocks, whose layers have 12 * 32 * 32 weights.
    assert 1 < network_flops(BEIT, (3, 32, 32)) / (2 * 2 * 17 * 12 * 32 * 32) < 1.5


def test_an_entry_that_is_a_mapping_counts_the_same():
    assert network_flops(WRN.model_dump(), (1, 8, 8)) == network_flops(WRN, (1, 8, 8))


def test_classifiers_share_what_is_denoised(study):
    (one,) = estimate(study(), GPU)
    unet, classifier = network_flops(UNET, (1, 8, 8)), network_flops(WRN, (1, 8, 8))
    assert one.expected_samples["fixed"] == 25 * 2 * 1000
    assert one.expected_flops["fixed"] == one.expected_samples["fixed"] * (unet + 2 * classifier)
    assert one.expected["fixed"] == pytest.approx(one.expected_flops["fixed"] / 1e12 / 3600)
    assert one.gpu_hours_unshared == pytest.approx(
        one.expected_samples["fixed"] * 2 * (unet + classifier) / 1e12 / 3600
    )
    assert one.shards == 6
    assert one.start_hours == pytest.approx(6 * START_SECONDS / 3600)
    assert one.hours == pytest.approx(one.expected["fixed"] + one.start_hours)
    assert one.hours_a_shard == pytest.approx(
        one.expected["fixed"] * 10 / 50 + START_SECONDS / 3600
    )
    assert one.measured == 0


def test_steps_of_a_chain_count(study):
    shot, chain, full = (
        estimate(study(steps=steps, sigmas=[0.5]), GPU)[0].expected_flops["fixed"]
        for steps in (1, 10, "all")
    )
    unet = network_flops(UNET, (1, 8, 8))
    assert chain - shot == 9 * unet * 25 * 1000
    assert full > chain


def test_no_denoiser_costs_nothing(study):
    (one,) = estimate(study(denoiser="none"), GPU)
    assert one.expected_flops["fixed"] == one.expected_samples["fixed"] * 2 * network_flops(
        WRN, (1, 8, 8)
    )


def test_images_are_as_large_as_their_source_says_or_as_the_classifier_wants(source):
    assert image_shape(source((4, 6)), WRN) == (1, 4, 6)
    assert image_shape(source(None), WRN) == (1, 8, 8)


@pytest.mark.parametrize("plan", ESTIMATED_PLANS)
def test_the_plan_that_is_asked_for_is_among_those_estimated(study, plan):
    radii = {} if plan == "fixed" else {"radii": [0.25, 0.5]}
    (one,) = estimate(study(plan=plan, **radii), GPU)
    assert one.chosen == plan
    assert tuple(one.expected) == ESTIMATED_PLANS
    assert one.expected["sequential"] < one.expected["curtailed"] < one.expected["fixed"]


def test_another_plan_that_is_asked_for_has_a_column(study):
    radius, fixed = study(plan="radius"), study()
    (asked,), (other,) = estimate(radius, GPU), estimate(fixed, GPU)
    assert tuple(asked.expected) == (*ESTIMATED_PLANS, "radius")
    assert asked.expected["sequential"] < asked.expected["radius"] < asked.expected["fixed"]
    header, first, second, total = costs.table(radius, [asked, other]).splitlines()[1:]
    assert header.split()[-1] == "radius"
    assert first.count("*") == second.count("*") == 1
    assert first.split()[-2].endswith("*")
    assert len(total) < len(header)


@pytest.mark.parametrize(
    ("source", "sigma"), [(source, sigma) for source in MARGINS for sigma in MARGINS[source]]
)
def test_plans_save_samples(source, sigma):
    dataset = SimpleNamespace(source=source)
    settings = {"n0": 100, "n": 10_000, "alpha": 0.001, "radii": [0.0, 0.25, 0.5]}
    fixed, curtailed, sequential = (
        courses(make_plan(settings | {"plan": plan}, sigma), sigma, dataset).mean()
        for plan in ESTIMATED_PLANS
    )
    assert fixed == 10_100
    # Curtailing spares the misclassified images whole, and no image that is certified.
    certified = MARGINS[source][sigma][0][1]
    assert 100 + certified * 0.9 * 10_000 < curtailed < 100 + certified * 10_000 + 100
    assert sequential < curtailed


def test_classifiers_that_stop_at_different_samples_share_all_that_one_wants():
    settings = {"plan": "sequential", "n0": 100, "n": 10_000, "alpha": 0.001, "radii": [0.25]}
    drawn = courses(make_plan(settings, 0.25), 0.25)
    alone, two, many = (mean_longest(drawn, several) for several in (1, 2, 10_000))
    assert alone == pytest.approx(drawn.mean())
    assert alone < two < 2 * alone
    assert many == pytest.approx(10_100)


def test_what_a_plan_saves_counts_the_denoiser_as_often_as_the_slowest_classifier(study):
    one, two = (
        estimate(study(plan="sequential", radii=[0.25], classifiers=list(names)), GPU)[0]
        for names in (["one"], ["one", "two"])
    )
    classifier, unet = network_flops(WRN, (1, 8, 8)), network_flops(UNET, (1, 8, 8))
    assert one.expected_flops["sequential"] == pytest.approx(
        one.expected_samples["sequential"] * (classifier + unet)
    )
    assert two.expected_flops["sequential"] == pytest.approx(
        two.expected_samples["sequential"] * unet
        + 2 * one.expected_samples["sequential"] * classifier
    )
    assert one.expected_samples["sequential"] < two.expected_samples["sequential"]


@pytest.mark.parametrize("chosen", ["fixed", "sequential"])
def test_hours_a_shard_are_those_of_the_chosen_plan(study, chosen):
    radii = {"radii": [0.25]} if chosen == "sequential" else {}
    (one,) = estimate(study(plan=chosen, sigmas=[0.5], **radii), GPU)
    sampling = one.hours_a_shard - START_SECONDS / 3600
    assert sampling == pytest.approx(one.expected[chosen] * 10 / 25)


def rates(**per_s):
    """Return rates in float32 on some GPU, by networks."""
    return [
        Rate("h100", tuple(names.split("_with_")), "float32", rate, 100, "measured")
        for names, rate in per_s.items()
    ]


def test_rates_of_all_networks_give_the_hours_without_any_assumption(study):
    # Classifiers one and two are the same network.
    (one,) = estimate(study(), GPU, rates(unet=100, one=400))
    assert one.expected["fixed"] == pytest.approx(
        one.expected_samples["fixed"] * (1 / 100 + 2 / 400) / 3600
    )
    assert one.measured == 1


def test_a_rate_of_several_networks_goes_before_those_of_each(study):
    (one,) = estimate(study(), GPU, rates(unet=100, one=400, unet_with_one=90))
    assert one.expected["fixed"] == pytest.approx(
        one.expected_samples["fixed"] * (1 / 90 + 1 / 400) / 3600
    )
    assert one.measured == 1


def test_what_was_not_measured_is_assumed(study):
    (one,) = estimate(study(), GPU, rates(unet_with_one=90))
    assumed = one.expected_samples["fixed"] * network_flops(WRN, (1, 8, 8)) / 1e12
    assert one.expected["fixed"] == pytest.approx(
        (one.expected_samples["fixed"] / 90 + assumed) / 3600
    )
    assert one.measured == pytest.approx(1 - assumed / 3600 / one.expected["fixed"])


def test_rates_are_those_of_a_precision(study):
    in_float32, in_bfloat16, automatic = (
        estimate(study(precision=precision), GPU, rates(unet_with_one=90, one=400))[0]
        for precision in ("float32", "bfloat16", "auto")
    )
    assert (in_float32.measured, in_bfloat16.measured) == (1, 0)
    assert in_bfloat16.expected["fixed"] == pytest.approx(
        in_bfloat16.expected_flops["fixed"] / 4e12 / 3600
    )
    assert automatic == in_bfloat16


def test_rates_of_unknown_networks_serve_nothing(study):
    assert estimate(study(), GPU, rates(other=1)) == estimate(study(), GPU)


def test_rates_that_ship_are_of_models_and_gpus_that_there_are():
    registry = yaml.safe_load((ROOT / "config/models.yaml").read_text())
    found = read_rates(ROOT / "config/rates.csv")
    assert found
    for rate in found:
        assert set(rate.networks) <= registry.keys()
        assert rate.precision in GPUS[rate.gpu].flops
        assert rate.source
    assert len({rate[:3] for rate in found}) == len(found)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("h99,a,float32,1,1,x", "line 2: gpu h99 is none of a100-paper, a100"),
        ("h100,a,float32,0,1,x", "line 2: per_s and batch_size must be numbers above 0"),
        ("h100,a,float32,nan,1,x", "line 2: per_s and batch_size must be numbers above 0"),
        ("h100,a,float32,1,many,x", "line 2: per_s and batch_size must be numbers above 0"),
        ("h100,a,float16,1,1,x", "line 2: precision float16 is none of float32, bfloat16"),
        ("h100,a", "line 2: precision None is none of"),
    ],
)
def test_a_wrong_rate_is_refused(tmp_path, row, reason):
    path = tmp_path / "rates.csv"
    path.write_text(f"gpu,networks,precision,per_s,batch_size,source\n{row}\n")
    with pytest.raises(ValueError, match=reason):
        read_rates(path)


def test_training_takes_passes_of_an_image_and_tuning_those_of_the_denoiser_for_each_sigma(study):
    recipe = {"dataset": "digits", "iterations": 10, "batch_size": 4, "precision": "bfloat16"}

    def model(entry, origin=None, **more):
        made = SimpleNamespace(**recipe, **more) if origin else None
        weights = SimpleNamespace(recipe=made, origin=origin)
        kind = "denoiser" if entry is UNET else "classifier"
        per_sigma = origin == "finetune"
        return SimpleNamespace(**dict(entry), kind=kind, weights=weights, is_per_sigma=per_sigma)

    some = study()
    # An experiment with other classifiers, at noise levels of its own.
    some.experiments["other"] = SimpleNamespace(**EXPERIMENT | {"sigmas": [0.5, 2.0, 4.0]})
    some.users = {"two": ["main"], "noisy": ["main", "other"]}.get
    some.models = {"unet": model(UNET), "one": model(WRN, "train")}
    classifier, unet = network_flops(WRN, (1, 8, 8)), network_flops(UNET, (1, 8, 8))
    trained = 40 * 4.4 * classifier / 4e12 / 3600
    assert training_hours(some, GPU) == pytest.approx(trained)
    some.models["two"] = model(WRN, "finetune", denoiser="unet")
    tuned = 2 * 40 * (4.4 * classifier + unet) / 4e12 / 3600
    assert training_hours(some, GPU) == pytest.approx(trained + tuned)
    some.models["noisy"] = model(WRN, "finetune", denoiser=None)
    noisy = 4 * trained  # at the noise levels of both, each once; no denoiser runs
    assert training_hours(some, GPU) == pytest.approx(trained + tuned + noisy)


def test_training_follows_what_was_measured(study):
    recipe = SimpleNamespace(dataset="digits", iterations=10, batch_size=4, precision="float32")
    weights = SimpleNamespace(recipe=recipe)
    one = SimpleNamespace(**dict(WRN), kind="classifier", weights=weights, is_per_sigma=False)
    some = study()
    some.models = {"one": one}
    assert training_hours(some, GPU, rates(one=88)) == pytest.approx(40 * 4.4 / 88 / 3600)


def test_an_attack_goes_forward_and_backward_and_is_judged_at_every_radius_and_at_none(study):
    class Settings(SimpleNamespace):
        def model_copy(self, update):
            return Settings(**vars(self) | update)

    some = study()
    some.experiments["main"] = Settings(**EXPERIMENT)
    some.attacked_classifiers, some.attacked_sigmas = lambda name: ["one"], lambda name: [0.5]
    asked = {"experiment": "main", "radii": [0.25, 0.5], "images": 3, "steps": 10, "samples": 8}
    some.attacks = {"a": SimpleNamespace(**asked, restarts=0, n=100)}
    sample = network_flops(WRN, (1, 8, 8)) + network_flops(UNET, (1, 8, 8))
    alone = 3 * (2 * 2 * 80 + 3 * 100) * sample / 1e12 / 3600
    assert attack_hours(some, GPU) == pytest.approx(alone)
    some.attacks["a"].restarts = 1  # and 100 samples say which end is the better one
    again = 3 * (2 * (2 * 160 + 2 * 100) + 3 * 100) * sample / 1e12 / 3600
    assert attack_hours(some, GPU) == pytest.approx(again)


def test_an_assumed_rate_must_be_positive(study):
    with pytest.raises(ValueError, match="rate"):
        estimate(study(), Gpu.of_rate(0, "given"))
