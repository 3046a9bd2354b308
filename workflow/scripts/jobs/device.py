"""The device that a job's networks run on."""

from __future__ import annotations

import ctypes
import platform

import torch

# Of glibc's mallopt: from which size on memory is mapped, and how much free memory is kept.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1


def prepare_device(wanted: str, threads: int) -> torch.device:
    """Choose the device and settle how it computes.

    Parameters
    ----------
    wanted : {"auto", "cpu", "cuda"}
        ``"auto"`` takes a GPU where there is one.
    threads : int
        CPU threads for torch. Sums in another number of threads round otherwise,
        so results repeat with the same number only.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If a GPU is wanted and none is usable.
    """
    torch.set_num_threads(threads)
    _keep_freed_memory()
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: cuda, but no GPU is usable here; allowed: auto, cpu, cuda")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


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
