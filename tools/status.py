"""Show how far a study's certification is, what runs and what failed.

    python tools/status.py [STUDY]

It lists each folder of counts once and opens only what is unfinished, so it may run
in a loop (`watch -n 30 make status`) beside thousands of shards.
"""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from project import open_study

# isort: split
from dds.names import shard_names, shard_range, sigma_name
from jobs.checkpoints import UnusableCheckpoint, read_progress
from jobs.lock import STALE_AFTER, describe, read_owner
from study.experiments import Experiment
from study.study import Study

#: Most lines of each list.
_LINES = 20

_TAIL = 4096  # bytes; more than the last lines of a log take


@dataclass
class Shard:
    """A shard that was begun and is not finished."""

    name: str
    log: Path
    progress: dict[str, Any]
    owner: str | None = None  # who works on it
    ended: str | None = None  # why its last job ended

    @property
    def rate(self) -> float:
        """Samples a second now."""
        return self.progress.get("samples_per_second", 0.0) if self.owner else 0.0


@dataclass
class Row:
    """An experiment at one sigma."""

    experiment: str
    sigma: str
    images: int
    samples_per_image: float
    finished: int = 0
    shards: list[Shard] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Images that need no more samples."""
        return self.finished + sum(shard.progress.get("images_done", 0) for shard in self.shards)

    @property
    def samples_left(self) -> float:
        """About how many samples are still to be drawn."""
        partly = sum(
            shard.progress["samples"] - shard.progress["images_done"] * self.samples_per_image
            for shard in self.shards
            if shard.progress
        )
        return max((self.images - self.done) * self.samples_per_image - partly, 0.0)

    @property
    def rate(self) -> float:
        """Samples a second now."""
        return sum(shard.rate for shard in self.shards)


def read_row(experiment: str, settings: Experiment, sigma: float, results: Path) -> Row:
    """Find out how far an experiment is at one sigma."""
    counts = results / "counts" / experiment / sigma_name(sigma)
    logs = results / "logs" / "certify_shard" / experiment / sigma_name(sigma)
    files, logged = names_in(counts), names_in(logs)
    row = Row(experiment, f"{sigma:g}", settings.images, settings.n0 + settings.n)
    for name in shard_names(settings.images, settings.images_per_shard):
        if f"{name}.json" in files:
            row.finished += len(shard_range(name))
            finished = counts / f"{name}.json"
        elif f"{name}.lock" in files or f"{name}.checkpoint" in files or f"{name}.log" in logged:
            row.shards.append(read_shard(name, counts, logs))
    if row.finished:
        row.samples_per_image = samples_per_image(finished) or row.samples_per_image
    return row


def names_in(folder: Path) -> set[str]:
    """Return the names in a folder that may not exist yet."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def samples_per_image(provenance: Path) -> float | None:
    """Return how many samples an image of a finished shard took."""
    try:
        return json.loads(provenance.read_text())["samples"] / len(shard_range(provenance.stem))
    except (OSError, ValueError, KeyError):
        return None


def read_shard(name: str, counts: Path, logs: Path) -> Shard:
    """Find out how far an unfinished shard is, and who works on it or why nobody does."""
    shard = Shard(name, logs / f"{name}.log", {})
    with suppress(FileNotFoundError, UnusableCheckpoint):
        shard.progress = read_progress(counts / f"{name}.checkpoint")
    lock = counts / f"{name}.lock"
    with suppress(FileNotFoundError):
        if time.time() - lock.stat().st_mtime < STALE_AFTER:
            shard.owner = describe(read_owner(lock))
    if shard.owner is None:
        shard.ended = ending(shard.log)
    return shard


def ending(log: Path) -> str:
    """Return the reason that a log ends with, and the SLURM job that gave it."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - _TAIL, 0))
            tail = file.read().decode(errors="replace")
    except FileNotFoundError:
        return "no log"
    lines = tail.splitlines() or [""]
    found = re.search(r"(?:failed|interrupted): .*", lines[-1])
    reason = found[0] if found else "ended without a word, as when killed"
    jobs = re.findall(r", SLURM job (\d+)", tail)
    return f"SLURM job {jobs[-1]} {reason}" if jobs else reason


def failures_elsewhere(results: Path) -> list[str]:
    """Return the logs of other rules that end with a failure, and why."""
    lines = []
    for folder in sorted((results / "logs").glob("*")):
        if folder.name == "certify_shard":
            continue
        for log in sorted(folder.rglob("*.log")) if folder.is_dir() else [folder]:
            reason = ending(log)
            if "failed: " in reason:
                lines.append(f"{folder.stem}: {reason} (log: {log})")
    return lines


def report(study: Study, results: Path) -> list[str]:
    """Return the lines to show."""
    rows = [
        read_row(name, settings, sigma, results)
        for name, settings in study.experiments.items()
        for sigma in settings.sigmas
    ]
    rate = sum(row.rate for row in rows)
    done, images = sum(row.done for row in rows), sum(row.images for row in rows)
    left = sum(row.samples_left for row in rows)
    lines = [
        f"study {study.name}: {done:,} of {images:,} images certified, "
        f"{rate:,.0f} samples/s, {duration(left, rate) or 'nothing runs'}",
        "",
        *table(rows),
    ]
    shards = [(row, shard) for row in rows for shard in row.shards]
    lines += section("running", [
        f"{place(row, shard)}: {percentage(shard, row)}, {shard.rate:,.0f} samples/s, "
        f"{shard.owner} (log: {shard.log})"
        for row, shard in shards if shard.owner
    ])  # fmt: skip
    lines += section("ended unfinished, to be started again", [
        f"{place(row, shard)}: {percentage(shard, row)}, {shard.ended} (log: {shard.log})"
        for row, shard in shards if not shard.owner
    ])  # fmt: skip
    return lines + section("failed", failures_elsewhere(results))


def table(rows: list[Row]) -> list[str]:
    """Return one line an experiment and sigma."""
    cells = [("experiment", "sigma", "images", "samples/s", "running", "ended", "")]
    for row in rows:
        running = sum(bool(shard.owner) for shard in row.shards)
        cells.append((
            row.experiment, row.sigma, f"{row.done:,}/{row.images:,}",
            f"{row.rate:,.0f}" if running else "", str(running or ""),
            str(len(row.shards) - running or ""),
            "done" if row.finished == row.images else duration(row.samples_left, row.rate),
        ))  # fmt: skip
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return [
        "  ".join(
            text.ljust(width) if column in (0, 6) else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def place(row: Row, shard: Shard) -> str:
    """Name a shard, with its experiment and sigma."""
    return f"{row.experiment} sigma {row.sigma} {shard.name}"


def percentage(shard: Shard, row: Row) -> str:
    """Say how much of a shard is done."""
    whole = len(shard_range(shard.name)) * row.samples_per_image
    return f"{min(shard.progress.get('samples', 0) / whole, 1):.0%}"


def duration(samples: float, rate: float) -> str:
    """Say how long so many samples take; nothing at no rate."""
    if not rate:
        return ""
    minutes = round(samples / rate / 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days} d"] * bool(days) + [f"{hours} h"] * bool(hours) + [f"{minutes} min"]
    return " ".join(parts[:2]) + " left at this rate"


def section(title: str, lines: list[str]) -> list[str]:
    """Return lines under a title, cut where there are too many; nothing for none."""
    if not lines:
        return []
    more = [f"  and {len(lines) - _LINES:,} more"] * (len(lines) > _LINES)
    return ["", f"{title}:", *(f"  {line}" for line in lines[:_LINES]), *more]


def main() -> None:
    """Show the status of the study that is named, or of the configured one."""
    study = open_study(*sys.argv[1:2])
    print("\n".join(report(study, Path("results") / study.name)))


if __name__ == "__main__":
    main()
