"""Training with the recipes of the registry, interrupted and resumed."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from dds.networks import training
from dds.networks.classifiers import Classifier
from dds.networks.denoisers import DiffusionDenoiser
from dds.networks.schedules import cosine_schedule
from dds.networks.training import (
    Recipe,
    accuracy,
    denoised,
    gaussian,
    train_classifier,
    train_denoiser,
)
from dds.networks.wide_resnet import WideResNet
from dds.progress import Interrupted, Progress

torch.set_num_threads(1)

PAPER = {
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "weight_decay": 5e-4,
    "augmentation": "crop_flip",
    "precision": "bfloat16",
}
AVERAGED = {"optimizer": "adamw", "learning_rate": 1e-2, "ema": 0.9}


@pytest.fixture(scope="module")
def images():
    """Two classes that differ in shade."""
    labels = np.arange(40) % 2
    noise = np.random.default_rng(0).integers(60, size=(40, 3, 16, 16))
    return (noise + 150 * labels[:, None, None, None]).astype(np.uint8), labels


def build(dropout=0.0):
    torch.manual_seed(0)
    network = WideResNet(depth=10, width=1, base=8, classes=2, dropout=dropout)
    return Classifier(network, mean=[0.4], std=[0.3])


def train(images, settings, *, iterations=12, resume=None, dropout=0.0):
    classifier = build(dropout)
    recipe = Recipe(iterations=iterations, batch_size=16, **settings)
    train_classifier(classifier, *images, recipe, seed=1, label="test", resume=resume)
    return classifier


@pytest.mark.parametrize("settings", [PAPER, AVERAGED])
def test_a_classifier_learns(images, settings):
    assert accuracy(build().eval(), *images) < 0.9
    assert accuracy(train(images, settings, iterations=30), *images) > 0.95


class Memory:
    """Keeps the state of a training in memory, as bytes; stops and saves when it is told to."""

    def __init__(self, *, stop_after=(), due_after=()):
        self.stop_after, self.due_after = stop_after, due_after
        self.asked, self.saved, self.content = 0, [], None

    def load(self):
        if self.content is None:
            return None
        return torch.load(io.BytesIO(self.content), weights_only=True)

    def save(self, state, iteration):
        file = io.BytesIO()
        torch.save(state, file)
        self.saved.append(iteration)
        self.content = file.getvalue()

    def stop(self):
        self.asked += 1
        return self.asked in self.stop_after

    def due(self):
        return self.asked in self.due_after


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("settings", [PAPER, AVERAGED])
def test_a_resumed_training_ends_like_one_that_was_not_interrupted(images, settings):
    whole = train(images, settings, dropout=0.2).state_dict()
    memory = Memory(stop_after=(5, 6))
    with pytest.raises(Interrupted, match="^test: stopped after 5 iterations; saved$"):
        train(images, settings, resume=memory, dropout=0.2)
    with pytest.raises(Interrupted, match="^test: stopped after 6 iterations; saved$"):
        train(images, settings, resume=memory, dropout=0.2)
    assert_equal(train(images, settings, resume=memory, dropout=0.2).state_dict(), whole)
    assert memory.saved == [5, 6]
    assert memory.asked == 12  # no iteration was done twice


def test_a_training_that_breaks_off_goes_on_from_what_was_due(images):
    class Broken(Memory):
        def stop(self):
            if self.asked == 7:
                raise KeyboardInterrupt
            return super().stop()

    memory = Broken(due_after=(2, 4))
    with pytest.raises(KeyboardInterrupt):
        train(images, AVERAGED, resume=memory)
    assert memory.saved == [2, 4]
    rest = Memory()
    rest.content = memory.content
    whole = train(images, AVERAGED).state_dict()
    assert_equal(train(images, AVERAGED, resume=rest).state_dict(), whole)
    assert rest.asked == 8


@pytest.mark.parametrize(("settings", "more"), [(PAPER, set()), (AVERAGED, {"average"})])
def test_the_state_of_a_training_is_tensors_and_plain_values(images, settings, more):
    memory = Memory(stop_after=(3,))
    with pytest.raises(Interrupted):
        train(images, settings, resume=memory)
    state = memory.load()
    assert state.keys() == {"iteration", "network", "optimizer"} | more
    assert state["iteration"] == 3
    assert state["network"].keys() == build().network.state_dict().keys()


def test_saving_changes_nothing(images):
    whole = train(images, AVERAGED).state_dict()
    memory = Memory(due_after=range(13))
    assert_equal(train(images, AVERAGED, resume=memory).state_dict(), whole)
    assert memory.saved == list(range(1, 13))


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


def test_a_denoiser_is_trained_whose_network_answers_as_those_of_diffusers():
    class Answering(nn.Conv2d):
        def forward(self, x, time):
            return SimpleNamespace(sample=super().forward(x))

    class Silent(Answering):
        def forward(self, x, time):
            super().forward(x, time)

    shade = np.full((8, 1, 4, 4), 128, np.uint8)
    recipe = Recipe(iterations=2, batch_size=4, learning_rate=0.1)
    denoiser = DiffusionDenoiser(Answering(1, 1, 3, padding=1), cosine_schedule(10))
    before = denoiser.network.weight.clone()
    train_denoiser(denoiser, shade, recipe, seed=1, label="test")
    assert not torch.equal(denoiser.network.weight, before)
    denoiser = DiffusionDenoiser(Silent(1, 1, 3, padding=1), cosine_schedule(10))
    with pytest.raises(ValueError, match="network returned NoneType for images of shape"):
        train_denoiser(denoiser, shade, recipe, seed=1, label="test")


@pytest.mark.parametrize("key", ["optimizer", "augmentation"])
def test_an_unknown_recipe_is_refused(images, key):
    with pytest.raises(ValueError, match=f"unknown {key} 'none at all'; allowed: "):
        train(images, AVERAGED | {key: "none at all"})


class Shade(torch.nn.Module):
    """Answers 1 where an image is brighter than half, and notes how many it is shown."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, images):
        self.sizes.append(len(images))
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], dim=1)


@pytest.mark.parametrize("wrong", range(7))
def test_accuracy_counts_every_image_once(wrong):
    labels = np.arange(7) % 2
    shades = np.where(labels, 140, 120).astype(np.uint8)[:, None, None, None].repeat(2, axis=3)
    classifier = Shade()
    assert accuracy(classifier, shades, labels, batch_size=3) == 1
    assert classifier.sizes == [3, 3, 1]
    labels[wrong] = 1 - labels[wrong]
    assert accuracy(classifier, shades, labels, batch_size=3) == pytest.approx(6 / 7)


def test_accuracy_is_the_same_in_every_call(images):
    pixels, labels = images[0][:, :, :1, :1], images[1]
    noisy = [accuracy(Shade(), pixels, labels, corruption=gaussian(1.0)) for _ in range(2)]
    assert noisy[0] == noisy[1] < 1


def test_a_classifier_is_tuned_to_the_noise_level_that_its_denoiser_is_used_at():
    """Which is a little above the nominal one, where the schedule's next timestep is."""

    class Rounding(Grey):
        def noise_sigma(self, sigma):
            return 2 * sigma

        def denoise(self, noisy, sigma, normal=None):
            assert sigma == 0.3
            assert normal(1).shape == noisy.shape
            return noisy

    images = torch.full((4, 1, 32, 32), 0.5)
    noisy = denoised(Rounding(), 0.3)(images, torch.Generator().manual_seed(0))
    assert noisy.mean() == pytest.approx(0.5, abs=0.03)
    assert noisy.std() == pytest.approx(0.6, abs=0.03)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_recipe_says_in_which_precision_products_are_computed(images, precision):
    classifier, found = build(), set()
    for module in classifier.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda module, inputs, output: found.add(output.dtype))
    recipe = Recipe(iterations=1, batch_size=4, learning_rate=0.1, precision=precision)
    train_classifier(classifier, *images, recipe, seed=1, label="test")
    assert found == {getattr(torch, precision)}
    assert {weight.dtype for weight in classifier.parameters()} == {torch.float32}


def test_accuracy_shows_black_as_0_and_white_as_1():
    class Spy(Shade):
        def forward(self, images):
            self.shades = images.flatten().tolist()
            return super().forward(images)

    spy = Spy()
    black_and_white = np.array([0, 255], np.uint8)[:, None, None, None]
    assert accuracy(spy, black_and_white, np.array([0, 1])) == 1
    assert spy.shades == [0.0, 1.0]


def test_a_training_counts_every_iteration_as_done(images, monkeypatch):
    done = []
    monkeypatch.setattr(Progress, "advance", lambda self, units: done.append(units))
    train(images, AVERAGED, iterations=5)
    assert sum(done) == 5


@pytest.mark.parametrize(("work", "compiled"), [(1.0, True), (0.9, False)])
def test_networks_with_much_to_do_are_compiled_for_training_on_a_gpu(monkeypatch, work, compiled):
    """And the step that compiles them changes nothing of what is trained."""
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    chosen = []

    def step():
        network(torch.ones(2, 4) * torch.rand(2, 1)).square().sum().backward()

    def compile_networks(networks, run, *, once):
        assert once
        chosen.extend(networks)
        run()
        return True

    monkeypatch.setattr(training, "compile_networks", compile_networks)
    flops = 3 * 2 * (2 * 4 * 4) * 100  # passes, operations, multiplications of a batch, steps
    monkeypatch.setattr(training, "WORTH_COMPILING", flops / work / 10)
    training._compile_if_worth_it(network, step, 100, "cuda")
    assert chosen == [network] * compiled
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in network.parameters())
    training._compile_if_worth_it(network, step, 10**9, "cpu")
    assert chosen == [network] * compiled
