"""Which networks are compiled follows from their work; failing to compile is no failure."""

import logging

import pytest
import torch
from brightness import CLASSES, IMAGES, PLANS, count_votes, same, smoothed
from torch import nn

from dds import progress
from dds.networks import compiling
from dds.networks.compiling import compile_networks, flops_of, worth_compiling
from dds.networks.denoisers import DiffusionDenoiser
from dds.networks.schedules import cosine_schedule
from dds.progress import Progress
from dds.sampling import runner

PIXELS = 4  # of an image of `brightness`
SAMPLES = IMAGES * (PLANS["fixed"]["n0"] + PLANS["fixed"]["n"])  # the most that are drawn
FLOP_A_SAMPLE = 2 * PIXELS * CLASSES


class Small(nn.Module):
    """One matrix product."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weights = nn.Linear(PIXELS, CLASSES)

    def forward(self, images):
        return self.weights(images.flatten(1))


class Unet(nn.Module):
    """A matrix product for each pixel."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(1, 1)

    def forward(self, x, time):
        return self.mix(x.movedim(1, -1)).movedim(-1, 1)


def test_flops_are_counted_by_network_and_call():
    once, thrice, never = nn.Linear(5, 7), nn.Linear(3, 2), nn.Linear(2, 2)

    def run():
        once(torch.zeros(4, 5))
        for _ in range(3):
            thrice(torch.zeros(1, 3))

    with torch.inference_mode():
        found = flops_of([once, thrice, never], run)
    assert found == [2 * 4 * 5 * 7, 3 * 2 * 3 * 2, 0]
    assert not once._forward_hooks
    assert not once._forward_pre_hooks


def test_networks_are_worth_it_from_so_much_work_on(monkeypatch):
    monkeypatch.setattr(compiling, "WORTH_COMPILING", 1000)
    small, large = nn.Linear(5, 1), nn.Linear(5, 10)

    def run():
        large(torch.zeros(1, 5)), small(torch.zeros(1, 5))

    assert worth_compiling([small, large], run, 9) == []
    assert worth_compiling([small, large], run, 10) == [large]
    assert worth_compiling([small, large], run, 100) == [small, large]


@pytest.fixture
def compiled(monkeypatch):
    """The networks that are compiled, on what passes for a GPU."""
    found = []
    monkeypatch.setattr(runner.Runner, "_is_cuda", property(lambda self: True))
    monkeypatch.setattr(runner._Running, "queue", classmethod(lambda cls, *args: cls(*args)))

    def compile_networks(networks, run, once, programs):
        found.extend(networks)
        run()
        return True

    monkeypatch.setattr(runner, "compile_networks", compile_networks)
    return found


@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("more", [0, 1])
def test_the_whole_work_decides_wherever_it_is_taken_up(compiled, monkeypatch, resumed, more):
    monkeypatch.setattr(compiling, "WORTH_COMPILING", SAMPLES * FLOP_A_SAMPLE + more)
    network = Small()
    expected = count_votes(smoothed("fixed", {"small": network}, compiled=False))
    votes = None
    if resumed:
        votes = count_votes(smoothed("fixed", {"small": network}, compiled=False))
        votes.estimation[0] = 0
    smooth = smoothed("fixed", {"small": network}, batch_size=64)
    assert same(count_votes(smooth, votes=votes), expected)
    assert compiled == ([] if more else [network])
    assert smooth.runner.compiled is not bool(more)


def test_networks_with_little_to_do_stay_as_they_are_beside_others(compiled, monkeypatch):
    monkeypatch.setattr(compiling, "WORTH_COMPILING", SAMPLES * FLOP_A_SAMPLE)
    unet, network = Unet(), Small()
    denoiser = DiffusionDenoiser(unet, cosine_schedule(20))
    count_votes(smoothed("fixed", {"small": network}, denoiser))
    assert compiled == [network]


def test_whoever_asks_for_compiling_gets_it(compiled):
    network = Small()
    count_votes(smoothed("fixed", {"small": network}, compiled=True))
    assert compiled == [network]


def test_a_failed_compilation_leaves_the_network_usable(caplog):
    network, calls = nn.Linear(2, 2), []

    def run():
        calls.append(network._compiled_call_impl)
        raise RuntimeError("no compiler")

    assert not compile_networks([network], run, once=True)
    assert "no compiler" in caplog.text
    assert calls[0] is not None
    assert network(torch.zeros(1, 2)).shape == (1, 2)
    assert network._compiled_call_impl is None


def test_it_is_said_that_networks_are_compiled_and_how_long_it_took(caplog, monkeypatch):
    said, now = [], [0.0]
    monkeypatch.setattr(progress, "_current", None)
    monkeypatch.setattr(compiling.time, "monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO), Progress(10, "work", "samples") as work:

        def run():
            now[0] += 23.4
            said.append(work.preparing)

        compile_networks([nn.Linear(2, 2), nn.Linear(2, 2)], run, once=False)
        assert work.preparing is None
    assert said == ["compiling 2 networks"]
    assert caplog.messages[:2] == ["compiling 2 networks", "compiled 2 networks in 23.4 s"]
