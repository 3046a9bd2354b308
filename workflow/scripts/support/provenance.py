"""Where a result comes from: code, versions, machine, time."""

from __future__ import annotations

import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "torch", "torchvision", "timm", "transformers", "guided-diffusion-sdk", "numpy", "scipy",
    "pandas", "pyarrow", "scikit-learn", "snakemake",
)  # fmt: skip


class Provenance:
    """Collects where a result comes from while it is made; start one first of all."""

    def __init__(self) -> None:
        self._started = time.time()

    def finish(self, **facts: Any) -> dict[str, Any]:
        """Return the record: `facts`, then code, versions, machine and time.

        Parameters
        ----------
        **facts
            What this kind of result adds; values that JSON can hold.

        Returns
        -------
        dict
        """
        return facts | {
            "commit": _commit(),
            "versions": _versions(),
            "host": platform.node(),
            "processor": _processor(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self._started)),
            "seconds": round(time.time() - self._started, 3),
        }


def _commit() -> str | None:
    """Return the commit of this code, with ``+changes`` if the work tree differs."""
    root = Path(__file__).parent
    answer = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return answer.stdout.strip() or None


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # each environment has what its work needs
    return versions


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except FileNotFoundError:
        pass
    return platform.processor() or platform.machine()
