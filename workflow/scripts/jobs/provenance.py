"""Where a result comes from: code, versions, machine, time."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

#: Seconds to wait for git. A job heeds no signal meanwhile, and SLURM kills it 30 s after one.
_PATIENCE = 10.0

_log = logging.getLogger("provenance")

_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "diffusers",
    "guided-diffusion-sdk",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "snakemake",
)


class Provenance:
    """Collects where a result comes from while it is made; start one first of all.

    What cannot be found out is None, and never stops the work.
    """

    def __init__(self) -> None:
        self._started = time.time()
        self._found = {
            "commit": _commit(),
            "versions": _versions(),
            "host": platform.node(),
            "processor": processor(),
        }

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
        return (
            facts
            | self._found
            | {
                "started": _clock(self._started),
                "finished": _clock(time.time()),
                "seconds": round(time.time() - self._started, 3),
            }
        )


def of_artefact(provenance: Provenance, snakemake: Any) -> dict[str, Any]:
    """Return where a table or figure comes from: its entry, and the counts behind it.

    Parameters
    ----------
    provenance : Provenance
        Started when the artefact's job did.
    snakemake : object
        The object Snakemake gives the script, with ``params.depends``, that of a table or
        figure, and ``input.provenance``, the summaries of the experiments behind it.

    Returns
    -------
    dict
        ``entry`` (of the study file), ``experiments`` (see `summarize`), each with how it was
        sampled in ``sampling``, and how the artefact itself was made.
    """
    depends = snakemake.params.depends
    records = add_sampling(read_summaries(snakemake.input.provenance), depends["sampling"])
    return provenance.finish(entry=depends["entry"], experiments=records)


def add_sampling(
    records: Mapping[str, Mapping[str, Any]], sampling: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the records of experiments, each with how the study says that it is sampled."""
    return {name: {**record, "sampling": sampling[name]} for name, record in records.items()}


def read_summaries(paths: Iterable[str | Path]) -> dict[str, dict[str, Any]]:
    """Read where the counts of experiments come from: what `summarize` returned, by experiment."""
    return {Path(path).stem: json.loads(Path(path).read_text("utf-8")) for path in paths}


#: Facts of a record that add up over the parts of a result.
_ADDED = ("seconds", "joules", "samples", "samples_drawn", "images_done", "starts")

#: Facts that only make sense for one part.
_OF_A_PART = ("images", "sigma", "samples_per_second", "settings")

#: Facts of which the first or the last of the parts counts.
_BOUNDS = {"started": min, "finished": max}


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
    parts, bounds, distinct = 0, {}, {}
    having, sums, by_sigma = Counter(), Counter(), Counter()
    for record in records:
        parts += 1
        by_sigma[f"{record['sigma']:g}"] += record["seconds"]
        for key, value in record.items():
            if key in _ADDED:
                having[key] += 1
                sums[key] += value
            elif key in _BOUNDS:
                bounds[key] = _BOUNDS[key](value, bounds.get(key, value))
            elif key not in _OF_A_PART:
                distinct.setdefault(key, {})[json.dumps(value)] = value
    found = {key: list(values.values()) for key, values in distinct.items()}
    return {
        "parts": parts,
        # Some devices count no energy; a sum of some parts would pass for that of all.
        **{key: round(value, 3) for key, value in sums.items() if having[key] == parts},
        **{key: values if len(values) > 1 else values[0] for key, values in found.items()},
        "seconds_by_sigma": {sigma: round(value, 3) for sigma, value in by_sigma.items()},
        **bounds,
    }


def _commit() -> str | None:
    """Return the commit of this code, with ``+changes`` if the work tree differs."""
    command = [
        "git",
        *("-c", "safe.directory=*"),  # whoever owns it, its code is what runs here
        *("describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"),
    ]
    # Many jobs may ask at once: none is to lock the index.
    variables = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    try:
        answer = subprocess.run(
            command, cwd=Path(__file__).parent, env=variables, capture_output=True, text=True,
            errors="replace", stdin=subprocess.DEVNULL, check=False, timeout=_PATIENCE,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        problem = f"git does not answer within {_PATIENCE:g} s"
    except OSError as error:
        problem = f"git cannot be run ({error.strerror})"
    else:
        if commit := answer.stdout.strip():
            return commit
        problem = " ".join(answer.stderr.split()) or "git says nothing"
    _log.info("the commit of this code is not recorded: %s", problem)
    return None


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


def processor() -> str:
    """Return what this machine's processor calls itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
