"""Where a result comes from: code, versions, machine, time."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping
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
            "started": _clock(self._started),
            "finished": _clock(time.time()),
            "seconds": round(time.time() - self._started, 3),
        }


def of_artefact(provenance: Provenance, snakemake: Any) -> dict[str, Any]:
    """Return where a table or figure comes from: its entry, and the counts behind it.

    Parameters
    ----------
    provenance : Provenance
        Started when the artefact's job did.
    snakemake : object
        The object Snakemake gives the script, with ``params.entry`` and
        ``input.provenance``, the summaries of the experiments behind the artefact.

    Returns
    -------
    dict
        ``entry`` (of the study file), ``experiments`` (see `summarize`), and how the
        artefact itself was made.
    """
    paths = [Path(path) for path in snakemake.input.provenance]
    records = {path.stem: json.loads(path.read_text("utf-8")) for path in paths}
    return provenance.finish(entry=snakemake.params.entry, experiments=records)


#: Facts of a record that add up over the parts of a result.
_ADDED = ("seconds", "joules", "samples", "samples_drawn", "images_done", "starts")

#: Facts that only make sense for one part.
_OF_A_PART = ("images", "sigma", "samples_per_second", "settings", "started", "finished")


def summarize(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the records of a result's parts together.

    Parameters
    ----------
    records : iterable of mapping
        What `Provenance.finish` returned for each part, at least one; each is looked at
        once and none is kept, so there may be any number.

    Returns
    -------
    dict
        Sums of what adds up, where every part has it; of everything else the value, or
        the list of distinct values where the parts differ; ``parts``, how many there
        are; ``started`` and ``finished``, of the first and the last;
        ``seconds_by_sigma``, for each noise level of the parts.
    """
    parts, sums, distinct, by_sigma, times = 0, {}, {}, {}, {}
    for record in records:
        parts += 1
        for key, value in record.items():
            if key in _ADDED:
                having, total = sums.get(key, (0, 0))
                sums[key] = having + 1, total + value
            elif key not in _OF_A_PART:
                distinct.setdefault(key, {})[json.dumps(value)] = value
        sigma = f"{record['sigma']:g}"
        by_sigma[sigma] = by_sigma.get(sigma, 0.0) + record["seconds"]
        times = {
            "started": min(record["started"], times.get("started", record["started"])),
            "finished": max(record["finished"], times.get("finished", record["finished"])),
        }
    shared = {
        key: values[0] if len(values) == 1 else values
        for key, values in ((key, list(found.values())) for key, found in distinct.items())
    }
    return {
        "parts": parts,
        # Some devices count no energy; a sum of some parts would pass for that of all.
        **{key: round(total, 3) for key, (having, total) in sums.items() if having == parts},
        **shared,
        "seconds_by_sigma": {sigma: round(value, 3) for sigma, value in by_sigma.items()},
        **times,
    }


def _commit() -> str | None:
    """Return the commit of this code, with ``+changes`` if the work tree differs."""
    root = Path(__file__).parent
    answer = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return answer.stdout.strip() or None


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


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
