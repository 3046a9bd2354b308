"""The energy that a device says it has used, where it says so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

#: Counters of whole processors that Linux shows, often to root alone.
_PROCESSORS = Path("/sys/class/powercap")


class EnergyMeter:
    """Adds up what a device's own counters say, from the moment it is made.

    The counters are of the whole device: of a GPU by NVML (from Volta on), else of all
    processors (RAPL). What else runs there is counted, too.

    Parameters
    ----------
    device : torch.device
        Where the networks run.
    """

    def __init__(self, device: torch.device) -> None:
        self._counters = _gpu(device) if device.type == "cuda" else _processors()
        self._last = [read() for read, _ in self._counters]
        self._joules = 0.0

    def joules(self) -> float | None:
        """Return the energy used since the start, in joules; None where nothing counts it.

        A processor's counter starts again at zero within an hour or so, and is right
        here if this is called more often.
        """
        if not self._counters:
            return None
        for position, (read, largest) in enumerate(self._counters):
            with suppress(OSError):  # what cannot be read now is counted with the next
                now = read()
                self._joules += (now - self._last[position]) % largest
                self._last[position] = now
        return round(self._joules, 1)


Counter = tuple[Callable[[], float], float]  # joules so far, and where it starts again


def _gpu(device: torch.device) -> list[Counter]:
    try:
        import pynvml
    except ImportError:
        return []

    def read() -> float:
        try:
            return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3
        except pynvml.NVMLError as error:
            raise OSError(str(error)) from error

    with suppress(pynvml.NVMLError, OSError):
        pynvml.nvmlInit()
        # PyTorch numbers the visible GPUs, NVML all; the identifier is the same.
        identifier = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(identifier)
        read()
        return [(read, 2.0**64 / 1e3)]
    return []


def _processors() -> list[Counter]:
    found = []
    for package in sorted(_PROCESSORS.glob("intel-rapl:?")):  # AMD's, too; not their parts
        with suppress(OSError, ValueError):
            counter = package / "energy_uj"
            read = lambda counter=counter: int(counter.read_text()) / 1e6  # noqa: E731
            read()
            found.append((read, int((package / "max_energy_range_uj").read_text()) / 1e6))
    return found
