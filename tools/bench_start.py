"""From a process's start to its first counted samples, as a shard's job samples.

As a program it takes a key of `bench_rows.DATA` and the settings as JSON, and its last line is a
record as JSON. Snakemake, reading images and reading weights, which are drawn instead, are no part
of what is measured.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# Nothing large is imported here: `measure` must not hold the device that it measures.
from bench_rows import DATA, Row, Settings


def measure(row: Row, settings: Settings) -> dict[str, Any]:
    """Start a process that samples, wait for its first samples to be counted; return a record.

    Parameters
    ----------
    row : Row
        A cold start finds no compiled program; a warm one those that another left.
    settings : Settings
        How, and in ``cache`` where programs are kept.
    """
    cache = Path(settings.cache) / row.data
    if row.way == "cold":
        shutil.rmtree(cache, ignore_errors=True)
    elif not cache.exists():
        _first_samples(row.data, settings, cache)
    return {"row": row.name, "models": list(row.models)} | _first_samples(row.data, settings, cache)


def _first_samples(data: str, settings: Settings, cache: Path) -> dict[str, Any]:
    """Run this program and return what it says, with the seconds that it took."""
    cache.mkdir(parents=True, exist_ok=True)
    kept = {"TORCHINDUCTOR_CACHE_DIR": str(cache), "TRITON_CACHE_DIR": str(cache / "triton")}
    if sys.dont_write_bytecode:  # libraries may then have none, which an installation writes
        kept |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{cache.parent}/bytecode"}
    started = time.time()
    ran = subprocess.run(
        [sys.executable, __file__, data, json.dumps(dataclasses.asdict(settings))],
        env=os.environ | kept,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        lines = ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"]
        raise RuntimeError(lines[-1])
    record = json.loads(ran.stdout.splitlines()[-1])
    stages, before = {}, started
    for stage, mark in record.pop("marks").items():
        stages[stage], before = round(mark - before, 3), mark
    del stages["weights"]
    return record | {"seconds": round(sum(stages.values()), 3), "stages": stages}


def main() -> None:
    """Sample until the first votes are there."""
    import numpy as np
    import torch

    from bench_measure import circumstances, prepare, read_entry, smoothed
    from dds.networks.registry import build_classifier, build_denoiser
    from dds.networks.weights import AwaitingWeights
    from dds.progress import Interrupted
    from jobs.job import collect_seldom

    collect_seldom()
    marks = {"imports": time.time()}
    data, settings = DATA[sys.argv[1]], Settings(**json.loads(sys.argv[2]))
    device = prepare(settings)
    before, after = map(read_entry, data.pair)
    with AwaitingWeights():
        denoiser, classifier = build_denoiser(before), build_classifier(after)
    marks["networks"] = time.time()
    for parameter in [*denoiser.parameters(), *classifier.parameters()]:
        torch.nn.init.normal_(parameter, std=0.02)
    marks["weights"] = time.time()
    ours = smoothed(denoiser, classifier, data, settings, device)
    ours.runner.programs = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])

    def after_batch(votes: object) -> None:
        marks["first batch"] = time.time()
        raise Interrupted

    image = np.random.default_rng(0).random((1, *data.shape))
    try:
        ours.count_votes(image, [None], [0], classes=len(after["classes"]), after_batch=after_batch)
    except Interrupted:
        record = {"precision": ours.precision, "batch_size": ours.batch_size,
                  "compiled": ours.runner.compiled, "marks": marks}  # fmt: skip
        print(json.dumps(record | circumstances(device)), flush=True)


if __name__ == "__main__":
    main()
