"""Each part of a training recipe does what it says, as seen from the network and the optimizer."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from dds.networks.classifiers import Classifier
from dds.networks.denoisers import DiffusionDenoiser
from dds.networks.schedules import cosine_schedule
from dds.networks.training import Recipe, train_classifier, train_denoiser

torch.set_num_threads(1)

SIZE, MARGIN = 16, 2  # an eighth


class Watcher(nn.Module):
    """A linear classifier that notes the images it is trained on."""

    def __init__(self, inputs):
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm1d(inputs)
        self.linear = nn.Linear(inputs, 2)
        self.seen = []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return self.linear(self.norm(x.flatten(1)))


class Idle(nn.Module):
    """A classifier whose only weight changes nothing, so that its gradient is zero."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))

    def forward(self, x):
        return x.flatten(1)[:, :2] + 0 * self.weight


@pytest.fixture
def steps():
    """What the optimizer has done, step by step: its learning rate and the weights after it."""
    taken = []

    def note(optimizer, args, kwargs):
        (group,) = optimizer.param_groups
        weights = [weight.detach().clone() for weight in group["params"]]
        taken.append(SimpleNamespace(rate=group["lr"], weights=weights))

    hook = register_optimizer_step_post_hook(note)
    yield taken
    hook.remove()


def train(network, images, *, iterations, batch_size=16, learning_rate=0.1, seed=1, **settings):
    """Train a network on images whose classes alternate."""
    recipe = Recipe(
        iterations=iterations, batch_size=batch_size, learning_rate=learning_rate, **settings
    )
    labels = np.arange(len(images)) % 2
    train_classifier(Classifier(network), images, labels, recipe, seed=seed, label="test")
    return network


def shades(count):
    """Return images of one pixel, each of a shade of its own: its number."""
    return np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_learning_rate_warms_up_and_falls_along_a_cosine(steps, optimizer):
    train(
        Idle(), shades(2).repeat(2, axis=3), iterations=40, learning_rate=0.3, optimizer=optimizer
    )
    warm_up = [0.0, 0.15]  # 5% of 40 iterations
    cosine = [0.3 * np.cos(np.pi / 2 * done / 38) ** 2 for done in range(38)]
    assert [step.rate for step in steps] == pytest.approx(warm_up + cosine)
    assert steps[-1].rate < 0.001


def views():
    """Return an image whose pixels tell their row and column, and all its crops, by content."""
    row, column = np.indices((SIZE, SIZE)) + 1  # 0 is what lies outside
    image = np.stack([row, column]).astype(np.uint8)
    padded = np.pad(image, [(0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)])
    found = {}
    for top in range(2 * MARGIN + 1):
        for left in range(2 * MARGIN + 1):
            crop = padded[:, top : top + SIZE, left : left + SIZE]
            found[crop.tobytes()] = (top, left, False)
            found[crop[:, :, ::-1].tobytes()] = (top, left, True)
    assert len(found) == 2 * (2 * MARGIN + 1) ** 2
    return image, found


def views_seen(augmentation):
    """Return the crop (top, left, whether flipped) of every image of every batch."""
    image, known = views()
    network = Watcher(image.size)
    train(network, np.stack([image] * 4), iterations=60, augmentation=augmentation)
    pixels = [(255 * batch).round().byte().numpy() for batch in network.seen]
    return [[known[view.tobytes()] for view in batch] for batch in pixels]


def test_crops_move_each_image_everywhere_within_the_margin():
    batches = views_seen("crop_flip")
    places = {view[:2] for batch in batches for view in batch}
    assert places == {(top, left) for top in range(5) for left in range(5)}
    for axis in (0, 1):  # each place as often as another: 192 times, give or take 12
        counts = Counter(view[axis] for batch in batches for view in batch)
        assert all(132 < count < 252 for count in counts.values())
    assert all(len({view[:2] for view in batch}) > 4 for batch in batches)
    assert len({tuple(batch) for batch in batches}) == len(batches)


def test_half_of_the_images_are_flipped():
    batches = views_seen("crop_flip")
    flipped = [[view[2] for view in batch] for batch in batches]
    assert np.mean(flipped) == pytest.approx(0.5, abs=0.08)
    assert all(0 < np.mean(batch) < 1 for batch in flipped)
    assert len({tuple(batch) for batch in flipped}) > len(batches) / 2


def test_without_augmentation_images_stay_as_they_are():
    for batch in views_seen("none"):
        assert set(batch) == {(MARGIN, MARGIN, False)}


def test_the_average_of_the_weights_remembers_all_of_them(steps):
    network = Watcher(1)
    trained = train(network, shades(4), iterations=12, ema=0.8)
    average = steps[0].weights
    for step in steps[1:]:
        average = [0.8 * old + 0.2 * new for old, new in zip(average, step.weights, strict=True)]
    ends = list(trained.parameters())
    for weight, expected, last in zip(ends, average, steps[-1].weights, strict=True):
        torch.testing.assert_close(weight.detach(), expected)
        assert not torch.allclose(weight, last, rtol=1e-3)


def test_without_an_average_training_ends_with_the_last_weights(steps):
    network = train(Watcher(1), shades(4), iterations=12)
    for weight, last in zip(network.parameters(), steps[-1].weights, strict=True):
        assert torch.equal(weight, last)


def test_statistics_of_batch_norms_are_averaged_too():
    """Else averaged weights would meet the statistics of the last ones."""
    network = Watcher(1)
    means = []
    network.norm.register_forward_hook(lambda norm, *_: means.append(norm.running_mean.clone()))
    train(network, shades(4), iterations=12, batch_size=3, ema=0.8)
    average = means[0]
    for mean in means[1:]:
        average = 0.8 * average + 0.2 * mean
    torch.testing.assert_close(network.norm.running_mean, average)
    assert not torch.allclose(average, means[-1], rtol=1e-3)


def test_adamw_decays_weights_by_the_learning_rate(steps):
    train(Idle(), shades(2).repeat(2, axis=3), iterations=20, weight_decay=0.5)
    weight = torch.tensor([1.0, -2.0])
    for step in steps:
        weight = weight * (1 - 0.5 * step.rate)
        torch.testing.assert_close(step.weights, [weight])
    assert weight[0] < 0.7


def test_sgd_decays_weights_with_nesterov_momentum(steps):
    train(Idle(), shades(2).repeat(2, axis=3), iterations=20, weight_decay=0.5, optimizer="sgd")
    weight, momentum = torch.tensor([1.0, -2.0]), torch.zeros(2)
    for step in steps:
        gradient = 0.5 * weight
        momentum = 0.9 * momentum + gradient
        weight = weight - step.rate * (gradient + 0.9 * momentum)
        torch.testing.assert_close(step.weights, [weight])
    assert weight[0].abs() < 0.7


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_no_weight_decays_by_default(steps, optimizer):
    train(Idle(), shades(2).repeat(2, axis=3), iterations=5, optimizer=optimizer)
    assert [step.weights[0].tolist() for step in steps] == [[1.0, -2.0]] * 5


def order_of(images, *, batch_size, epochs, seed=1):
    """Return the numbers of the images that training saw, one row an epoch."""
    network = Watcher(1)
    iterations = -(-epochs * images // batch_size)
    train(network, shades(images), iterations=iterations, batch_size=batch_size, seed=seed)
    assert {len(batch) for batch in network.seen} == {batch_size}
    numbers = (255 * torch.cat(network.seen)).round().int().flatten()
    return numbers[: epochs * images].reshape(epochs, images).tolist()


@pytest.mark.parametrize("batch_size", [4, 10, 25])
def test_every_image_comes_once_an_epoch_in_an_order_of_its_own(batch_size):
    epochs = order_of(10, batch_size=batch_size, epochs=6)
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert list(range(10)) not in epochs


def test_the_order_is_that_of_the_seed_whatever_the_batch():
    order = order_of(10, batch_size=4, epochs=2)
    assert order_of(10, batch_size=5, epochs=2) == order
    assert order_of(10, batch_size=4, epochs=2, seed=2) != order


class Oracle(nn.Module):
    """Predicts the noise exactly, but for an offset, because it knows the only image."""

    def __init__(self, schedule, image):
        super().__init__()
        self.alpha_bar, self.x_0 = torch.tensor(schedule.alpha_bar), 2 * image - 1
        self.offset = nn.Parameter(torch.tensor(0.5))
        self.times, self.noises = [], []

    def forward(self, x, time):
        t = time * len(self.alpha_bar) / 1000
        abar = self.alpha_bar[t.round().long()].view(-1, 1, 1, 1)
        noise = (x - abar.sqrt() * self.x_0) / (1 - abar).sqrt()
        self.times.append(t)
        self.noises.append(noise.flatten(1))
        return noise + self.offset


def test_a_denoiser_is_trained_on_what_it_denoises():
    """Times on the scale it is told while denoising, images in [-1,1], noise of the schedule."""
    schedule, image = cosine_schedule(4000, rescale_timesteps=True), np.full((1, 1, 2, 2), 51)
    network = Oracle(schedule, image=0.2)
    recipe = Recipe(iterations=200, batch_size=16, learning_rate=0.05, optimizer="sgd")
    denoiser = DiffusionDenoiser(network, schedule)
    train_denoiser(denoiser, image.astype(np.uint8), recipe, seed=1, label="test")
    assert abs(network.offset.item()) < 1e-3
    times, noises = torch.cat(network.times).numpy(), torch.cat(network.noises).numpy()
    np.testing.assert_allclose(times, times.round(), atol=1e-3)
    tenth = (times / 400).astype(int)
    for part in range(10):  # every part of the schedule as often, with standard normal noise
        assert np.mean(tenth == part) == pytest.approx(0.1, abs=0.03)
        assert noises[tenth == part].mean() == pytest.approx(0, abs=0.1)
        assert noises[tenth == part].std() == pytest.approx(1, abs=0.1)
