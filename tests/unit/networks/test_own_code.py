"""What of a user's own runs in a network is told apart, and what does not run is not."""

import os
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchvision import transforms

import dds
from dds.networks.own_code import own_code_digest

#: A file of networks; what tests change of it stands in capitals.
FILE = """
    import math
    from functools import cache
    from types import SimpleNamespace

    import torch
    from torch import nn
    from torchvision import transforms

    GAIN = 1.0

    def prepare(x):
        return GAIN * x

    @cache
    def table():
        return 3.0

    class Base(nn.Module):
        SIGN = 1

        def forward(self, x):
            return self.SIGN * self.answer(prepare(x))

    class Network(Base):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self._mean = torch.tensor([0.5])
            self.settings = SimpleNamespace(scale=1.0)
            self.prepare = transforms.Compose([transforms.Normalize([0.5], [1.0])])
            self.act = lambda x: x.relu()
            self._others = [nn.BatchNorm1d(2)]

        @property
        def factor(self):
            return 2

        @staticmethod
        def squeeze(x):
            return x.sum()

        def answer(self, x):
            return self.act(self.layer(x - self._mean)) * self.factor * math.pi * table()

    def classifier():
        network = Network()
        network.layer.register_forward_hook(lambda layer, given, found: found + 0)
        return network
"""
CHANGES = {
    "a constant": ("GAIN = 1.0", "GAIN = 2.0"),
    "a function": ("GAIN * x", "GAIN - x"),
    "a method": ("self.layer(x - self._mean)", "self.layer(x + self._mean)"),
    "a method of a base": ("self.answer(prepare(x))", "-self.answer(prepare(x))"),
    "a constant of a base": ("SIGN = 1", "SIGN = -1"),
    "a private tensor": ("torch.tensor([0.5])", "torch.tensor([0.4])"),
    "a namespace": ("scale=1.0", "scale=2.0"),
    "a transform": ("Normalize([0.5]", "Normalize([0.4]"),
    "a lambda": ("x.relu()", "x.tanh()"),
    "a property": ("return 2", "return 3"),
    "a static method": ("x.sum()", "x.mean()"),
    "a cached function": ("return 3.0", "return 4.0"),
    "a hook": ("found + 0", "found + 1"),
    "another function": ("math.pi", "math.tau"),
    "a network in a list": ("[nn.BatchNorm1d(2)]", "[nn.BatchNorm1d(2, eps=1e-3)]"),
}
SAME = {
    "nothing": ("", ""),
    "a comment": ("GAIN = 1.0", "GAIN = 1.0  # of what?"),
    "lines that move": ("GAIN = 1.0", "\n\n    GAIN = 1.0\n"),
    "a function that is not called": ("GAIN = 1.0", "GAIN = 1.0\n\n    def other(): 1"),
    "a global variable of an attribute's name": ("GAIN = 1.0", "GAIN, layer = 1.0, object()"),
}


def digest_of(folder, change, **environment):
    """Return the digest of the file's network, changed, in a process of its own."""
    old, new = change
    assert old in FILE
    (folder / "mine.py").write_text(textwrap.dedent(FILE.replace(old, new, 1) if old else FILE))
    program = (
        "import torch, mine; from dds.networks.own_code import own_code_digest; "
        "torch.manual_seed(0); print(own_code_digest(mine.classifier()))"
    )
    paths = f"{folder}{os.pathsep}{Path(dds.__path__[0]).parent}"
    ran = subprocess.run(
        [sys.executable, "-B", "-c", program], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": paths} | environment,
    )  # fmt: skip
    return ran.stdout


@pytest.fixture(scope="module")
def digest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    return lambda change, **environment: digest_of(folder, change, **environment)


@pytest.fixture(scope="module")
def before(digest):
    return digest(("", ""))


@pytest.mark.parametrize("name", CHANGES)
def test_what_runs_is_told(digest, before, name):
    assert digest(CHANGES[name]) != before


@pytest.mark.parametrize("name", SAME)
def test_what_does_not_run_is_not(digest, before, name):
    assert digest(SAME[name], PYTHONHASHSEED="7") == before


class Held(nn.Module):
    def __init__(self, held):
        super().__init__()
        self._held = held


def test_objects_are_told_by_what_they_hold():
    def of(held):
        return own_code_digest(Held(held))

    assert of(SimpleNamespace(a=1)) == of(SimpleNamespace(a=1)) != of(SimpleNamespace(a=2))
    assert of(partial(torch.add, other=1)) == of(partial(torch.add, other=1))
    assert of(partial(torch.add, other=1)) != of(partial(torch.add, other=2))
    assert of({"a": torch.zeros(2)}) == of({"a": torch.zeros(2)}) != of({"a": torch.ones(2)})
    assert of([transforms.Resize(8)]) != of([transforms.Resize(9)])
    circle = SimpleNamespace()
    circle.itself = circle
    assert of(circle) == of(circle) != of(SimpleNamespace(itself=None))


class Slotted:
    __slots__ = ("held",)

    def __init__(self, held):
        self.held = held


class Counting(Held):
    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "_held"}


def test_attributes_are_those_that_pickle_takes():
    assert own_code_digest(Held(Slotted(1))) != own_code_digest(Held(Slotted(2)))
    assert own_code_digest(Held(1)) != own_code_digest(Held(2))
    assert own_code_digest(Counting(1)) == own_code_digest(Counting(2))


def test_weights_and_mode_are_not_of_it():
    network = Held(0)
    before = own_code_digest(network)
    network.layer = nn.Linear(2, 2)
    described = own_code_digest(network)
    assert described != before
    nn.init.zeros_(network.eval().layer.weight)
    assert own_code_digest(network) == described


def test_what_is_installed_has_no_code_of_ones_own():
    assert own_code_digest(nn.Linear(2, 2)) == own_code_digest(nn.Linear(2, 2))
    denoiser = dds.DiffusionDenoiser(nn.Conv2d(1, 1, 1), dds.cosine_schedule(10))
    assert own_code_digest(denoiser) == own_code_digest(denoiser)
