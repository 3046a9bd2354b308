"""The GPUs of a machine, a job each.

A job claims one of the GPUs that it sees, and from then on sees no other. Where all are claimed
it waits, whoever started the other jobs. So that few have to, Snakemake starts as many jobs with
a GPU as there are (`share_gpus`).

The claim is a Unix socket with a name of the machine's and no file (``man 7 unix``, "abstract").
It goes with the process, however that ends, and its name is the same for every user and folder;
another network namespace, as of a container, has names of its own.

Nothing here needs torch: CUDA reads which GPUs it may use once, when it starts.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import runpy
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dds.progress import Interrupted
from jobs.processes import PATIENCE
from jobs.running import note

#: Seconds between two looks for a GPU that is free.
LOOK = 1.0

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_JOBS_PER_GPU = "DDS_JOBS_PER_GPU"

_DRIVER = Path("/proc/driver/nvidia/gpus")

# What `nvidia-smi -L` prints, of a GPU and of a part of one:
#     GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-...)
#       MIG 1g.5gb      Device  0: (UUID: MIG-8d9b2f4e-...)
_GPU = re.compile(r"GPU (\d+): (.+) \(UUID: (.+)\)")
_PART = re.compile(r"\s+(MIG \S+)\s+Device\s+(\d+): \(UUID: (.+)\)")

_log = logging.getLogger("gpus")

# The GPU of this process, and its claim.
_claimed: tuple[Gpu, socket.socket] | None = None


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a part of one that CUDA takes for one (MIG).

    Attributes
    ----------
    identifier : str
        As ``CUDA_VISIBLE_DEVICES`` takes it: its UUID, or its number where that is all one
        knows.
    label : str
        For people: ``GPU 0``, ``GPU 0 MIG 1``, numbered as nvidia-smi does.
    model : str or None
        As PyTorch calls it too; None where it is not known which of the GPUs it is.
    """

    identifier: str
    label: str
    model: str | None = None


def visible_gpus() -> list[Gpu]:
    """Return NVIDIA's GPUs here that ``CUDA_VISIBLE_DEVICES`` does not hide.

    Returns
    -------
    list of Gpu
        A GPU that is divided (MIG) counts as its parts.
    """
    machine = _machine_gpus()
    if (value := os.environ.get(_VISIBLE)) is None:
        return [gpu for whole, parts in machine.items() for gpu in parts or [whole]]
    chosen: dict[Gpu, None] = {}
    for entry in map(str.strip, value.split(",")):
        if not (gpu := _find(entry, machine)):  # CUDA reads no further, either
            break
        chosen[gpu] = None
    return list(chosen)


def claim_gpu(*, stop: Callable[[], bool] = lambda: False, model: str | None = None) -> Gpu | None:
    """Give this process a GPU of its own for as long as it lives; wait where none is free.

    To be called before CUDA starts in this process. What SLURM allots is this job's alone as it
    is, but where it is several GPUs: then jobs run side by side in one allocation.

    Parameters
    ----------
    stop : callable, optional
        Asked while waiting; when true, the wait ends.
    model : str, optional
        If there are GPUs of this model, one of them is taken.

    Returns
    -------
    Gpu or None
        The one that CUDA will see; None where there is none to claim.

    Raises
    ------
    Interrupted
        If the wait was stopped.
    """
    global _claimed  # noqa: PLW0603
    if _claimed:
        return _claimed[0]
    gpus = visible_gpus()
    if not gpus or ("SLURM_JOB_ID" in os.environ and len(gpus) == 1):
        return None
    gpus = [gpu for gpu in gpus if gpu.model == model] or gpus
    waiting = False
    while not (found := _claim_one(gpus)):
        if not waiting:
            waiting = True
            note(waits_for="a free GPU")
            taken = ", ".join(gpu.label for gpu in gpus)
            _log.warning("waiting for a free GPU: other jobs have %s", taken)
        if stop():
            raise Interrupted("stopped while waiting for a free GPU")
        time.sleep(LOOK)
    _claimed = found
    note(waits_for=None)
    os.environ[_VISIBLE] = found[0].identifier
    return found[0]


def share_gpus(scheduler: Any) -> str | None:
    """Let Snakemake start as many jobs with a GPU at once as this machine has GPUs.

    ``--resources gpu=N`` goes before that: it may be fewer, or more, which then share. Does
    nothing where there is no GPU, or PyTorch is built for none. To be called at the start of a
    run whose jobs run here.

    Parameters
    ----------
    scheduler : snakemake.scheduling.job_scheduler.JobScheduler
        Of the run; changed in place.

    Returns
    -------
    str or None
        What to tell the user; None where nothing is shared out.
    """
    if not _torch_uses_cuda() or not (gpus := visible_gpus()):
        return None
    most = scheduler.global_resources.get("gpu", len(gpus))
    each = max(-(-most // len(gpus)), 1)
    os.environ[_JOBS_PER_GPU] = str(each)  # for the jobs, which inherit it
    for resources in (scheduler.global_resources, scheduler.resources):
        resources.setdefault("gpu", most)
    models = ", ".join(dict.fromkeys(gpu.model or gpu.label for gpu in gpus))
    return f"Provided GPUs: {len(gpus)} ({models}), for {most} job(s) at once"


def _claim_one(gpus: list[Gpu]) -> tuple[Gpu, socket.socket] | None:
    for number in range(int(os.environ.get(_JOBS_PER_GPU, "1"))):
        for gpu in gpus:
            if claim := _claim(f"dds-gpu {gpu.identifier} {number}"):
                return gpu, claim
    return None


def _claim(name: str) -> socket.socket | None:
    """Take a name of this machine's that no living process has; None where one has it."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0{name}")
    except OSError as error:
        claim.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return None
    # What this process forks may outlive it; what it starts anew does not inherit the socket.
    os.register_at_fork(after_in_child=claim.close)
    return claim


def _machine_gpus() -> dict[Gpu, list[Gpu]]:
    """Return the GPUs that the driver shows, each with its parts, if it is divided (MIG)."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired):
        # It is missing, as in containers with what computing needs alone, or wakes a driver that
        # takes longer for it than anybody waits.
        return {gpu: [] for gpu in _driver_gpus()}
    gpus: dict[Gpu, list[Gpu]] = {}
    for line in map(str.rstrip, answer.stdout.splitlines()):
        if found := _GPU.fullmatch(line):
            number, model, uuid = found.groups()
            gpus[whole := Gpu(uuid, f"GPU {number}", model)] = []
        elif found := _PART.fullmatch(line):
            profile, number, uuid = found.groups()
            part = Gpu(uuid, f"{whole.label} MIG {number}", f"{whole.model} {profile}")
            gpus[whole].append(part)
    return gpus


def _driver_gpus() -> Iterator[Gpu]:
    for number, path in enumerate(sorted(_DRIVER.glob("*/information"))):
        said = dict(re.findall(r"(?m)^(.+?):\s*(.*)$", path.read_text()))
        uuid = said.get("GPU UUID", "?")  # question marks, until the GPU was used once
        yield Gpu(str(number) if "?" in uuid else uuid, f"GPU {number}", said.get("Model"))


def _find(entry: str, machine: dict[Gpu, list[Gpu]]) -> Gpu | None:
    """Return the GPU that an entry of ``CUDA_VISIBLE_DEVICES`` names; None for no such one."""
    wholes = list(machine)
    if entry.isdecimal():
        named = wholes[int(entry) :][:1]
        # CUDA counts from the fastest, the driver by slots: of one model it is the same.
        alike = len({gpu.model for gpu in wholes}) == 1
        if named and not alike and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
            return Gpu(entry, f"{_VISIBLE}={entry}")
    else:
        known = wholes + [part for parts in machine.values() for part in parts]
        named = [gpu for gpu in known if entry and gpu.identifier.startswith(entry)]
    if len(named) != 1:
        return None
    return (machine.get(named[0]) or named)[0]  # of one that is divided, CUDA takes the first part


def _torch_uses_cuda() -> bool:
    """Tell whether PyTorch is built for CUDA, without the seconds that it takes to import it."""
    spec = find_spec("torch")
    if not spec or not spec.submodule_search_locations:
        return True  # jobs have it in an environment of theirs
    said = runpy.run_path(str(Path(spec.submodule_search_locations[0], "version.py")))
    return bool(said.get("cuda"))
