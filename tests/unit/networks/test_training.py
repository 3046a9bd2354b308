"""Training with the recipes of the registry, interrupted and resumed."""

import numpy as np
import pytest
import torch

from dds.networks.classifiers import Classifier, WideResNet
from dds.networks.denoisers import DiffusionDenoiser
from dds.networks.schedules import cosine_schedule
from dds.networks.training import (
    Recipe,
    Resume,
    accuracy,
    denoised,
    gaussian,
    train_classifier,
    train_denoiser,
)
from dds.progress import Interrupted

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


class Grey(torch.nn.Module):
    """A denoiser that leaves one shade of every image."""

    def noise_sigma(self, sigma):
        return sigma

    def denoise(self, noisy, sigma, normal=None):
        return torch.full_like(noisy, 0.25)


def test_corruptions_are_noise_and_what_the_denoiser_leaves_of_it():
    images = torch.full((4, 1, 32, 32), 0.5)
    generator = torch.Generator().manual_seed(0)
    noisy = gaussian(0.3)(images, generator)
    assert noisy.mean() == pytest.approx(0.5, abs=0.02)
    assert noisy.std() == pytest.approx(0.3, abs=0.02)
    assert (denoised(Grey(), 0.3)(images, generator) == 0.25).all()


def test_a_classifier_trained_with_noise_is_better_with_noise(images):
    plain = train(images, AVERAGED, iterations=30)
    noisy = build()
    recipe = Recipe(iterations=30, batch_size=16, **AVERAGED)
    corruption = gaussian(1.0)
    train_classifier(noisy, *images, recipe, seed=1, label="test", corruption=corruption)
    with_noise = [accuracy(model, *images, corruption=corruption) for model in (plain, noisy)]
    assert with_noise[1] > with_noise[0]


def test_a_denoiser_learns_to_predict_the_noise():
    torch.manual_seed(0)
    shade = np.full((8, 1, 4, 4), 128, np.uint8)

    class Linear(torch.nn.Module):
        """Predicts noise as a share of what it sees, by the time."""

        def __init__(self):
            super().__init__()
            self.share = torch.nn.Sequential(
                torch.nn.Linear(1, 16), torch.nn.SiLU(), torch.nn.Linear(16, 1)
            )

        def forward(self, x, time):
            return x * self.share(time[:, None] / 1000)[:, :, None, None]

    denoiser = DiffusionDenoiser(Linear(), cosine_schedule(1000))
    noisy = 0.5 + 0.5 * torch.randn(64, 1, 4, 4)
    before = (denoiser.denoise(noisy, 0.5) - 0.5).square().mean()
    recipe = Recipe(iterations=300, batch_size=64, learning_rate=1e-2)
    train_denoiser(denoiser, shade, recipe, seed=1, label="test")
    assert (denoiser.denoise(noisy, 0.5) - 0.5).square().mean() < before / 4


@pytest.mark.parametrize("key", ["optimizer", "augmentation"])
def test_an_unknown_recipe_is_refused(images, key):
    with pytest.raises(ValueError, match=f"unknown {key} 'none at all'; allowed: "):
        train(images, AVERAGED | {key: "none at all"})
