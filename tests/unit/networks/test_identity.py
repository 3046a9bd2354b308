"""A digest stands for what a network computes, and for nothing else."""

from functools import partial
from uuid import uuid4
from warnings import catch_warnings

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import InterpolationMode

from dds import Classifier, DiffusionDenoiser, NoDenoiser, cosine_schedule, linear_schedule
from dds.networks.identity import network_digest


class Own:
    """A denoiser that is no module."""

    runs = 1

    def __init__(self, strength=1.0):
        self.networks, self.strength = (network(),), strength


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Flatten())


def changed(change, built=network):
    found = built()
    change(found)
    return found


def scripted(network):
    with catch_warnings(action="ignore"):  # TorchScript is to go
        return torch.jit.script(network)


def frozen(network):
    with catch_warnings(action="ignore"):
        return torch.jit.freeze(scripted(network.eval()))


def denoiser(**options):
    return DiffusionDenoiser(network(), cosine_schedule(10), **options)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (network(), changed(lambda found: nn.init.zeros_(found[0].bias))),
        (network(), changed(lambda found: found[1].running_mean.add_(1))),
        (network(), changed(lambda found: setattr(found[1], "eps", 1e-3))),
        (network(), changed(lambda found: setattr(found[0], "padding", (0, 0)))),
        (network(), network().append(nn.ReLU())),
        (network(), network().to(torch.bfloat16)),
        (nn.ReLU(), nn.GELU()),
        (scripted(nn.ReLU()), scripted(nn.GELU())),
        (scripted(nn.Softmax(0)), scripted(nn.Softmax(1))),
        (frozen(network()), frozen(changed(lambda found: nn.init.zeros_(found[0].bias)))),
        (Classifier(network()), Classifier(network(), size=8)),
        (Classifier(network()), Classifier(network(), mean=[0.5])),
        (Classifier(network(), size=8), Classifier(network(), size=8, interpolation="bilinear")),
        (denoiser(), denoiser(steps=2)),
        (denoiser(), denoiser(timestep="exact")),
        (denoiser(), DiffusionDenoiser(network(), linear_schedule(40))),
        (NoDenoiser(), denoiser()),
        (Own(np.float32(1)), Own(np.float32(2))),
        (Own(InterpolationMode.BILINEAR), Own(InterpolationMode.BICUBIC)),
        (Own(partial(torch.clamp, max=1)), Own(partial(torch.clamp, max=2))),
        (Own({1, 2}), Own({1})),
        (Own(torch.float32), Own(torch.bfloat16)),
        (Own(), Own(0.5)),
        (Own(), changed(lambda found: nn.init.zeros_(found.networks[0][0].bias), Own)),
    ],
)
def test_what_computes_something_else_has_another_digest(one, other):
    assert network_digest(one) != network_digest(other)


@pytest.mark.parametrize("built", [network, denoiser, NoDenoiser, Own])
def test_what_is_built_alike_has_the_same_digest(built):
    assert network_digest(built()) == network_digest(built())


class Counting(nn.Module):
    def __init__(self, calls):
        super().__init__()
        self.calls, self.size = calls, 8

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "calls"}


def test_attributes_that_getstate_leaves_out_do_not_count():
    assert network_digest(Counting(1)) == network_digest(Counting(2))
    changed = Counting(1)
    changed.size = 9
    assert network_digest(changed) != network_digest(Counting(1))


def test_names_of_modules_that_are_drawn_do_not_count():
    def brought():  # as EDM's pickles bring their classes
        return type("Brought", (nn.Module,), {"__module__": f"_imported_module_{uuid4().hex}"})

    assert network_digest(brought()()) == network_digest(brought()())


class Key:
    pass


def test_the_order_of_what_has_none_does_not_count():
    items = [(Key(), number) for number in range(9)]
    assert network_digest(Own(dict(items))) == network_digest(Own(dict(reversed(items))))
    sets = [frozenset(text) for text in ("abcdefgh", "hgfedcba")]
    assert network_digest(Own({sets[0]})) == network_digest(Own({sets[1]}))
    assert network_digest(Own({sets[0]})) != network_digest(Own({frozenset("abc")}))


def test_mode_and_order_in_memory_do_not_count():
    before = network_digest(network())
    assert network_digest(network().eval()) == before
    assert network_digest(network().to(memory_format=torch.channels_last)) == before
    run = network().eval()
    run(torch.zeros(1, 1, 4, 4))
    assert network_digest(run) == before
