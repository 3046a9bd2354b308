"""A job computes where it was told to, says where that is, and does not settle for a CPU."""

import logging

import pytest
import torch

from jobs import device, running
from jobs.device import allotted_gpus, device_name, prepare_device
from jobs.gpus import Gpu

SLURM = ("SLURM_JOB_ID", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE",
         "CUDA_VISIBLE_DEVICES")  # fmt: skip


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Outside SLURM, without a GPU, in the threads that there are."""
    for name in SLURM:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(device, "claim_gpu", lambda **options: None)
    monkeypatch.setattr(running, "_facts", {})
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def fail(message):
    def init():
        raise RuntimeError(message)

    return init


def test_the_device_is_said_in_log_and_record(caplog):
    with caplog.at_level(logging.INFO):
        chosen = prepare_device("auto", 1)
    assert chosen.type == "cpu"
    assert caplog.messages == [f"computing on {device_name(chosen)}"]
    assert running._facts == {"device": device_name(chosen), "gpu": None}


@pytest.fixture
def claims(monkeypatch):
    """A GPU of this machine to claim, and what it was claimed with."""
    claims = []

    def claim(**options):
        claims.append(options)
        return Gpu("GPU-8932f937", "GPU 1", "NVIDIA H100")

    monkeypatch.setattr(device, "claim_gpu", claim)
    return claims


def test_a_job_has_its_gpu_before_cuda_starts(monkeypatch, claims, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: len(claims) == 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda chosen: "NVIDIA H100")
    monkeypatch.setattr(torch, "zeros", lambda *size, device: torch.ones(*size))
    with caplog.at_level(logging.INFO):
        assert prepare_device("auto", 1, stop=bool, like="NVIDIA H100").type == "cuda"
    assert claims == [{"stop": bool, "model": "NVIDIA H100"}]
    assert caplog.messages == ["computing on NVIDIA H100, GPU 1"]
    assert running._facts == {"device": "NVIDIA H100", "gpu": "GPU 1"}


@pytest.mark.parametrize(("wanted", "built_for"), [("cpu", "13.0"), ("auto", None)])
def test_no_gpu_is_claimed_that_would_not_be_used(monkeypatch, claims, wanted, built_for):
    monkeypatch.setattr(torch.version, "cuda", built_for)
    assert prepare_device(wanted, 1).type == "cpu"
    assert claims == []


def test_a_gpu_that_torch_cannot_use_is_named_in_the_log(monkeypatch, claims, caplog):
    monkeypatch.setattr(torch.cuda, "init", fail("The NVIDIA driver on your system is too old"))
    with caplog.at_level(logging.WARNING):
        assert prepare_device("auto", 1).type == "cpu"
    (said,) = caplog.messages
    assert said.endswith("cannot use GPU 1: The NVIDIA driver on your system is too old")
    assert running._facts["gpu"] is None


def test_one_gpu_too_old_for_this_torch_can_be_left_out(monkeypatch, claims):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *size, device: fail("no kernel image")())
    with pytest.raises(ValueError, match="to leave out GPU 1, name others in CUDA_VISIBLE_DEVICES"):
        prepare_device("auto", 1)


ALLOTTED = [
    {"SLURM_JOB_GPUS": "0"},
    {"SLURM_STEP_GPUS": "2,3"},
    {"SLURM_GPUS_ON_NODE": "1"},
    {"CUDA_VISIBLE_DEVICES": "GPU-8932f937"},
]


@pytest.mark.parametrize("variables", ALLOTTED)
def test_a_job_with_a_gpu_that_torch_cannot_use_fails_in_one_line(monkeypatch, variables):
    reason = "The NVIDIA driver on your system is too old (found version 11000)"
    monkeypatch.setattr(torch.cuda, "init", fail(f"{reason}. Please update your GPU driver"))
    for name, value in {"SLURM_JOB_ID": "7", **variables}.items():
        monkeypatch.setenv(name, value)
    ((name, value),) = variables.items()
    with pytest.raises(ValueError, match=r"SLURM allotted this job a GPU") as raised:
        prepare_device("auto", 1)
    said = str(raised.value)
    assert f"({name}={value})" in said
    assert f"{reason};" in said
    assert "device: cpu" in said
    assert "\n" not in said
    assert prepare_device("cpu", 1).type == "cpu"


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_JOB_ID": "7"},
        {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "NoDevFiles", "SLURM_GPUS_ON_NODE": "0"},
        {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": ""},
        {"CUDA_VISIBLE_DEVICES": "0"},
    ],
)
def test_a_job_without_a_gpu_computes_on_the_cpu(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert allotted_gpus() is None
    assert prepare_device("auto", 1).type == "cpu"


def test_a_gpu_that_is_asked_for_and_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "init", fail("No CUDA GPUs are available"))
    with pytest.raises(ValueError, match="device: cuda, but torch .* No CUDA GPUs are available"):
        prepare_device("cuda", 1)


@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_a_gpu_that_this_torch_has_no_code_for_is_refused_at_once(monkeypatch, wanted):
    message = "CUDA error: no kernel image is available for execution on the device\nCUDA kernel"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *size, device: fail(message)())
    with pytest.raises(ValueError, match="cannot use the GPU here: CUDA error: no kernel image"):
        prepare_device(wanted, 1)


def test_allowed_devices_are_those_of_the_configuration():
    assert device.prepare_device("cpu", 2).type == "cpu"
    assert torch.get_num_threads() == 2
