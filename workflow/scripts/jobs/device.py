"""The device that a job's networks run on."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
from collections.abc import Callable
from typing import Any

import torch

from jobs.gpus import Gpu, claim_gpu
from jobs.running import note

_log = logging.getLogger("device")

# Of glibc's mallopt: from which size on memory is mapped, and how much free memory is kept.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1


def prepare_device(
    wanted: str,
    threads: int,
    *,
    stop: Callable[[], bool] = lambda: False,
    like: str | None = None,
) -> torch.device:
    """Choose the device, settle how it computes, and say which it is in log and record.

    A GPU is this job's alone (`jobs.gpus.claim_gpu`); where none is free, the job waits.

    Parameters
    ----------
    wanted : {"auto", "cpu", "cuda"}
        ``"auto"`` takes a GPU where there is one.
    threads : int
        CPU threads for torch. Sums in another number of threads round otherwise,
        so results repeat with the same number only.
    stop : callable, optional
        Asked while the job waits for a GPU; when true, the wait ends.
    like : str, optional
        What `device_name` said of the device that the work was begun on: of GPUs of several
        models, one of that model is taken.

    Returns
    -------
    torch.device

    Raises
    ------
    Interrupted
        If the wait for a GPU was stopped.
    ValueError
        If a GPU is wanted, or SLURM has allotted one to this job and ``"auto"`` is wanted,
        and torch can use none: hours on a CPU are no substitute for what was asked for.
    """
    torch.set_num_threads(threads)
    _keep_freed_memory()
    # CUDA must not have started before: it looks once at which GPUs it may use.
    uses_cuda = wanted != "cpu" and torch.version.cuda
    gpu = claim_gpu(stop=stop, model=like) if uses_cuda else None
    device = torch.device("cpu" if wanted == "cpu" else _gpu_or_cpu(wanted, gpu))
    label = gpu.label if gpu and device.type == "cuda" else None
    _log.info("computing on %s", ", ".join(filter(None, (device_name(device), label))))
    note(device=device_name(device), gpu=label)
    return device


def allotted_gpus() -> str | None:
    """Return the variable by which SLURM says that this job has a GPU; None where it has none."""
    if "SLURM_JOB_ID" not in os.environ:
        return None
    for name in ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE", "CUDA_VISIBLE_DEVICES"):
        value = os.environ.get(name, "")
        # The third is a number of GPUs; the others name them, and the first is called 0.
        if value not in ("", "NoDevFiles", "-1") and (name, value) != ("SLURM_GPUS_ON_NODE", "0"):
            return f"{name}={value}"
    return None


def _gpu_or_cpu(wanted: str, gpu: Gpu | None) -> str:
    torch_here = f"torch {torch.__version__}"
    if torch.cuda.is_available():
        if problem := _problem(lambda: torch.zeros(1, device="cuda").add(1).item()):
            cure = f"; to leave out {gpu.label}, name others in CUDA_VISIBLE_DEVICES" if gpu else ""
            raise ValueError(f"{torch_here} cannot use the GPU here: {problem}{cure}")
        return "cuda"
    asked = "device: cuda" if wanted == "cuda" else None
    if allotted := allotted_gpus():
        asked = asked or f"SLURM allotted this job a GPU ({allotted})"
    if asked:
        problem = _problem(torch.cuda.init)
        raise ValueError(
            f"{asked}, but {torch_here} finds no usable GPU: {problem}; "
            "mend that, or set device: cpu (allowed: auto, cpu, cuda)"
        )
    if gpu:
        _log.warning("%s cannot use %s: %s", torch_here, gpu.label, _problem(torch.cuda.init))
    return "cpu"


def _problem(use: Callable[[], Any]) -> str | None:
    """Return why a GPU cannot be used, in one sentence; None where it can."""
    try:
        use()
    except (RuntimeError, AssertionError) as error:
        return " ".join(str(error).split()).split(". ")[0] or type(error).__name__
    return None


def _keep_freed_memory() -> None:
    """Let freed memory be used again at once, instead of being given back and asked for anew.

    The system clears what it gives; with activations of many megabytes that took up to a
    tenth of the time on a CPU.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc alone has it
        mallopt(_MMAP_THRESHOLD, 2**30)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def device_name(device: torch.device) -> str:
    """Return what the device calls itself.

    Parameters
    ----------
    device : torch.device
        From `prepare_device`.

    Returns
    -------
    str
        The GPU's name, or the architecture of the CPU and the number of threads.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"
