"""Classifiers that are trained for noise and certified without a denoiser."""

import re
from pathlib import Path

import pytest
import yaml

from dds.networks.training import Recipe as LibraryRecipe
from study.checks import check_weights_exist
from study.depends import model, weights
from study.errors import StudyError
from study.inputs import Inputs
from study.load import load_config, load_study
from study.models import ClassifierRecipe, Recipe
from study.paths import Paths
from study.study import Study

ROOT = Path(__file__).parents[3]
SIGMAS = [0.25, 0.5]
EXPERIMENT = {
    "dataset": "digits", "denoiser": "none", "classifiers": ["mine"], "sigmas": SIGMAS, "n0": 10,
    "n": 100, "alpha": 0.01, "images": 10, "images_per_shard": 10, "plan": "fixed",
}  # fmt: skip
RECIPE = {
    "from": "digits_vit", "noise": "gaussian", "dataset": "digits", "iterations": 10,
    "batch_size": 4, "learning_rate": 0.001,
}  # fmt: skip
USUAL = {"layer_decay": 0.65, "drop_path": 0.1, "label_smoothing": 0.1}


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a study of one classifier of its own."""
    monkeypatch.chdir(tmp_path)

    def load(mine, more=(), **changes):
        study = {
            "title": "Mine", "seed": 1, "models": {"mine": mine, **dict(more)},
            "datasets": {"digits": {"source": "sklearn_digits", "splits":
                                    {"train": 1097, "validation": 200, "test": 500}}},
            "experiments": {"noisy": EXPERIMENT | changes},
        }  # fmt: skip
        Path("mine.yaml").write_text(yaml.safe_dump(study))
        return load_study(load_config({"study": "mine.yaml"}), ROOT)

    return load


def tuned(like="digits_vit", **recipe):
    recipe = {key: value for key, value in {**RECIPE, **recipe}.items() if value is not None}
    return {"like": like, "weights": {"finetune": recipe}}


def test_a_classifier_tuned_on_noise_has_weights_for_each_sigma_and_needs_no_denoiser(load):
    study = load(tuned())
    assert study.models["mine"].is_per_sigma
    assert list(study.models) == ["digits_vit", "mine"]
    paths = Paths(study)
    inputs = Inputs(study, paths, ROOT, [])
    assert inputs.tuning("mine") == {"start": "results/mine/models/digits_vit.pt"}
    assert inputs.smoothed_models("noisy", 0.5) == {"mine": "results/mine/models/mine/sigma_0.5.pt"}
    depends = weights(study, "mine", 0.5)
    assert depends["sigma"] == 0.5
    assert depends["start"]["description"]["network"] == "timm"
    assert not depends.keys() & {"denoiser", "timestep"}
    assert Study.from_json(study.to_json()) == study


def test_the_recipe_is_part_of_what_the_weights_depend_on(load):
    depends = weights(load(tuned(**USUAL)), "mine", 0.5)
    told = depends | vars(LibraryRecipe(**depends["recipe"]))
    # Noise is told by sigma.
    assert USUAL.keys() == ClassifierRecipe.model_fields.keys() - {*Recipe.model_fields, "noise"}
    assert {key: told[key] for key in USUAL} == USUAL
    arguments = depends["model"]["description"]["arguments"]
    assert "drop_path_rate" not in arguments  # which is not in what is certified


OLD = {
    "iterations", "batch_size", "learning_rate", "weight_decay", "optimizer", "ema",
    "augmentation", "precision",
}  # fmt: skip


def test_weights_of_recipes_without_these_keys_depend_on_what_they_did_before():
    study = load_study(load_config({"study": "digits"}), ROOT)
    for name in ("digits_unet", "digits_cnn", "digits_cnn_gaussian", "digits_vit_finetuned"):
        depends = weights(study, name, 0.5)
        assert depends["recipe"].keys() == OLD
        parts = {"protocol", "seed", "sigma", "model", "recipe"}
        if name == "digits_vit_finetuned":
            parts |= {"start", "denoiser", "timestep"}
        assert depends.keys() == parts


@pytest.mark.parametrize(
    ("mine", "reason"),
    [
        (tuned(denoiser="digits_unet"), "denoiser: digits_unet does not go with noise: gaussian;"),
        (tuned(timestep="exact"), "timestep: exact does not go with noise: gaussian; leave one"),
        (tuned(noise=None), ": needs denoiser, whose output to tune to, or noise: gaussian"),
        (tuned(layer_decay=0), "layer_decay: 0 is out of range; must be above 0 and at most 1"),
        (tuned(drop_path=1.0), "drop_path: 1.0 is out of range; must be at least 0 and below 1"),
        (tuned(**{"from": "digits_cnn"}, anew=["head"]),
         "from: digits_cnn has other network; only weights of the same network can be tuned"),
        (tuned("digits_cnn", **{"from": "digits_cnn"}, layer_decay=0.65),
         "layer_decay: is not for network wide_resnet, which has no layers in order; allowed for: "
         "timm, transformers_vit, and for a network of your own"),
        (tuned("digits_cnn", **{"from": "digits_cnn"}, drop_path=0.1),
         "drop_path: is not for network wide_resnet, which has no"),
    ],
)  # fmt: skip
def test_recipes_that_cannot_be_are_refused_in_one_line(load, mine, reason):
    with pytest.raises(
        StudyError, match=f"^mine.yaml: models.mine.weights.finetune.?{re.escape(reason)}"
    ) as error:
        load(mine)
    assert "\n" not in str(error.value)


def test_a_denoiser_is_not_trained_by_the_recipe_of_a_classifier(load):
    recipe = {key: value for key, value in RECIPE.items() if key not in ("from", "noise")}
    mine = {"like": "digits_unet", "weights": {"train": recipe | {"layer_decay": 0.65}}}
    with pytest.raises(StudyError, match="weights.train.layer_decay: unknown key"):
        load(mine, denoiser="mine", classifiers=["digits_cnn"])


def test_a_network_of_other_classes_or_sizes_may_be_tuned_with_parts_of_it_anew(load):
    start = {"like": "digits_vit", "classes": ["a", "b"]}
    mine = tuned(**{"from": "start"})
    reason = "finetune.from: start has other classes; only weights of the same network can be tu"
    with pytest.raises(StudyError, match=reason):
        load(mine, more={"start": start | {"weights": {"file": "w.pt"}}})
    study = load(
        tuned(**{"from": "start"}, anew=["head"]),
        more={"start": start | {"weights": {"file": "w"}}},
    )
    assert weights(study, "mine", 0.5)["anew"] == ["head"]


OWN = {"like": "digits_vit", "weights": {"file": "w/vit_{sigma}.pth", "obtain": "ask the authors"}}


def test_weights_of_ones_own_may_be_one_file_for_each_sigma(load):
    study = load(OWN, sigmas=[0.25, 1.0])
    assert study.models["mine"].is_per_sigma
    paths = Paths(study)
    assert paths.weights("mine", 0.25) == "w/vit_0.25.pth"
    assert paths.accuracy("mine", 0.25) == "results/mine/models/mine/sigma_0.25.accuracy.json"
    assert not load(OWN | {"weights": {"file": "w/vit.pth"}}).models["mine"].is_per_sigma
    assert model(study, "mine") == model(load({"like": "digits_vit"}), "mine")


def test_a_missing_file_of_a_sigma_is_no_input_and_ends_a_run_with_how_to_get_it(load):
    study = load(OWN, sigmas=[0.25, 1.0])
    inputs = Inputs(study, Paths(study), ROOT, [])
    Path("w").mkdir()
    for sigma, name in ((0.25, "0.25"), (1.0, "1")):
        assert inputs.smoothed_models("noisy", sigma) == {}
        with pytest.raises(StudyError) as error:
            check_weights_exist("mine", study)
        assert str(error.value) == (
            f"study mine: models.mine.weights.file: there is no file w/vit_{name}.pth; "
            "ask the authors"
        )
        Path(f"w/vit_{name}.pth").touch()
        assert inputs.smoothed_models("noisy", sigma) == {"mine": f"w/vit_{name}.pth"}
    check_weights_exist("mine", study)


def test_only_weights_for_all_sigmas_are_tuned(load):
    own = {"start": OWN, "mine": tuned(**{"from": "start"})}
    with pytest.raises(StudyError, match="finetune.from: start has weights for each sigma; allow"):
        load(own["mine"], more={"start": own["start"]})


TEXT = (ROOT / "docs/noise_trained.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    ("example", "classifiers"),
    zip(EXAMPLES, ["imagenet_dmae_large", "mine", "mine"], strict=True),
    ids=["theirs", "mine", "tuned"],
)
def test_the_studies_of_the_page_load(tmp_path, example, classifiers):
    path = tmp_path / "page.yaml"
    path.write_text(example)
    study = load_study(load_config({"study": str(path)}), ROOT)
    (experiment,) = study.experiments.values()
    assert experiment.denoiser == "none"
    assert experiment.classifiers == [classifiers]
    assert study.models[classifiers].is_per_sigma
