"""Networks kept as whole programs: found again by what they were made from, and by nothing else."""

import importlib
import logging
import math
import os
import re
import subprocess
import sys
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import Enum
from functools import partial
from types import MethodType, SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn
from torch._inductor import config

from dds.networks import compiling, programs
from dds.networks.compiling import compile_networks, free_programs
from dds.networks.programs import Program, structure

CODE = """
import torch

class Scale(torch.nn.Module):
    def __init__(self, factor=2.0):
        super().__init__()
        self.factor, self.weights = factor, torch.nn.Linear(4, 3)

    def forward(self, images):
        return self.weights(images) * self.factor
"""

IMAGES = torch.linspace(0, 1, 8).reshape(2, 4)


@pytest.fixture(autouse=True)
def on_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))


@pytest.fixture
def scales(monkeypatch, tmp_path):
    """A module with a network, that can be given other code."""
    monkeypatch.syspath_prepend(tmp_path)

    def load(code=CODE):
        (tmp_path / "scales.py").write_text(code)
        sys.modules.pop("scales", None)
        importlib.invalidate_caches()
        return importlib.import_module("scales")

    yield load
    sys.modules.pop("scales", None)


@pytest.fixture
def use(tmp_path):
    """Run a network as its program; tell whether that was found."""

    def run(network, images=IMAGES, folder=tmp_path / "programs"):
        program = Program(network.eval(), folder, lambda: None, None)
        network._compiled_call_impl = program
        with torch.inference_mode():
            answer = network(images)
            network._compiled_call_impl = None
            torch.testing.assert_close(answer, network(images))
        return program.found

    return run


def warnings(caplog):
    """What was logged of programs, without what torch says of the machine."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and record.name == programs.__name__
    ]


def test_a_program_is_found_by_whoever_comes_later(scales, use, monkeypatch):
    network = scales().Scale()
    assert not use(network)
    monkeypatch.setattr(torch, "compile", lambda *args, **options: pytest.fail("it is compiled"))
    assert use(network)
    assert use(scales().Scale())  # of other weights


@pytest.mark.parametrize("change", [
    lambda run, scales: run(scales().Scale(3.0)),
    lambda run, scales: run(scales().Scale(), IMAGES[:1]),
    lambda run, scales: run(scales().Scale().double(), IMAGES.double()),
])  # fmt: skip
def test_what_a_program_was_not_made_for_has_another(scales, use, change):
    assert not use(scales().Scale())
    assert not change(use, scales)
    assert use(scales().Scale())


def test_a_program_of_other_code_is_made_anew(scales, use):
    other = CODE.replace("* self", "+ self")
    assert not use(scales().Scale())
    assert not use(scales(other).Scale())
    assert use(scales(other).Scale())


def closure(number):
    return lambda images: images + number


USE = """
from pathlib import Path

import torch
from constants import FACTOR, scaled
from dds.networks.programs import Program

class Multiplies(torch.nn.Linear):
    def forward(self, images):
        return super().forward(images) * FACTOR

class Calls(torch.nn.Linear):
    def forward(self, images):
        return scaled(super().forward(images))

with torch.inference_mode():
    for network in (Multiplies(4, 3).eval(), Calls(4, 3).eval()):
        program, images = Program(network, Path("programs"), None, None), torch.ones(2, 4)
        torch.testing.assert_close(program(images), network(images))
        print(program.found)
"""
CONSTANTS = """
import torch

FACTOR = 2.0

@torch.compiler.allow_in_graph
def scaled(images):
    return images * FACTOR
"""


def test_what_other_modules_hold_has_a_program_of_its_own(tmp_path):
    found = []
    for factor in ("2.0", "3.0", "3.0"):
        (tmp_path / "constants.py").write_text(CONSTANTS.replace("2.0", factor))
        (tmp_path / "networks.py").write_text(USE)
        run = subprocess.run(
            [sys.executable, "-B", "-c", "import networks"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
            check=True,
            capture_output=True,
            text=True,
        )
        found.append(run.stdout.split())
    assert found == [["False"] * 2, ["False"] * 2, ["True"] * 2]


def test_what_is_changed_at_run_time_has_a_program_of_its_own(scales, use):
    kind = scales(CODE.replace("* self.factor", "* type(self).shared")).Scale
    kind.shared = 2.0
    assert not use(kind())
    assert use(kind())
    kind.shared = 3.0
    assert not use(kind())


def test_code_that_changes_while_a_process_runs_it_is_not_taken_for_its_program(
    scales, use, tmp_path
):
    network, other = scales().Scale(), CODE.replace("* self", "+ self")
    (tmp_path / "scales.py").write_text(other)
    assert not use(network)
    assert not use(scales(other).Scale())
    assert use(scales(other).Scale())


FACTORIES = """
from functools import cache
from types import FunctionType

import torch
from torch import nn

def local(factor):
    class Local(nn.Linear):
        def forward(self, images):
            return super().forward(images) * factor
    return Local(4, 3)

class Marked(nn.Linear):
    def forward(self, images):
        return super().forward(images) * self.weight.factor

def marked(factor):
    network = Marked(4, 3)
    network.weight.factor = factor
    return network

class Calls(nn.Linear):
    def forward(self, images):
        return self.function(super().forward(images))

def cached(factor):
    network = Calls(4, 3)
    network.function = cache(lambda images: images * factor)
    return network

def attributed(factor):
    network = Calls(4, 3)
    network.function = lambda images: images * network.function.factor
    network.function.factor = factor
    return network

class Asks(nn.Linear):
    def forward(self, images):
        return super().forward(images) * (2 if isinstance(self.given, FunctionType) else 3)

def asked(factor):
    network = Asks(4, 3)
    network.given = closed if factor == 2 else factor
    return network

def closed(images):
    return images

class Trained(nn.Linear):
    def forward(self, images):
        return super().forward(images) * (2 if self.weight.requires_grad else 3)

def trained(factor):
    return Trained(4, 3).requires_grad_(factor == 2)

class Viewed(nn.Linear):
    def forward(self, images):
        self.written.add_(1)
        answer = super().forward(images) + self.read
        self.written.sub_(1)
        return answer

def viewed(factor):
    network = Viewed(4, 3)
    network.register_buffer("written", torch.zeros(3))
    network.register_buffer("read", network.written[:] if factor == 2 else torch.zeros(3))
    return network
"""


@pytest.mark.parametrize("name", [
    "local", "marked", "cached", "attributed", "asked", "trained", "viewed",
])  # fmt: skip
def test_networks_that_compute_something_else_share_no_program(scales, use, name):
    build = getattr(scales(FACTORIES), name)
    assert not use(build(3))
    assert use(build(3))
    assert not use(build(2))


@pytest.mark.parametrize("changed", [
    lambda: patch("torch.backends.cpu.get_cpu_capability", lambda: "another"),
    lambda: patch("torch.get_default_device", lambda: torch.device("meta")),
    lambda: patch("torch.backends.cuda.flash_sdp_enabled", lambda: False),
    lambda: config.patch(emulate_precision_casts=True),
])  # fmt: skip
def test_other_circumstances_have_programs_of_their_own(scales, use, changed):
    assert not use(scales().Scale())
    with changed():
        assert not use(scales().Scale())
    assert use(scales().Scale())


def test_precisions_have_programs_of_their_own(scales, use):
    network = scales().Scale()
    with torch.autocast("cpu", torch.bfloat16):
        assert not use(network)
    assert not use(network)
    with torch.autocast("cpu", torch.bfloat16):
        assert use(network)


@pytest.mark.parametrize("damage", [
    lambda content: b"", lambda content: content[:-100], lambda content: b"0" + content[1:],
])  # fmt: skip
def test_a_damaged_program_is_one_line_and_is_replaced(scales, use, tmp_path, caplog, damage):
    use(scales().Scale())
    (path,) = (tmp_path / "programs").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert not use(scales().Scale())
    (line,) = warnings(caplog)
    assert line.startswith(f"{path} is not used: ")
    assert "\n" not in line
    assert use(scales().Scale())


def test_where_nothing_can_be_written_networks_are_compiled_all_the_same(
    scales, use, tmp_path, caplog
):
    (tmp_path / "programs").write_text("a file where the folder belongs")
    assert not use(scales().Scale())
    (line,) = warnings(caplog)
    assert re.fullmatch(r".*\.program is not kept: .+", line)


class Untraceable(nn.Module):
    """What it does follows from the values of its images."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Linear(4, 4)

    def forward(self, images):
        if images.sum().item() > 0:
            images = images + 1
        return self.weights(images)


@dataclass
class Logits:
    logits: torch.Tensor


@dataclass
class Sample:
    sample: torch.Tensor


class Answers(nn.Module):
    """Answers as transformers and diffusers do."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.weights = kind, nn.Linear(4, 4)

    def forward(self, images):
        return self.kind(self.weights(images))


def test_what_is_not_one_program_is_compiled_as_usual(tmp_path, caplog):
    network = Untraceable().eval()
    expected = network(IMAGES)
    with torch.inference_mode(), caplog.at_level(logging.INFO):
        run = partial(network, IMAGES)
        assert compile_networks([network], run, once=True, programs=tmp_path / "programs")
        torch.testing.assert_close(network(IMAGES), expected)
    assert "Untraceable is not one program: " in caplog.text
    assert not isinstance(network._compiled_call_impl, Program)
    assert not (tmp_path / "programs").exists()
    assert caplog.messages[-1].startswith("compiled 1 network in ")


@pytest.mark.parametrize("kind", [Logits, Sample])
def test_the_tensor_stands_for_what_holds_it(tmp_path, kind):
    network = Answers(kind).eval()
    program = Program(network, tmp_path, lambda: None, None)
    with torch.inference_mode():
        torch.testing.assert_close(program(IMAGES), network.weights(IMAGES))


def test_out_of_memory_is_not_a_reason_to_compile_otherwise(tmp_path, monkeypatch):
    def compile(*args, **options):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch, "compile", compile)
    network = nn.Linear(4, 4)
    program = Program(network, tmp_path, lambda: pytest.fail("compiled as usual"), None)
    network._compiled_call_impl = program
    with pytest.raises(torch.OutOfMemoryError):
        network(IMAGES)
    assert network._compiled_call_impl is program  # it is tried again with less


def test_it_is_said_whether_programs_were_found(scales, tmp_path, caplog):
    for verb in ("compiled", "found"):
        network = scales().Scale().eval()
        with torch.inference_mode(), caplog.at_level(logging.INFO):
            run = partial(network, IMAGES)
            compile_networks([network], run, once=True, programs=tmp_path / "programs")
        assert caplog.messages[-1].startswith(f"{verb} 1 network in ")


def test_programs_compute_what_torch_compile_computes(tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.Flatten()).eval()
    images = torch.rand(4, 3, 8, 8)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = Program(network, tmp_path, lambda: None, None)(images)
        network.compile(dynamic=False)
        assert torch.equal(found, network(images))


def test_freed_programs_are_found_again(scales, tmp_path, monkeypatch):
    network = scales().Scale().eval()
    with torch.inference_mode():
        compile_networks([network], partial(network, IMAGES), once=True, programs=tmp_path)
        expected = network(IMAGES)
        free_programs([network])
        monkeypatch.setattr(torch, "compile", lambda *args, **options: pytest.fail("compiled"))
        assert torch.equal(network(IMAGES), expected)


def part(attribute):
    network = nn.ReLU()
    network.attribute = attribute
    return network


def add(number, images, *, more=0):
    return images + number + more


class Slotted:
    """Holds what is not among its attributes."""

    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


class Sizes(list):
    """Holds both."""

    def __init__(self, sizes, unit):
        super().__init__(sizes)
        self.unit = unit


class Color(Enum):
    RED = 1
    GREEN = 2


class Empty:
    """Holds nothing, as the attention processors of diffusers."""


@pytest.mark.parametrize(("one", "other"), [
    (1, 2), (1, "1"), (1, 1.5), (1, None), (True, False), ([1, 2], [2, 1]), ((1,), (2,)),
    ({"a": 1}, {"a": 2}), ({1, 2}, {1, 3}), (SimpleNamespace(a=[1]), SimpleNamespace(a=[2])),
    (torch.float32, torch.float64), (torch.zeros(2), torch.zeros(3)),
    (torch.zeros(2, 3), torch.zeros(3, 2).T), (nn.Dropout(0.1), nn.Dropout(0.2)),
    (partial(add, 1), partial(add, 2)), (partial(add, more=1), partial(add, more=2)),
    (closure(1), closure(2)), (MethodType(add, 1), MethodType(add, 2)),
    (torch.relu, torch.sigmoid), (nn.ReLU, nn.SiLU), (compiling, logging),
    (slice(1), slice(2)), ([nn, 7], [nn, logging]), (Slotted(1), Slotted(2)), (math.nan, 1.0),
    (Sizes([1], "cm"), Sizes([2], "cm")), (Sizes([1], "cm"), Sizes([1], "m")),
    (np.arange(9999), np.where(np.arange(9999) == 5000, 0, np.arange(9999))),
    (np.float32(1), np.float32(2)), (deque([1]), deque([2])), (OrderedDict(a=1), OrderedDict(a=2)),
    (torch.Size([1]), torch.Size([2])), (re.compile("a"), re.compile("b")), (b"a", b"b"),
    (lambda x: lambda: x * 2, lambda x: lambda: x * 3),
    (lambda x: x * 2, lambda x: x * 3), (lambda x: x + x, lambda x: x * x),
    ([1].count, [2].count), (math.sin, math.cos), (torch.Tensor.relu, torch.Tensor.exp),
    (Color.RED, Color.GREEN), (torch.device("cpu"), torch.device("meta")),
    (nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU(), nn.ReLU())),
])  # fmt: skip
def test_networks_that_hold_something_else_are_described_otherwise(one, other):
    assert structure(part(one)) == structure(part(one))
    assert structure(part(one)) != structure(part(other))


DESCRIBE = """
import hashlib
import json

from dds.networks.programs import structure
from dds.networks.registry import build_classifier, build_denoiser
from entries import BEIT, RESNET, UNET, VIT

BLOCKS = {"block_out_channels": [4], "layers_per_block": 1, "norm_num_groups": 2, "sample_size": 8,
          "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"],
          "attention_head_dim": 4}
HUB_UNET = {"network": "diffusers", "arguments": BLOCKS, "schedule": {"name": "sigma"},
            "predicts": "edm", "input": {"channels": 3, "size": 8}}

for network in (*(build_denoiser(entry).networks[0] for entry in (UNET, HUB_UNET)),
                *(build_classifier(entry) for entry in (BEIT, RESNET, VIT))):
    print(hashlib.sha256(json.dumps(structure(network)).encode()).hexdigest())
"""


def test_a_network_is_described_alike_in_every_process():
    pytest.importorskip("diffusers")
    described = [
        subprocess.run(
            [sys.executable, "-c", DESCRIBE],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        for seed in "12"
    ]
    assert described[0] == described[1]
    assert len(set(described[0])) == 5


def test_two_of_a_kind_are_not_one_twice():
    one = nn.Linear(2, 2)
    assert structure(nn.Sequential(one, one)) != structure(nn.Sequential(one, nn.Linear(2, 2)))


def test_tied_weights_are_not_two():
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    assert structure(tied) != structure(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))


def test_networks_may_hold_themselves():
    network = nn.ReLU()
    object.__setattr__(network, "owner", SimpleNamespace(network=network))
    assert structure(network) == structure(network)


def test_what_shows_nothing_of_what_it_holds_is_not_described(tmp_path):
    with pytest.raises(TypeError):
        structure(part(threading.Lock()))
    network, usual = part(threading.Lock()), []
    Program(network, tmp_path, lambda: usual.append(True), None)(IMAGES)
    assert usual


def test_what_a_notebook_defines_is_compiled_as_usual(tmp_path):
    cell, usual = {"__name__": "__main__"}, []
    exec(compile(CODE, "cell 1", "exec"), cell)
    Program(cell["Scale"](), tmp_path, lambda: usual.append(True), None)(IMAGES)
    assert usual
    assert not list(tmp_path.iterdir())


def test_what_holds_nothing_is_described():
    assert structure(part(Empty())) == structure(part(Empty()))
    assert structure(part(Empty())) != structure(part(object()))


@pytest.mark.parametrize(
    "change",
    [
        nn.Module.eval,
        lambda network: network.register_forward_hook(print),
        lambda network: network.register_forward_pre_hook(print),
        lambda network: network.register_buffer("another", None),
        lambda network: network.register_parameter("bias", None),
    ],
)
def test_mode_hooks_and_what_is_registered_are_described(change):
    network = nn.Linear(2, 2)
    change(network)
    assert structure(network) != structure(nn.Linear(2, 2))


def test_weights_are_no_part_of_the_description():
    assert structure(nn.Linear(2, 2)) == structure(nn.Linear(2, 2))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_answers_outlive_the_next_batch_and_new_weights_count(tmp_path):
    network = nn.Linear(4, 3).cuda().eval()
    batches = [torch.rand(2, 4, device="cuda") for _ in range(3)]
    with torch.inference_mode():
        expected = [network(batch) for batch in batches]
        run = partial(network, batches[0])
        assert compile_networks([network], run, once=False, programs=tmp_path)
        answers = [network(batch) for batch in batches]
        for answer, each in zip(answers, expected, strict=True):
            torch.testing.assert_close(answer, each)
        network.weight.mul_(2)
        network._compiled_call_impl, program = None, network._compiled_call_impl
        torch.testing.assert_close(program(batches[0]), network(batches[0]))
