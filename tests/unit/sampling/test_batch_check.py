"""Networks that answer an image by others in its batch are refused before any work."""

import logging
import random
import sys

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


class Before(Shared):
    """Is fed what a function makes of a whole batch."""

    def forward(self, x):
        return self.network(self.function(x))


def dropped(x):
    return nn.functional.dropout(x, 0.3, training=True)


def standardised(x):
    return (x - x.mean((1, 2, 3), True)) / x.std((1, 2, 3), keepdim=True)


def masked(logits, by=-1e9):
    return torch.cat([logits[:, :4], torch.full_like(logits[:, :1], by)], dim=1)


def one_coin(x):
    return x.flip(-1) if torch.rand(()) < 0.5 else x


def one_size(x):
    size = random.randint(20, 40)
    return nn.functional.interpolate(nn.functional.interpolate(x, (size, size)), (32, 32))


class OfStandardised(nn.Module):
    """Standardises each image, and then normalises by the batch."""

    def __init__(self):
        super().__init__()
        self.network = network(nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU())

    def forward(self, x):
        return self.network(standardised(x))


OTHERS = {
    "batch statistics": lambda: network(nn.BatchNorm2d(4, track_running_stats=False)),
    "training mode": Ensemble,
    "the first for all": lambda: Shared(lambda x: x[:1].expand_as(x)),
    "standardised": lambda: Shared(lambda x: (x - x.mean()) / x.std()),
    "each image standardised, too": OfStandardised,
    "the first for all, at random": lambda: Before(lambda x: dropped(x)[:1].expand_as(x)),
    "all before it, at random": lambda: Before(lambda x: dropped(x).cumsum(0)),
    "with a masked class": lambda: Shared(lambda x: masked(x - x.mean(0))),
    "with no number for a class": lambda: Shared(lambda x: masked(x - x.mean(0), -torch.inf)),
}
REFUSED = {
    **dict.fromkeys(OTHERS, "answers an image otherwise when others in its batch change"),
    "by place": "answers an image otherwise at another place in its batch",
    "one coin for a batch": "draws random numbers once for a batch",
    "one size for a batch": "draws random numbers once for a batch",
}
SHARED = OTHERS | {
    "by place": lambda: Shared(lambda x: x * torch.arange(len(x))[:, None]),
    "one coin for a batch": lambda: Before(one_coin),
    "one size for a batch": lambda: Before(one_size),
}


def flipped(draw):
    """Return a network that flips each image, or not, as numbers say that are drawn for it."""
    return Before(lambda x: torch.where(draw(len(x)).view(-1, 1, 1, 1), x.flip(-1), x))


def nearly_constant(x):
    """Return answers of which rounding, by place, is a large part of what images make of them."""
    return 0.4 + 1e-5 * x + 1e-7 * torch.arange(len(x))[:, None]


class Buffered(Shared):
    """Writes over what it returned before."""

    buffer = torch.empty(100, 5)

    def forward(self, x):
        return self.buffer[: len(x)].copy_(self.network(x))


SOUND = {
    "plain": network,
    "running statistics": lambda: network(nn.BatchNorm2d(4)),
    "random": lambda: network(nn.Dropout()).train(),
    "constant": lambda: Shared(torch.zeros_like),
    "in place": lambda: Shared(lambda x: x.mul_(2)),
    "NumPy's numbers": lambda: flipped(lambda n: torch.from_numpy(np.random.rand(n) < 0.3)),
    "Python's numbers": lambda: flipped(
        lambda n: torch.tensor([random.random() < 0.3 for _ in range(n)])
    ),
    "numbers that do not matter": lambda: Shared(lambda x: x + 0 * torch.rand(len(x), 1)),
    "hardly different": lambda: Shared(nearly_constant),
    "masked": lambda: Shared(masked),
    "no number for a class": lambda: Shared(lambda x: masked(x, -torch.inf)),
    "written over": lambda: Buffered(None),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("made", SHARED)
def test_an_answer_that_depends_on_the_batch_is_refused(made, precision):
    classifier = SHARED[made]()
    with pytest.raises(ValueError, match=f"^classifier 'mine' {REFUSED[made]}"):
        check_batches(smoothed(classifier, precision=precision), IMAGES, classes=5)


def test_a_denoiser_is_tried_as_well():
    whitened = Shared(lambda x: (x - x.mean()) / x.std())
    with pytest.raises(ValueError, match="^denoiser Shared answers an image otherwise when"):
        check_batches(smoothed(network(), whitened), IMAGES, classes=5)


@pytest.mark.parametrize("made", [Before, Shared])
def test_a_weak_dependence_is_refused_where_rounding_is_weaker(made):
    weak = made(lambda x: x - 0.03 * x.mean(0))
    with pytest.raises(ValueError, match="answers an image otherwise when others"):
        check_batches(smoothed(weak), IMAGES, classes=5)


def test_a_black_image_is_told_from_those_beside_it():
    same = SHARED["the first for all, at random"]()
    with pytest.raises(ValueError, match="answers an image otherwise when others"):
        check_batches(smoothed(same), np.zeros_like(IMAGES), classes=5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("made", SOUND)
def test_an_answer_of_its_own_is_taken(made, precision, caplog):
    ours = smoothed(SOUND[made](), precision=precision)
    for classifier in ours.classifiers.values():  # dropout that is meant
        classifier.train(made == "random")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    np.random.seed(3)
    random.seed(3)
    check_batches(ours, IMAGES, classes=5)
    assert torch.equal(torch.get_rng_state(), before)
    numbers = np.random.rand(), random.random()
    np.random.seed(3)
    random.seed(3)
    assert numbers == (np.random.rand(), random.random())
    assert not caplog.records


@pytest.mark.parametrize("rows", [2, 100])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_what_is_drawn_for_each_image_is_not_refused_by_chance(share, rows):
    for first in range(30):  # numbers drawn before it are others each time

        def draw(n, first=first):
            torch.rand(first)
            return torch.rand(n) < share

        check_batches(smoothed(flipped(draw), batch_size=rows), IMAGES, classes=5)


def test_a_generator_of_its_own_is_a_warning(caplog):
    own = torch.Generator().manual_seed(1)
    noisy = Before(lambda x: x + torch.randn(x.shape, generator=own))
    with caplog.at_level(logging.WARNING):
        check_batches(smoothed(noisy), IMAGES, classes=5)
    (record,) = caplog.records
    assert record.getMessage().startswith("classifier 'mine' answers the same images otherwise")


def test_the_generators_of_gpus_in_use_are_put_back(monkeypatch):
    gpus = (torch.Generator().manual_seed(1), torch.Generator().manual_seed(2))
    before = [gpu.get_state() for gpu in gpus]
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.default_generators", gpus)
    noisy = Before(lambda x: x + torch.randn(x.shape[1:], generator=gpus[1]))
    with pytest.raises(ValueError, match="draws random numbers once for a batch"):
        check_batches(smoothed(noisy), IMAGES, classes=5)
    assert all(map(torch.equal, before, [gpu.get_state() for gpu in gpus]))


def test_a_classifier_is_fed_what_the_denoiser_makes():
    class Clips(Shared):
        def denoise(self, noisy, sigma, normal=None):
            return noisy.clamp(0, 1)

    drawn = Before(lambda x: torch.bernoulli(x))  # an error outside [0,1]
    check_batches(smoothed(drawn, Clips(None)), IMAGES, classes=5)
    line = r"^classifier 'mine' fails on 2 noisy images of shape \(3, 32, 32\): .* outside \[0,1\]$"
    with pytest.raises(ValueError, match=line):
        check_batches(smoothed(drawn), IMAGES, classes=5)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_batches_are_as_small_as_those_of_the_run_and_as_memory_wants(most):
    class Takes(Shared):
        error = AssertionError

        def forward(self, x):
            if len(x) > most:
                raise self.error
            return self.network(x)

    check_batches(smoothed(Takes(None), batch_size=most), IMAGES, classes=5)
    with pytest.raises(ValueError, match=r"AssertionError; it must take several at once, unless"):
        check_batches(smoothed(Takes(None)), IMAGES, classes=5)
    Takes.error = torch.OutOfMemoryError
    check_batches(smoothed(Takes(None)), IMAGES, classes=5)


def test_graphs_of_a_network_that_came_compiled_may_write_over_their_answers(monkeypatch):
    marks = []
    monkeypatch.setitem(sys.modules, "torch._inductor.cudagraph_trees", object())
    monkeypatch.setattr("torch.compiler.cudagraph_mark_step_begin", lambda: marks.append(1))

    class Graph(Shared):
        def forward(self, x):
            assert marks.pop()  # else torch says that its answers are wanted no longer
            return self.network(x)

    check_batches(smoothed(Graph(None), compiled=False), IMAGES, classes=5)


def test_what_is_no_answer_is_said_as_ever():
    with pytest.raises(ValueError, match="classifier 'mine' has 5 classes"):
        check_batches(smoothed(network()), IMAGES, classes=6)
    with pytest.raises(ValueError, match="denoiser Shared returned shape"):
        check_batches(smoothed(network(), Shared(lambda x: x[:1])), IMAGES, classes=5)
