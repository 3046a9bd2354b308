"""The same samples in other arithmetic: which they are, and what is counted of them."""

import numpy as np
import pytest
import torch
from torch import nn

from dds.decisions import EVERYWHERE, IN_CONVOLUTIONS, CannotRun, Samples, Variant, variants
from dds.networks.denoisers import NoDenoiser
from dds.sampling import runner
from dds.sampling.kernels import PRECISIONS
from dds.sampling.smoothing import SmoothedClassifier
from dds.statistics.plans.fixed import Fixed

CLASSES, N0, N, SIGMA, SEED = 3, 30, 120, 0.5, 7
IDS = [4, 0, 9, 2, 5]
PIXELS = np.random.default_rng(0).random((len(IDS), 1, 4, 4), np.float32)
SAMPLES = Samples(PIXELS, np.array([0, 1, 2, 0, 1]), IDS, CLASSES, SIGMA, N0, N, SEED)


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, CLASSES))


class Flags(nn.Module):
    """Keeps whether TF32 is allowed, in convolutions and in products."""

    seen = set()

    def forward(self, images):
        matmul = torch.backends.cuda.matmul
        self.seen.add((torch.backends.cudnn.allow_tf32, matmul.allow_tf32))
        return images.flatten(1)[:, :CLASSES]


@pytest.mark.parametrize("batch_size", [7, 50, 1000])
def test_the_samples_are_those_that_certification_counts(batch_size):
    answers = SAMPLES.answers({"f": linear()}, NoDenoiser(), Variant(batch_size))["f"]
    smoothed = SmoothedClassifier({"f": linear()}, NoDenoiser(), SIGMA, Fixed(N0, N), SEED)
    votes = smoothed.count_votes(PIXELS, [None] * len(IDS), IDS, classes=CLASSES)
    for phase, counted in ((answers[:, :N0], votes.selection), (answers[:, N0:], votes.estimation)):
        counts = [np.bincount(of_image, minlength=CLASSES) for of_image in phase]
        assert np.array_equal(counts, counted[:, 0])


def test_bfloat16_changes_some_samples_and_batches_change_none():
    network = linear()
    network[1].bias.data += 8  # where neighbours in bfloat16 lie 1/16 apart
    ways = Variant(100), Variant(33), Variant(100, "bfloat16")
    run = [SAMPLES.answers({"f": network}, NoDenoiser(), way) for way in ways]
    reference, batches, bfloat16 = run
    assert not SAMPLES.compare(reference, batches)["changed"].item()
    assert 0 < SAMPLES.compare(reference, bfloat16)["changed"].item() < 100
    assert network[1].weight.dtype == torch.float32


def test_changes_are_counted_by_what_they_do_to_labels():
    reference = {"f": np.zeros((len(IDS), N0 + N), np.int16)}  # labels 0, 1, 2, 0, 1
    other = {"f": reference["f"].copy()}
    other["f"][0, :4] = 1  # right, then wrong
    other["f"][1, :3] = 1  # wrong, then right
    other["f"][2, :2] = 1  # wrong both ways
    (row,) = SAMPLES.compare(reference, other).to_dict("records")
    assert (row["samples"], row["changed"]) == (len(IDS) * (N0 + N), 9)
    assert (row["lost"], row["won"]) == (4, 3)
    assert row["low"] < row["share"] == 9 / 750 < row["high"]


def test_certified_accuracies_are_compared_image_by_image_where_samples_reach():
    labels = SAMPLES.labels[:, None]
    reference = {"f": np.repeat(labels, N0 + N, axis=1)}  # all right
    other = {"f": reference["f"].copy()}
    other["f"][0, N0 : N0 + 20] = 1  # of 120, 100 are right: certified at 0.1, not at 0.7
    other["f"][1] = 0  # wrong throughout
    cells = SAMPLES.compare_certified(reference, other, [0.0, 0.1, 0.7, 9.0], alpha=0.001)
    assert cells["radius"].tolist() == [0.0, 0.1, 0.7]
    assert cells["certified_reference"].tolist() == [5, 5, 5]
    assert cells["certified"].tolist() == [4, 4, 3]
    assert cells["points"].tolist() == [-20.0, -20.0, -40.0]
    swapped = SAMPLES.compare_certified(
        {"f": np.array([0, 1, 2, 1, 1])[:, None].repeat(N0 + N, axis=1)},
        {"f": np.array([1, 1, 2, 0, 1])[:, None].repeat(N0 + N, axis=1)},
        [0.0],
        alpha=0.001,
    )
    assert (swapped["points"].item(), swapped["changed"].item()) == (0.0, 2)


def test_too_few_samples_reach_no_radius():
    few = Samples(PIXELS, SAMPLES.labels, IDS, CLASSES, SIGMA, 2, 3, SEED)
    answers = {"f": np.zeros((len(IDS), 5), np.int16)}
    assert few.compare_certified(answers, answers, [0.0, 0.25], alpha=0.001).empty


@pytest.mark.parametrize(
    ("way", "allowed"),
    [
        (Variant(100), (False, False)),
        (Variant(100, tf32=IN_CONVOLUTIONS), (True, False)),
        (Variant(100, tf32=EVERYWHERE), (True, True)),
    ],
    ids=str,
)
def test_tf32_is_where_it_is_said_and_left_as_it_was(way, allowed, monkeypatch):
    monkeypatch.setattr(Flags, "seen", set())
    matmul = torch.backends.cuda.matmul
    before = torch.backends.cudnn.allow_tf32, matmul.allow_tf32
    SAMPLES.answers({"f": Flags()}, NoDenoiser(), way)
    assert Flags.seen == {allowed}
    assert (torch.backends.cudnn.allow_tf32, matmul.allow_tf32) == before


def test_a_way_that_was_not_gone_is_no_result(monkeypatch):
    monkeypatch.setattr(runner, "compile_networks", lambda *arguments, **options: False)
    with pytest.raises(CannotRun, match=r"torch\.compile failed"):
        SAMPLES.answers({"f": linear()}, NoDenoiser(), Variant(100, compiled=True))

    class Large(nn.Module):
        def forward(self, images):
            if len(images) > 60:
                raise torch.OutOfMemoryError
            return images.flatten(1)[:, :CLASSES]

    with pytest.raises(CannotRun, match="out of memory, which holds batches of 50"):
        SAMPLES.answers({"f": Large()}, NoDenoiser(), Variant(100))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_precision_is_tried_in_other_batches_and_compiled(device):
    reference, *others = variants(100, device)
    assert reference == Variant(100)
    for precision in PRECISIONS:
        assert Variant(50, precision) in others
        assert Variant(100, precision, compiled=True) in others
    assert any(way.tf32 for way in others) == (device == "cuda")
    assert len({reference, *others}) == len(others) + 1
