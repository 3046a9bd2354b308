"""How `make bench` times things: until often and long enough, in an arithmetic that is known."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench_rows import Settings
from project import ROOT  # noqa: F401  the library is found through it

# isort: split
from dds.sampling.kernels import wait_for

#: Training iterations that are not counted: memory is allotted and kernels are chosen in them.
_WARM_UP = 3
#: Seconds after which a row is not repeated again.
_LONG = 10.0


def repeat(run: Callable[[], object], settings: Settings, device: torch.device) -> float:
    """Return the median of the seconds that something takes, after once that does not count."""
    run()
    seconds: list[float] = []
    while not seconds or not _enough(settings, len(seconds), sum(seconds)):
        wait_for(device)
        started = time.perf_counter()
        run()
        wait_for(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _enough(settings: Settings, times: int, seconds: float) -> bool:
    return seconds >= _LONG or (times >= settings.repeats and seconds >= settings.seconds)


def arithmetic(precision: str, device: torch.device) -> str:
    """Say what a network that runs in a precision is computed in, by the settings of PyTorch."""
    products = torch.backends.cuda.matmul.allow_tf32
    if device.type == "cpu" or precision != "float32":
        return precision
    if products and torch.backends.cudnn.allow_tf32:
        return "tf32"
    if products or torch.backends.cudnn.allow_tf32:
        return f"float32, {'products' if products else 'convolutions'} in tf32"
    return "float32"


def reset_peak_memory(device: torch.device) -> None:
    """Forget the highest use of memory so far, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Return the highest use of memory in bytes: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if "VmHWM" in line)


class Stopwatch:
    """Ends a training run when it has run long enough; a `dds.networks.training.Resume`."""

    def __init__(self, settings: Settings, device: torch.device) -> None:
        self._settings, self._device = settings, device
        self._started = 0.0
        self.iterations, self.seconds = -_WARM_UP, 0.0

    def load(self) -> None:
        """Start anew."""

    def save(self, state: dict[str, Any], iteration: int) -> None:
        """Keep nothing."""

    def due(self) -> bool:
        """Save nothing on the way."""
        return False

    def stop(self) -> bool:
        """Count an iteration; tell whether there were enough."""
        self.iterations += 1
        if self.iterations == 0:
            wait_for(self._device)
            self._started = time.perf_counter()
        elapsed = time.perf_counter() - self._started
        if self.iterations < 1 or not _enough(self._settings, self.iterations, elapsed):
            return False
        wait_for(self._device)
        self.seconds = time.perf_counter() - self._started
        return True
