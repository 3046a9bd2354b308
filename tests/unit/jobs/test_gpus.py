"""Of the GPUs of a machine every job gets one of its own, and gives it back however it ends."""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from dds.progress import Interrupted
from jobs import gpus, running
from jobs.gpus import Gpu, claim_gpu, share_gpus, visible_gpus
from jobs.running import progress_path, read_record, recorded

FORK = multiprocessing.get_context("fork")

H100, A100 = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB"
TWO = f"GPU 0: {H100} (UUID: GPU-aaaa-1)\nGPU 1: {H100} (UUID: GPU-aabb-2)\n"
MIXED = f"GPU 0: {A100} (UUID: GPU-aaaa-1)\nGPU 1: {H100} (UUID: GPU-aabb-2)\n"
DIVIDED = (
    f"GPU 0: {A100} (UUID: GPU-aaaa-1)\n"
    "  MIG 1g.5gb      Device  0: (UUID: MIG-cc-1)\n"
    "  MIG 2g.10gb     Device  1: (UUID: MIG-cc-2) \n"
    f"GPU 1: {A100} (UUID: GPU-aabb-2)\n"
)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Outside SLURM, with nothing claimed, and no patience."""
    for name in ("SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", gpus._JOBS_PER_GPU):
        monkeypatch.setenv(name, "")  # so that it is as it was when the test has ended
        monkeypatch.delenv(name)
    monkeypatch.setattr(gpus, "_claimed", None)
    monkeypatch.setattr(gpus, "LOOK", 0.005)
    monkeypatch.setattr(running, "_facts", {})


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that gives the machine GPUs: those that a stand-in for nvidia-smi prints."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def install(listing, status=0):
        (folder / "listing").write_text(listing)
        script = folder / "nvidia-smi"
        script.write_text(f'#!/bin/sh\n[ "$*" = -L ] && cat "{folder}/listing"\nexit {status}\n')
        script.chmod(0o755)

    return install


@pytest.fixture
def two(machine):
    """Two GPUs of names that nothing else on this machine has claimed, and their names."""
    names = [f"GPU-{uuid.uuid4()}" for _ in range(2)]
    machine("".join(f"GPU {k}: {H100} (UUID: {name})\n" for k, name in enumerate(names)))
    return names


@pytest.mark.parametrize(
    ("listing", "variables", "seen"),
    [
        (TWO, {}, ["GPU-aaaa-1", "GPU-aabb-2"]),
        (TWO, {"CUDA_VISIBLE_DEVICES": "1"}, ["GPU-aabb-2"]),
        (TWO, {"CUDA_VISIBLE_DEVICES": "1, 0"}, ["GPU-aabb-2", "GPU-aaaa-1"]),
        (TWO, {"CUDA_VISIBLE_DEVICES": "0,7,1"}, ["GPU-aaaa-1"]),
        (TWO, {"CUDA_VISIBLE_DEVICES": "GPU-aab"}, ["GPU-aabb-2"]),
        (TWO, {"CUDA_VISIBLE_DEVICES": "GPU-aa"}, []),
        (TWO, {"CUDA_VISIBLE_DEVICES": "-1"}, []),
        (TWO, {"CUDA_VISIBLE_DEVICES": ""}, []),
        (TWO, {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, []),
        ("", {"CUDA_VISIBLE_DEVICES": "0"}, []),
        (MIXED, {"CUDA_VISIBLE_DEVICES": "1"}, ["1"]),
        (MIXED, {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, ["GPU-aabb-2"]),
        (DIVIDED, {}, ["MIG-cc-1", "MIG-cc-2", "GPU-aabb-2"]),
        (DIVIDED, {"CUDA_VISIBLE_DEVICES": "0"}, ["MIG-cc-1"]),
        (DIVIDED, {"CUDA_VISIBLE_DEVICES": "1"}, ["GPU-aabb-2"]),
        (DIVIDED, {"CUDA_VISIBLE_DEVICES": "MIG-cc-2,GPU-aabb-2"}, ["MIG-cc-2", "GPU-aabb-2"]),
    ],
)
def test_the_gpus_are_those_that_the_user_and_the_driver_let_one_see(
    machine, monkeypatch, listing, variables, seen
):
    machine(listing)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert [gpu.identifier for gpu in visible_gpus()] == seen


def test_a_part_of_a_gpu_is_called_as_pytorch_and_nvidia_smi_do(machine):
    machine(DIVIDED)
    assert visible_gpus()[1] == Gpu("MIG-cc-2", "GPU 0 MIG 1", f"{A100} MIG 2g.10gb")


def test_a_driver_that_does_not_answer_has_no_gpus(machine):
    machine("Failed to initialize NVML: Driver/library version mismatch\n", status=18)
    assert visible_gpus() == []


@pytest.mark.parametrize("slow", [False, True])
def test_without_an_answer_of_nvidia_smi_the_driver_s_own_files_tell(tmp_path, monkeypatch, slow):
    monkeypatch.setenv("PATH", str(tmp_path))
    if slow:
        monkeypatch.setattr(gpus, "PATIENCE", 0.2)
        (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexec /bin/sleep 600\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setattr(gpus, "_DRIVER", tmp_path)
    assert visible_gpus() == []
    for slot, identifier in [("0000:19:00.0", "GPU-????????-????"), ("0000:3b:00.0", "GPU-5d5b")]:
        (tmp_path / slot).mkdir()
        (tmp_path / slot / "information").write_text(
            f"Model: \t\t {H100}\nIRQ:   \t\t 18\nGPU UUID: \t {identifier}\nBus Type: \t PCIe\n"
        )
    assert visible_gpus() == [Gpu("0", "GPU 0", H100), Gpu("GPU-5d5b", "GPU 1", H100)]


def work(events, least):
    """Claim a GPU, and keep it until so many GPUs have been claimed."""
    gpu = claim_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == gpu.identifier
    assert claim_gpu() is gpu
    with events.open("a") as file:
        file.write(f"+{gpu.identifier}\n")
    while len({line[1:] for line in events.read_text().split() if line[0] == "+"}) < least:
        time.sleep(0.002)
    with events.open("a") as file:
        file.write(f"-{gpu.identifier}\n")


def test_four_jobs_on_two_gpus_are_two_at_a_time_and_never_two_on_one(tmp_path, two):
    events = tmp_path / "events"
    jobs = [FORK.Process(target=work, args=(events, 2)) for _ in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
        assert job.exitcode == 0
    busy, used = Counter(), set()
    for sign, name in ((line[0], line[1:]) for line in events.read_text().split()):
        busy[name] += 1 if sign == "+" else -1
        used.add(name)
        assert max(busy.values()) <= 1
    assert used == set(two)
    assert busy.total() == 0


def be_busy(busy, log):
    with recorded("certify_shard", log):
        claim_gpu()
        busy.set()
        time.sleep(600)


@pytest.fixture
def start(tmp_path):
    """A function that starts a job which claims a GPU and keeps it, and returns the process."""
    jobs = []

    def start(waits=False):
        busy, log = FORK.Event(), tmp_path / f"{len(jobs)}.log"
        jobs.append(FORK.Process(target=be_busy, args=(busy, log)))
        jobs[-1].start()
        assert waits or busy.wait(60)
        return jobs[-1], log

    yield start
    for job in jobs:
        job.kill()
        job.join()


def test_a_gpu_is_free_again_when_its_job_is_killed(two, start, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    job, _ = start()
    assert gpus._claim_one(visible_gpus()) is None
    job.kill()
    job.join()
    gpu, claim = gpus._claim_one(visible_gpus())
    claim.close()
    assert gpu.identifier == two[0]


def test_what_a_killed_job_has_forked_does_not_keep_its_gpu(two):
    claim, (ready, begun) = gpus._claim(two[0]), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(begun, b".")
        signal.pause()
    try:
        assert os.read(ready, 1) == b"."
        claim.close()  # as the end of this process would
        gpus._claim(two[0]).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_the_record_of_a_job_that_waits_says_for_what(two, start, monkeypatch):
    monkeypatch.setattr(running, "INTERVAL", 0.005)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    start()
    _, log = start(waits=True)
    while not (found := read_record(progress_path(log))) or not found.waits_for:
        time.sleep(0.002)
    assert (found.state, found.waits_for) == ("waiting", "a free GPU")


def test_a_job_that_waits_says_so_once_and_ends_when_it_is_told_to(two, start, caplog):
    for _ in two:
        start()
    asked = iter([False, False, True])
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(Interrupted, match="waiting for a free GPU"),
    ):
        claim_gpu(stop=lambda: next(asked))
    assert caplog.messages == ["waiting for a free GPU: other jobs have GPU 0, GPU 1"]
    assert running._facts == {"waits_for": "a free GPU"}
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(("model", "label"), [
    (None, "GPU 0"), (H100, "GPU 1"), (A100, "GPU 0"), ("NVIDIA T4", "GPU 0"),
])  # fmt: skip
def test_work_that_was_begun_on_a_model_goes_on_there(machine, model, label):
    names = [f"GPU-{uuid.uuid4()}" for _ in range(2)]
    machine(f"GPU 0: {A100} (UUID: {names[0]})\nGPU 1: {H100} (UUID: {names[1]})\n")
    assert claim_gpu(model=model).label == label


@pytest.mark.parametrize(("visible", "claimed"), [("0", False), ("1", False), ("0,1", True)])
def test_one_gpu_that_slurm_allots_is_taken_as_it_is(two, monkeypatch, visible, claimed):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert bool(claim_gpu()) is claimed
    assert os.environ["CUDA_VISIBLE_DEVICES"] == (two[0] if claimed else visible)


def scheduler(**resources):
    return SimpleNamespace(global_resources=dict(resources), resources=dict(resources))


@pytest.mark.parametrize(("given", "most", "each"), [
    ({}, 2, "1"), ({"gpu": 1}, 1, "1"), ({"gpu": 2}, 2, "1"), ({"gpu": 5}, 5, "3"),
])  # fmt: skip
def test_snakemake_starts_a_job_a_gpu_if_the_user_does_not_say_otherwise(two, given, most, each):
    run = scheduler(**given)
    assert f"2 ({H100}), for {most} job(s)" in share_gpus(run)
    assert run.global_resources == run.resources == {"gpu": most}
    assert os.environ[gpus._JOBS_PER_GPU] == each


def test_jobs_that_the_user_wants_to_share_a_gpu_spread_over_all(two, monkeypatch):
    monkeypatch.setenv(gpus._JOBS_PER_GPU, "2")
    claims = [gpus._claim_one(visible_gpus()) for _ in range(5)]
    assert [claim and claim[0].label for claim in claims] == ["GPU 0", "GPU 1"] * 2 + [None]
    for _, claim in filter(None, claims):
        claim.close()


@pytest.mark.parametrize("cuda", [None, "13.0"])
def test_a_pytorch_for_cpus_leaves_snakemake_as_it_is(two, tmp_path, monkeypatch, cuda):
    (tmp_path / "version.py").write_text(f"cuda = {cuda!r}\n")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(gpus, "find_spec", lambda name: spec)
    run = scheduler()
    assert bool(share_gpus(run)) is bool(cuda)
    assert run.resources == ({"gpu": 2} if cuda else {})


def test_a_machine_without_gpus_leaves_snakemake_as_it_is(machine):
    machine("")
    run = scheduler(gpu=3)
    assert share_gpus(run) is None
    assert run.resources == {"gpu": 3}


#: A workflow of jobs that use a GPU, with the hook of ours.
SNAKEFILE = f"""
from jobs.gpus import share_gpus

onstart:
    print(share_gpus(workflow.scheduler))

rule all:
    input: expand("{{n}}.txt", n=range(4))

rule job:
    output: "{{n}}.txt"
    resources: gpu=1
    shell: "{sys.executable} job.py > {{output}}"
"""

JOB = """
import time
from pathlib import Path
from jobs.gpus import claim_gpu

def say(sign):
    with open("events", "a") as file:
        file.write(f"{sign}{gpu.label[-1]}")

gpu = claim_gpu(stop=lambda: True)  # who has to wait fails
say("+")
while not {"0", "1"} <= set(Path("events").read_text()):
    time.sleep(0.005)
say("-")
"""


def test_snakemake_starts_no_job_that_would_wait(tmp_path, two):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "job.py").write_text(JOB)
    command = [sys.executable, "-m", "snakemake", "--cores", "4", "--scheduler", "greedy"]
    scripts = str(Path(gpus.__file__).parents[1])
    answer = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": scripts}, capture_output=True,
        text=True, check=False, timeout=120,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert f"Provided GPUs: 2 ({H100}), for 2 job(s) at once" in answer.stdout
    assert len((tmp_path / "events").read_text()) == 16
