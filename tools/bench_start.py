"""From a process's start to its first counted samples, as a shard's job samples.

Takes a key of `bench_rows.DATA` and the settings as JSON; its last line is a record as JSON.
Snakemake, reading images and reading weights are not part of it.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from bench_measure import build_pair, prepare, smoothed
from bench_rows import DATA, Settings

# isort: split
from dds.progress import Interrupted
from dds.sampling.votes import Votes


def main() -> None:
    """Sample until the first votes are there."""
    marks = {"imports": time.time()}
    data, settings = DATA[sys.argv[1]], Settings(**json.loads(sys.argv[2]))
    device = prepare(settings)
    denoiser, classifier, _, classes = build_pair(data)
    ours = smoothed(denoiser, classifier, data, settings, device)
    marks["networks"] = time.time()

    def after_batch(votes: Votes) -> None:
        marks["first batch"] = time.time()
        raise Interrupted

    image = np.random.default_rng(0).random((1, *data.shape))
    try:
        ours.count_votes(image, [None], [0], classes=classes, after_batch=after_batch)
    except Interrupted:
        record = {"precision": ours.precision, "batch_size": ours.batch_size,
                  "compiled": ours.runner.compiled, "marks": marks}  # fmt: skip
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
