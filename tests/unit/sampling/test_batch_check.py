"""Networks that answer an image by others in its batch are refused before any work."""

import numpy as np
import pytest
import torch
from torch import nn

from dds import NoDenoiser, SmoothedClassifier, make_plan
from dds.sampling.batch_check import check_batches

IMAGES = np.random.default_rng(0).random((2, 3, 32, 32), np.float32)


def smoothed(classifier, denoiser=None, **options):
    plan = make_plan({"plan": "fixed", "n0": 10, "n": 100}, 0.25)
    networks = {"mine": classifier}
    return SmoothedClassifier(networks, denoiser or NoDenoiser(), 0.25, plan, seed=1, **options)


def network(*layers):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), *layers, nn.Flatten(), nn.Linear(4 * 30 * 30, 5)
    ).eval()


class Ensemble(nn.Module):
    """Its networks lie in a list, where evaluation mode does not reach them."""

    def __init__(self):
        super().__init__()
        self.networks = [network(nn.BatchNorm2d(4), nn.Dropout()).train() for _ in range(2)]

    def forward(self, x):
        return sum(each(x) for each in self.networks)


class Shared(nn.Module):
    """Hands on what a function makes of a whole batch."""

    networks, runs = (), 1

    def __init__(self, function):
        super().__init__()
        self.function, self.network = function, network()

    def noise_sigma(self, sigma):
        return sigma

    def denoise(self, noisy, sigma, normal=None):
        return self.function(noisy)

    def forward(self, x):
        return self.function(self.network(x))


SHARED = {
    "batch statistics": lambda: network(nn.BatchNorm2d(4, track_running_stats=False)),
    "training mode": Ensemble,
    "the first for all": lambda: Shared(lambda x: x[:1].expand_as(x)),
    "by place": lambda: Shared(lambda x: x * torch.arange(len(x))[:, None]),
    "standardised": lambda: Shared(lambda x: (x - x.mean()) / x.std()),
}
SOUND = {
    "plain": network,
    "running statistics": lambda: network(nn.BatchNorm2d(4)),
    "random": lambda: network(nn.Dropout()).train(),
    "constant": lambda: Shared(torch.zeros_like),
    "in place": lambda: Shared(lambda x: x.mul_(2)),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("made", SHARED)
def test_an_answer_that_depends_on_the_batch_is_refused(made, precision):
    classifier = SHARED[made]()
    with pytest.raises(ValueError, match="^classifier 'mine' answers an image otherwise when"):
        check_batches(smoothed(classifier, precision=precision), IMAGES, classes=5)


def test_a_denoiser_is_tried_as_well():
    whitened = Shared(lambda x: (x - x.mean()) / x.std())
    with pytest.raises(ValueError, match="^denoiser Shared answers an image otherwise when"):
        check_batches(smoothed(network(), whitened), IMAGES, classes=5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("made", SOUND)
def test_an_answer_of_its_own_is_taken(made, precision):
    ours = smoothed(SOUND[made](), precision=precision)
    for classifier in ours.classifiers.values():  # dropout that is meant
        classifier.train(made == "random")
    state = torch.random.get_rng_state()
    check_batches(ours, IMAGES, classes=5)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_is_no_answer_is_said_as_ever():
    with pytest.raises(ValueError, match="classifier 'mine' has 5 classes"):
        check_batches(smoothed(network()), IMAGES, classes=6)
    with pytest.raises(ValueError, match="denoiser Shared returned shape"):
        check_batches(smoothed(network(), Shared(lambda x: x[:1])), IMAGES, classes=5)
