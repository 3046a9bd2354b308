"""What of a user's own runs in a network is told apart, and what does not run is not."""

import importlib
import json
import os
import subprocess
import sys
import textwrap
from collections import deque
from functools import partial, singledispatch
from operator import itemgetter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from uuid import uuid4

import pytest
import torch
from torch import nn
from torchvision import transforms

import dds
from dds.networks.own_code import own_code

#: Source in a pickle.
PICKLED = """
    from torch import nn

    class Net(nn.Module):
        def forward(self, x):
            return x * FACTOR
"""
#: Files of networks; what tests change of them stands in capitals.
FILES = {
    "mine.py": """
        import math
        from enum import Enum
        from functools import cache
        from types import SimpleNamespace
        from typing import NamedTuple
        from warnings import catch_warnings

        import torch
        from torch import nn
        from torchvision import transforms

        import helpers
        import parts.inner

        GAIN = 1.0
        SIZES = {(8, 8): 2.0}
        BIAS = torch.zeros(2)

        def prepare(x):
            "Prepares."
            return GAIN * x

        @cache
        def table():
            return 3.0

        with catch_warnings(action="ignore"):  # TorchScript is to go

            @torch.jit.script
            def written(x: torch.Tensor):
                return x * 4

        class Kind(Enum):
            SMALL = 0.1

        class Pair(NamedTuple):
            first: int

            def half(self):
                return self.first / 2

        class Key:
            pass

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
                self._pair, self._kind = Pair(1), Kind.SMALL
                self._keys = {Key(): number for number in range(9)}
                self._sets = {frozenset("abc"), frozenset("def")}

            @property
            def factor(self):
                return 2

            @staticmethod
            def squeeze(x):
                return x.sum()

            @torch.no_grad()
            def answer(self, x):
                from late import last

                x = last(written(helpers.bring(parts.inner.scale(x)))) * SIZES[8, 8]
                x = self.act(self.layer(x - self._mean)) * self.factor * math.pi * table()
                return x + BIAS

        def classifier():
            network = Network()
            network.layer.register_forward_hook(lambda layer, given, found: found + 0)
            return network
    """,
    "helpers.py": "from further import away\n\ndef bring(x):\n    return away(x)\n",
    "further.py": "def away(x):\n    return x / 5\n",
    "late.py": "def last(x):\n    return x + 6\n",
    "parts/inner.py": "def scale(x):\n    from . import more\n\n    return more.seven(x)\n",
    "parts/more.py": "def seven(x):\n    return x * 7\n",
    "guided_diffusion.py": "from torch import nn\n\nclass Net(nn.Module):\n    size = 8\n",
}
CHANGES = {
    "a constant": ("GAIN = 1.0", "GAIN = 2.0", "mine.GAIN"),
    "a tensor": ("torch.zeros(2)", "torch.ones(2)", "mine.BIAS"),
    "a table": ("(8, 8): 2.0", "(8, 9): 2.0", "mine.SIZES"),
    "a function": ("GAIN * x", "GAIN - x", "mine.prepare.__code__"),
    "a method": ("x - self._mean", "x + self._mean", "mine.Network.answer.__code__"),
    "a method of a base": (
        "self.answer(prepare(x))",
        "-self.answer(prepare(x))",
        "mine.Base.forward.__code__",
    ),
    "a constant of a base": ("SIGN = 1", "SIGN = -1", "mine.Base.SIGN"),
    "a private tensor": ("torch.tensor([0.5])", "torch.tensor([0.4])", "mine.Network._mean"),
    "a namespace": ("scale=1.0", "scale=2.0", "mine.Network.settings"),
    "a transform": (
        "Normalize([0.5]",
        "Normalize([0.4]",
        "torchvision.transforms.transforms.Normalize.mean",
    ),
    "a lambda": (
        "x.relu()",
        "x.tanh()",
        "mine.Network.__init__.<locals>.<lambda>.__code__",
    ),
    "a property": ("return 2", "return 3", "mine.Network.factor.__code__"),
    "a static method": ("x.sum()", "x.mean()", "mine.Network.squeeze.__code__"),
    "a cached function": ("return 3.0", "return 4.0", "mine.table.__code__"),
    "a program": ("x * 4", "x * 5", "mine.written"),
    "an enumeration": ("SMALL = 0.1", "SMALL = 0.2", "mine.Kind._value_"),
    "a method of a tuple": ("self.first / 2", "self.first / 3", "mine.Pair.half.__code__"),
    "a hook": ("found + 0", "found + 1", "mine.classifier.<locals>.<lambda>.__code__"),
    "another function": ("math.pi", "math.tau", "mine.Network.answer.__code__"),
    "a network in a list": (
        "[nn.BatchNorm1d(2)]",
        "[nn.BatchNorm1d(2, eps=1e-3)]",
        "torch.nn.modules.batchnorm.BatchNorm1d.eps",
    ),
    "what a module imports": ("x / 5", "x / 6", "further.away.__code__"),
    "what a function imports": ("x + 6", "x + 7", "late.last.__code__"),
    "a module of a package": ("more.seven(x)", "-more.seven(x)", "parts.inner.scale.__code__"),
    "what a package imports": ("x * 7", "x * 8", "parts.more.seven.__code__"),
}
SAME = {
    "nothing": ("", ""),
    "a comment": ("GAIN = 1.0", "GAIN = 1.0  # of what?"),
    "a comment in another module": ("return away(x)", "return away(x)  # further"),
    "a docstring": ("Prepares.", "Prepares images."),
    "lines that move": ("GAIN = 1.0", "\n\n        GAIN = 1.0\n"),
    "a function that is not called": ("GAIN = 1.0", "GAIN = 1.0\n\n        def other(): 1"),
    "a global variable of an attribute's name": ("GAIN = 1.0", "GAIN, layer = 1.0, object()"),
}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes the files, changed, and imports one of them."""
    monkeypatch.syspath_prepend(tmp_path)
    names = {Path(name).parts[0].removesuffix(".py") for name in FILES}

    def forget():
        for name in [name for name in sys.modules if name.partition(".")[0] in names]:
            del sys.modules[name]

    def written(old="", new="", name="mine"):
        assert any(old in text for text in FILES.values())
        for file, text in FILES.items():
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).write_text(textwrap.dedent(text.replace(old, new) if old else text))
        forget()
        importlib.invalidate_caches()
        torch.manual_seed(0)
        return importlib.import_module(name)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield written
    forget()


def differing(one, other):
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


@pytest.mark.parametrize("name", CHANGES)
def test_what_runs_is_told_by_its_name(write, name):
    old, new, said = CHANGES[name]
    before = own_code(write().classifier())
    assert said in differing(own_code(write(old, new).classifier()), before)


@pytest.mark.parametrize("name", SAME)
def test_what_does_not_run_is_not(write, name):
    before = own_code(write().classifier())
    assert own_code(write(*SAME[name]).classifier()) == before


def test_another_process_tells_the_same(write, tmp_path):
    found = own_code(write().classifier())
    program = (
        "import torch, json, mine; from dds.networks.own_code import own_code; "
        "torch.manual_seed(0); print(json.dumps(own_code(mine.classifier())))"
    )
    paths = f"{tmp_path}{os.pathsep}{Path(dds.__path__[0]).parent}"
    ran = subprocess.run(
        [sys.executable, "-B", "-c", program], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": paths, "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert json.loads(ran.stdout) == found


def test_what_is_set_in_a_module_of_ones_own_is_told(write):
    mine = write()
    before = own_code(mine.classifier())
    mine.helpers.away = torch.neg
    assert "helpers.away" in differing(own_code(mine.classifier()), before)


def test_a_copy_of_a_library_beside_the_work_is_ones_own(write):
    before = own_code(write(name="guided_diffusion").Net())
    changed = own_code(write("size = 8", "size = 9", name="guided_diffusion").Net())
    assert differing(before, changed) == {"guided_diffusion.Net.size"}


class Held(nn.Module):
    def __init__(self, held):
        super().__init__()
        self._held = held


class Scale:
    def __init__(self, factor):
        self.factor = factor


def test_objects_are_told_by_what_they_hold():
    def of(held):
        return own_code(Held(held))

    assert of(SimpleNamespace(a=1)) == of(SimpleNamespace(a=1)) != of(SimpleNamespace(a=2))
    assert of(partial(torch.add, other=1)) == of(partial(torch.add, other=1))
    assert of(partial(torch.add, other=1)) != of(partial(torch.add, other=2))
    assert of({"a": torch.zeros(2)}) == of({"a": torch.zeros(2)}) != of({"a": torch.ones(2)})
    assert of([transforms.Resize(8)]) != of([transforms.Resize(9)])
    assert of(itemgetter(0)) == of(itemgetter(0)) != of(itemgetter(1))
    assert of(deque([0])) == of(deque([0])) != of(deque([1]))
    assert of(Path("a")) == of(Path("a")) != of(Path("b"))
    assert of(torch.Generator().manual_seed(0)) == of(torch.Generator().manual_seed(1))
    assert of([Scale(1), Scale(2)]) != of([Scale(2), Scale(1)])
    assert of({Scale(1), Scale(2)}) == of({Scale(2), Scale(1)}) != of({Scale(1), Scale(3)})
    one, other = Scale(1), Scale(1)
    assert of([one, other, one]) != of([one, other, other])
    circle = SimpleNamespace()
    circle.itself = circle
    assert of(circle) == of(circle) != of(SimpleNamespace(itself=None))


def test_objects_may_be_linked_as_deep_as_memory_goes():
    def chained(last):
        for _ in range(2000):
            last = SimpleNamespace(next=last)
        return own_code(Held(last))

    assert chained(1) == chained(1) != chained(2)


def test_a_library_s_class_with_a_method_of_ones_own_is_told(monkeypatch):
    before = own_code(nn.Sequential(nn.ReLU()))
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: x)
    assert own_code(nn.Sequential(nn.ReLU())) != before


def test_functions_inside_those_of_a_library_are_told():
    def of(factor):
        @singledispatch
        def scale(x):
            return x

        @scale.register
        def _(x: int):
            return factor * x

        return own_code(Held(scale))

    assert of(1) == of(1) != of(2)


def test_classes_that_pickles_bring_are_told(monkeypatch):
    def brought(factor):  # as EDM's do: in a module that has no file, and a name that is drawn
        module = ModuleType(f"_imported_module_{uuid4().hex}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(textwrap.dedent(PICKLED).replace("FACTOR", factor), vars(module))
        return own_code(module.Net())

    assert brought("2") == brought("2") != brought("3")


class Slotted:
    __slots__ = ("held",)

    def __init__(self, held):
        self.held = held


class Counting(Held):
    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "_held"}


class Shut(Held):
    def __getstate__(self):
        raise TypeError("not to be pickled")


def test_attributes_are_those_that_pickle_takes():
    assert own_code(Held(Slotted(1))) != own_code(Held(Slotted(2)))
    assert own_code(Held(1)) != own_code(Held(2))
    assert own_code(Counting(1)) == own_code(Counting(2))
    assert own_code(Shut(1)) != own_code(Shut(2))


def test_weights_and_mode_are_not_of_it():
    network = Held(0)
    network.layer = nn.Linear(2, 2)
    network._again = [network.layer.weight]
    described = own_code(network)
    nn.init.zeros_(network.eval().layer.weight)
    assert own_code(network) == described
    network._again = [network.layer.bias]
    assert own_code(network) != described


def test_what_is_installed_has_no_code_of_ones_own():
    denoiser = dds.DiffusionDenoiser(nn.Conv2d(1, 1, 1), dds.cosine_schedule(10))
    assert own_code(nn.Linear(2, 2), denoiser) == {}
