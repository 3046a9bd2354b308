"""Measure what the workflow itself costs at the paper's scale: part of `make bench`.

In a copy of the project that is removed afterwards, Snakemake plans the study `paper_exact`, and
the same study in shards of a tenth as many images, with nothing run yet and with all of it
done; the rules merge made-up votes of all the CIFAR-10 images, a shard a file, and make a
table and a figure of them; and one small shard of the digits study runs, to see how long a
job takes to start. Files of a study that is done are empty ones, beside Snakemake's records.
"""

from __future__ import annotations

import argparse
import base64
import copy
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import yaml

# Nothing large is imported here: a child's peak of memory counts from its parent's on.
from project import ROOT, written_out

# isort: split
from dds.files import write_json
from dds.names import shard_names, sigma_name

PARTS = ("Snakefile", "config", "envs", "notebooks", "profiles", "workflow")
PACKAGES = ("snakemake", "pandas", "pyarrow", "matplotlib", "torch")

#: `snakemake --touch` that makes the files it touches, and does not wait between them.
MAKE_OUTPUTS = """
from pathlib import Path
from snakemake.cli import main
from snakemake.executors.touch import Executor

touch = Executor.run_job

def make_and_touch(executor, job):
    from jobs.records import write_records

    for path in map(Path, job.output):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    touch(executor, job)
    write_records(job)

Executor.SLEEPING_TIME = 0
Executor.run_job = make_and_touch
main()
"""

#: Writes counts of made-up votes as a shard's job does; takes the study file and its results.
MAKE_COUNTS = """
import sys
from pathlib import Path
import numpy as np
import pandas as pd
import yaml
from dds.sampling.counts import write_counts
from dds.files import write_json
from dds.names import shard_names, shard_range, sigma_name
from dds.protocol import PROTOCOL

study, results = yaml.safe_load(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
random = np.random.default_rng(0)
for name, e in study["experiments"].items():
    classifiers = e["classifiers"]
    for sigma in e["sigmas"]:
        for shard in shard_names(e["images"], e["images_per_shard"]):
            images = np.repeat(shard_range(shard), len(classifiers))
            chances = random.dirichlet(np.full(10, 0.3), len(images))
            counts = pd.DataFrame({
                "image": images, "label": images % 10, "sigma": sigma,
                "classifier": np.resize(classifiers, len(images)),
                "selection": list(random.multinomial(e["n0"], chances)),
                "estimation": list(random.multinomial(e["n"], chances)),
            })
            shared = {
                "protocol": PROTOCOL, "study": "cifar10", "experiment": name, "sigma": sigma,
                "seed": study["seed"],
                "n0": e["n0"], "n": e["n"], "num_classes": 10, "precision": "float32",
                "plan": {"plan": "fixed", "n0": e["n0"], "n": e["n"], "curtail": False},
                "models": {model: "0" * 64 for model in classifiers}, "settings": e,
            }
            path = results / "counts" / name / sigma_name(sigma) / f"{shard}.parquet"
            write_counts(path, counts, shared)
            write_json(path.with_suffix(".json"), shared | {
                "seconds": 1.0, "samples": int(counts["estimation"].map(sum).sum()),
                "started": "2026-01-01T00:00:00+0000", "finished": "2026-01-01T00:00:01+0000",
            })
"""


class Bench:
    """A copy of the project, the steps measured in it, and what they took."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: list[dict] = []
        self._output = folder / "output.txt"
        for part in PARTS:
            copy_part = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy_part(ROOT / part, folder / part)

    def run(self, what: str, command: list[str], **facts: object) -> str:
        """Run a command in the copy, keep what it took, and return what it printed."""
        print(f"  {what} ...".ljust(66), end="", flush=True)
        started = time.perf_counter()
        with self._output.open("w") as output:
            process = subprocess.Popen(
                command, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": str(self.folder / "workflow" / "scripts")},
            )  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        text = self._output.read_text()
        if process.returncode:
            sys.exit(
                f"failed\n{text[-2000:]}\nerror: bench: {what}: failed, as the lines above say"
            )
        step = {
            "step": what,
            "seconds": time.perf_counter() - started,
            "processor_seconds": usage.ru_utime + usage.ru_stime,
            "peak_bytes": usage.ru_maxrss * 1024,
        }
        print("{seconds:7.1f} s {processor_seconds:7.1f} s {peak:6.0f} MiB".format(
            **step, peak=step["peak_bytes"] / 2**20))  # fmt: skip
        self.steps.append(step | facts)
        return text

    def write_study(self, name: str, study: dict) -> str:
        """Write a study file; return how the command line names it."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(study, sort_keys=False))
        return f"study={name}"

    def plan(self, what: str, config: str) -> int:
        """Measure a dry run; return its number of jobs."""
        text = self.run(f"dry run, {what}", snakemake("all", "--dry-run", "--config", config))
        totals = [line.split()[1] for line in text.splitlines() if line.startswith("total ")]
        self.steps[-1]["jobs"] = int(totals[0])
        return int(totals[0])

    def rerun(self, what: str, config: str) -> None:
        """Measure a run that finds everything done."""
        text = self.run(
            f"run with nothing to do, {what}",
            snakemake("all", "--cores", "1", "--config", config),
        )
        if "Nothing to be done" not in text:
            sys.exit(f"{text[-2000:]}\nerror: bench: a finished study was to be run again")


def snakemake(*arguments: str) -> list[str]:
    """Return the command that runs Snakemake."""
    return [sys.executable, "-m", "snakemake", *arguments]


def shards(study: dict) -> Iterator[tuple[Path, str]]:
    """Yield the folder, in results/, and the name of every shard of a study."""
    for name, experiment in study["experiments"].items():
        for sigma in experiment["sigmas"]:
            folder = Path("counts") / name / sigma_name(sigma)
            for shard in shard_names(experiment["images"], experiment["images_per_shard"]):
                yield folder, shard


def in_smaller_shards(study: dict, times: int) -> dict:
    """Return a study with so many times as few images a shard, but one at least."""
    study = copy.deepcopy(study)
    for experiment in study["experiments"].values():
        experiment["images_per_shard"] = max(1, experiment["images_per_shard"] // times)
    return study


def stand_in(bench: Bench, study: dict, smaller: dict) -> None:
    """Go over from a finished study to the same in smaller shards, finished as well.

    Shards of one experiment and sigma have the same record, so that it is copied. Records
    that depend on how many shards there are, are dropped: Snakemake does without.
    """
    results, records = bench.folder / "results/scale", bench.folder / ".snakemake/metadata"

    def record(path: Path) -> Path:
        relative = str(path.relative_to(bench.folder))
        return records / base64.urlsafe_b64encode(relative.encode()).decode()

    kept = set()
    first = dict(reversed(list(shards(study))))
    for folder, shard in shards(smaller):
        for suffix in (".parquet", ".json"):
            old, new = (results / folder / (n + suffix) for n in (first[folder], shard))
            if new != old:
                shutil.copy2(old, new)
                shutil.copy2(record(old), record(new))
            kept.add(record(new).name)
    for path in records.iterdir():
        if path.name not in kept:
            path.unlink()


def measure_planning(bench: Bench, times: int) -> None:
    """Plan the study `paper_exact`, nothing of it or all of it done, and in smaller shards."""
    study = written_out("paper_exact")
    smaller = in_smaller_shards(study, times)
    paper = bench.write_study("whole/scale.yaml", study)
    more = bench.write_study("smaller/scale.yaml", smaller)
    (bench.folder / "data/imagenet/val").mkdir(parents=True)
    few = f"{bench.plan('the paper', paper):,} jobs"
    many = f"{bench.plan('its shards cut in ten', more):,} jobs"
    bench.run(f"stand-in for a finished study, {few}", [
        sys.executable, "-c", MAKE_OUTPUTS, "all", "--touch", "--quiet", "all",
        "--cores", "1000000", "--config", paper,
    ])  # fmt: skip
    bench.rerun(few, paper)
    stand_in(bench, study, smaller)
    bench.rerun(many, more)


def measure_aggregation(bench: Bench) -> None:
    """Make a table and a figure of the paper's CIFAR-10 shards, of made-up votes."""
    study = written_out("paper_exact")
    for part, names in {
        "datasets": ["cifar10"], "experiments": ["cifar10"], "tables": ["table_4"],
        "figures": ["figure_2"],
    }.items():  # fmt: skip
        study[part] = {name: study[part][name] for name in names}
    figure = study["figures"]["figure_2"]
    figure["panels"] = [p for p in figure["panels"] if p["experiment"] == "cifar10"]
    study |= {"notebooks": [], "checks": []}
    config, results = bench.write_study("cifar10.yaml", study), "results/cifar10"
    count = len(list(shards(study)))
    bench.run(
        f"made-up counts in {count:,} shards",
        [sys.executable, "-c", MAKE_COUNTS, "cifar10.yaml", results],
    )
    for rule, target in {
        "merge_counts": "counts/cifar10.parquet",
        "compute_certificates": "certificates/cifar10.parquet",
        "render_table": "tables/table_4.csv",
        "render_figure": "figures/figure_2.pdf",
    }.items():
        bench.run(rule, snakemake(
            f"{results}/{target}", "--cores", "1", "--allowed-rules", rule, "--config", config,
        ), shards=count)  # fmt: skip


def measure_start(bench: Bench) -> None:
    """Run one small shard whose data and models are there."""
    registry = bench.folder / "config/models.yaml"
    models = yaml.safe_load(registry.read_text("utf-8"))
    for name in ("digits_unet", "digits_cnn"):
        models[name]["weights"]["train"]["iterations"] = 1
    registry.write_text(yaml.safe_dump(models, sort_keys=False))
    study = written_out("digits")
    experiment = study["experiments"]["denoised"] | {
        "classifiers": ["digits_cnn"], "sigmas": [0.5], "n0": 1, "n": 1, "images": 2,
        "images_per_shard": 1,
    }  # fmt: skip
    study |= {"experiments": {"denoised": experiment}, "tables": {}, "figures": {},
              "notebooks": [], "checks": []}  # fmt: skip
    config = bench.write_study("start.yaml", study)
    earlier, shard = (f"results/start/{folder}/{name}.parquet" for folder, name in shards(study))
    for what, target in (
        ("data, models and a first shard", earlier),
        ("start of a shard's job", shard),
    ):
        bench.run(what, snakemake(target, "--cores", "1", "--config", config))


def main() -> None:
    """Measure, print and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "bench")
    arguments = parser.parse_args()
    print("scale: seconds depend on the machine and on what else it does".ljust(66)
          + "     wall   processor     memory")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        bench = Bench(Path(folder))
        measure_start(bench)
        measure_aggregation(bench)
        measure_planning(bench, times=10)
    path = arguments.output / "scale.json"
    versions = {"python": platform.python_version()} | {p: version(p) for p in PACKAGES}
    write_json(path, {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores", "steps": bench.steps,
        "versions": versions,
    })  # fmt: skip
    total = sum(step["seconds"] for step in bench.steps)
    print(f"bench: scale measured in {total:.0f} s; see {path}")


if __name__ == "__main__":
    main()
