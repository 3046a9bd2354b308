"""Training with the recipes of the registry, interrupted and resumed."""

import numpy as np
import pytest
import torch

from dds.classifiers import Classifier, WideResNet
from dds.progress import Interrupted
from dds.training import Recipe, Resume, accuracy, train_classifier

torch.set_num_threads(1)

PAPER = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4,
         "augmentation": "crop_flip", "precision": "bfloat16"}  # fmt: skip
AVERAGED = {"optimizer": "adamw", "learning_rate": 1e-2, "ema": 0.9}


@pytest.fixture(scope="module")
def images():
    """Two classes that differ in shade."""
    labels = np.arange(40) % 2
    noise = np.random.default_rng(0).integers(60, size=(40, 3, 16, 16))
    return (noise + 150 * labels[:, None, None, None]).astype(np.uint8), labels


def build():
    torch.manual_seed(0)
    return Classifier(WideResNet(depth=10, width=1, base=8, classes=2), mean=[0.4], std=[0.3])


def train(images, settings, *, iterations=12, resume=None):
    classifier = build()
    recipe = Recipe(iterations=iterations, batch_size=16, **settings)
    train_classifier(classifier, *images, recipe, seed=1, label="test", resume=resume)
    return classifier


@pytest.mark.parametrize("settings", [PAPER, AVERAGED])
def test_a_classifier_learns(images, settings):
    assert accuracy(build().eval(), *images) < 0.9
    assert accuracy(train(images, settings, iterations=30), *images) > 0.95


@pytest.mark.parametrize("settings", [PAPER, AVERAGED])
def test_a_resumed_training_ends_like_one_that_was_not_interrupted(images, settings, tmp_path):
    whole = train(images, settings).state_dict()
    asked = iter([False] * 4 + [True])
    path, identity = tmp_path / "state", {"model": "test"}
    with pytest.raises(Interrupted, match="stopped after 5 iterations"):
        train(images, settings, resume=Resume(path, identity, stop=lambda: next(asked)))
    resumed = train(images, settings, resume=Resume(path, identity)).state_dict()
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name


def test_the_state_of_another_training_is_not_used(images, tmp_path):
    whole = train(images, AVERAGED).state_dict()
    path = tmp_path / "state"
    with pytest.raises(Interrupted):
        train(images, PAPER, resume=Resume(path, {"seed": 1}, stop=lambda: True))
    other = train(images, AVERAGED, resume=Resume(path, {"seed": 2})).state_dict()
    for name, tensor in whole.items():
        assert torch.equal(other[name], tensor), name
