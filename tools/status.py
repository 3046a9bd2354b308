"""Show how far a study's certification is, what runs, starts and waits, and what failed.

    python tools/status.py [STUDY] [--deposit ARCHIVE]

It lists each folder of counts and logs once and opens only what is unfinished, so it may run
in a loop (`watch -n 30 make status`) beside thousands of shards.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from project import open_study

# isort: split
from dds.names import shard_names, shard_range, sigma_name
from jobs import processes
from jobs.checkpoints import UnusableCheckpoint, read_progress
from jobs.lock import describe, read_owner
from jobs.running import Running, read_running
from jobs.slurm_commands import ask
from study.experiments import Experiment
from study.study import Study

#: Most lines of each list.
_LINES = 20

_TAIL = 4096  # bytes; more than the last lines of a log take

#: Where Snakemake keeps what it is at.
_SNAKEMAKE = Path(".snakemake")


@dataclass
class Shard:
    """A shard that was begun and is not finished."""

    name: str
    log: Path
    progress: dict[str, Any]  # what its checkpoint says
    record: Running | None = None  # what the job that works on it says
    owner: str | None = None  # who works on it
    ended: str | None = None  # why its last job ended

    @property
    def images(self) -> int:
        """How many images it has."""
        return len(shard_range(self.name))

    @property
    def images_done(self) -> int:
        """How many images need no more samples."""
        if self.record and self.record.parts_done is not None:
            return self.record.parts_done
        return self.progress.get("images_done", 0)

    @property
    def rate(self) -> float:
        """Samples a second now."""
        if self.record:
            return self.record.rate or 0.0
        return self.progress.get("samples_per_second", 0.0) if self.owner else 0.0

    @property
    def samples(self) -> int:
        """Samples so far."""
        if self.record and self.record.done is not None:
            return self.record.done
        return self.progress.get("samples", 0)

    def whole(self, samples_per_image: float) -> float:
        """About how many samples it takes; an image so many, where nothing else is known."""
        if self.record and self.record.total is not None:
            return self.record.total
        return max(self.images * samples_per_image, self.samples)


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
        return self.finished + sum(shard.images_done for shard in self.shards)

    @property
    def samples_left(self) -> float:
        """About how many samples are still to be drawn."""
        untouched = self.images - self.finished - sum(shard.images for shard in self.shards)
        begun = sum(shard.whole(self.samples_per_image) - shard.samples for shard in self.shards)
        return untouched * self.samples_per_image + begun

    @property
    def rate(self) -> float:
        """Samples a second now."""
        return sum(shard.rate for shard in self.shards)


def read_row(
    experiment: str,
    settings: Experiment,
    sigma: float,
    results: Path,
    records: dict[str, Running],
    now: float,
) -> Row:
    """Find out how far an experiment is at one sigma, given what runs now, by its log."""
    counts = results / "counts" / experiment / sigma_name(sigma)
    logs = results / "logs" / "certify_shard" / experiment / sigma_name(sigma)
    files, logged = names_in(counts), names_in(logs)
    row = Row(experiment, f"{sigma:g}", settings.images, settings.n0 + settings.n)
    finished = None
    for name in shard_names(settings.images, settings.images_per_shard):
        if f"{name}.json" in files:
            row.finished += len(shard_range(name))
            finished = counts / f"{name}.json"
        elif f"{name}.lock" in files or f"{name}.checkpoint" in files or f"{name}.log" in logged:
            row.shards.append(read_shard(name, counts, logs, records, now))
    row.samples_per_image = min(
        (finished and samples_per_image(finished)) or seen_per_image(row), row.samples_per_image
    )
    return row


def seen_per_image(row: Row) -> float:
    """Return how many samples an image takes by what unfinished shards say; most, if nothing."""
    expected = [shard for shard in row.shards if shard.record and shard.record.total]
    if expected:
        return sum(s.record.total for s in expected) / sum(s.images for s in expected)
    images = sum(shard.images_done for shard in row.shards)
    return sum(shard.samples for shard in row.shards) / images if images else float("inf")


def names_in(folder: Path) -> set[str]:
    """Return the names in a folder that may not exist yet."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def samples_per_image(provenance: Path) -> float | None:
    """Return how many samples an image of a finished shard took."""
    try:
        return json.loads(provenance.read_text())["samples"] / len(shard_range(provenance.stem))
    except (OSError, ValueError, KeyError):
        return None


def read_shard(
    name: str, counts: Path, logs: Path, records: dict[str, Running], now: float
) -> Shard:
    """Find out how far an unfinished shard is, and who works on it or why nobody does."""
    shard = Shard(name, logs / f"{name}.log", {})
    with suppress(FileNotFoundError, UnusableCheckpoint):
        shard.progress = read_progress(counts / f"{name}.checkpoint")
    shard.record = records.get(str(shard.log))
    shard.owner = holder(counts / f"{name}.lock", now)
    if shard.record:
        shard.owner = shard.owner or processes.describe(vars(shard.record))
    if shard.owner is None:
        shard.ended = ending(shard.log)
    return shard


def holder(lock: Path, now: float) -> str | None:
    """Return who holds a lock; None where nobody alive does."""
    with suppress(OSError):
        owner = read_owner(lock)
        if processes.seems_alive(owner, lock.stat().st_mtime, now):
            return describe(owner)
    return None


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


def failures_elsewhere(results: Path, records: dict[str, Running]) -> list[str]:
    """Return the logs of other rules that end with a failure, and why."""
    lines = []
    for folder in sorted((results / "logs").glob("*")):
        if folder.name == "certify_shard":
            continue
        for log in sorted(folder.rglob("*.log")) if folder.is_dir() else [folder]:
            if str(log) not in records and "failed: " in (reason := ending(log)):
                lines.append(f"{folder.stem}: {reason} (log: {log})")
    return lines


@dataclass(frozen=True)
class Queued:
    """A job that SLURM has and that has not begun to report."""

    number: str
    rule: str
    waits: bool
    reason: str


def slurm_jobs() -> list[Queued]:
    """Return the jobs that Snakemake has sent to SLURM from this folder; none without SLURM."""
    form = "--format=%A|%T|%r|%k|%Z"
    answer = ask("squeue", "--me", "--noheader", "--array", form, timeout=processes.PATIENCE)
    if answer is None:
        return []
    found = []
    for line in answer.splitlines():
        number, state, reason, comment, folder = line.split("|", 4)
        rule = re.match(r"rule_(.+?)(_wildcards_|$)", comment)  # as Snakemake comments its jobs
        if rule and Path(folder).resolve() == Path.cwd():
            found.append(Queued(number, rule[1], state == "PENDING", reason))
    return found


def begun(results: Path) -> Iterator[str]:
    """Yield what jobs make that Snakemake has just started here and that are silent yet.

    A job reports, in its log, once Python has loaded what it needs.
    """
    marks, places = _SNAKEMAKE / "incomplete", set()
    now = processes.files_clock(_SNAKEMAKE)
    for folder, _, names in os.walk(marks):
        for name in names:
            mark = Path(folder, name)
            with suppress(OSError, ValueError, KeyError, TypeError):
                at = mark.stat().st_mtime
                if json.loads(mark.read_text())["external_jobid"]:
                    continue  # SLURM says more of it
                encoded = "".join(p.removeprefix("@") for p in mark.relative_to(marks).parts)
                output = Path(base64.urlsafe_b64decode(encoded).decode())
                place = output.relative_to(results).with_suffix("")
                about = Path(*place.parts[1:])  # after counts, models, ...
                logs = (results / "logs").glob(f"*/{about}.log")
                reported = any(log.stat().st_mtime >= at for log in logs)
                dear = place.parts[0] in ("counts", "attacks", "models") and about.parts
                if dear and not reported and now - at < processes.STALE_AFTER:
                    places.add(str(place))
    yield from sorted(places)


def attack_lines(study: Study, results: Path) -> Iterator[str]:
    """Yield how far each attack is at each of its noise levels."""
    for name in study.attacked:
        images, each = study.attacks[name].images, study.attacks[name].images_per_shard
        for sigma in study.attacked_sigmas(name):
            folder = results / "attacks" / name / sigma_name(sigma)
            files, done = names_in(folder), 0
            for shard in shard_names(images, each):
                if f"{shard}.json" in files:
                    done += len(shard_range(shard))
                elif f"{shard}.checkpoint" in files:
                    with suppress(FileNotFoundError, UnusableCheckpoint):
                        done += read_progress(folder / f"{shard}.checkpoint")["images_done"]
            yield f"{name} sigma {sigma:g}: {done:,} of {images:,} images"


def report(study: Study, results: Path) -> list[str]:
    """Return the lines to show."""
    now = processes.files_clock(results / "logs")
    records = {record.log: record for record in read_running(results / "logs", now)}
    rows = [
        read_row(name, study.experiments[name], sigma, results, records, now)
        for name in study.sampled
        for sigma in study.experiments[name].sigmas
    ]
    shards = [(row, shard) for row in rows for shard in row.shards]
    # A job that holds a lock and keeps no record, as a script that is run alone, is one, too.
    held = [(row, shard) for row, shard in shards if shard.owner and not shard.record]
    jobs = [record for record in records.values() if record.state != "starting"]
    working = [working_line(record) for record in jobs] + [
        f"certify {place(row, shard)}: {percentage(shard, row)}, {shard.rate:,.0f} samples/s, "
        f"{shard.owner} (log: {shard.log})"
        for row, shard in held
    ]
    sent = slurm_jobs()
    known = {record.slurm_job for record in records.values()}
    starting = [
        *(working_line(record) for record in records.values() if record.state == "starting"),
        *(f"{job.rule}: SLURM job {job.number}" for job in sent
          if not job.waits and job.number not in known),
        *begun(results),
    ]  # fmt: skip
    queue = Counter((job.rule, job.reason) for job in sent if job.waits)
    rate, left = sum(row.rate for row in rows), sum(row.samples_left for row in rows)
    done, images = sum(row.done for row in rows), sum(row.images for row in rows)
    lines = [
        f"study {study.name}: {done:,} of {images:,} images certified, {rate:,.0f} samples/s, "
        + (duration(left, rate) or at_work(len(working), len(starting), queue.total())),
        *(["", *table(rows)] if rows else []),
    ]
    lines += section("votes from deposits", [
        f"{name}: {'taken' if (results / 'counts' / f'{name}.json').is_file() else 'not taken yet'}"
        for name in study.deposited
    ])  # fmt: skip
    lines += section("attacks", list(attack_lines(study, results)))
    lines += section("running", working) + section("starting", starting)
    lines += section("queued in SLURM", [
        f"{rule}: {count:,} ({reason})" for (rule, reason), count in sorted(queue.items())
    ])  # fmt: skip
    lines += section("ended unfinished, to be started again", [
        f"{place(row, shard)}: {percentage(shard, row)}, {shard.ended} (log: {shard.log})"
        for row, shard in shards if not shard.owner
    ])  # fmt: skip
    return lines + section("failed", failures_elsewhere(results, records))


def at_work(running: int, starting: int, queued: int) -> str:
    """Say how many jobs there are; whether Snakemake runs, where there are none."""
    counts = {"running": running, "starting": starting, "queued": queued}
    if any(counts.values()):
        return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    if names_in(_SNAKEMAKE / "locks"):
        return "no job runs, and Snakemake has the folder locked"
    return "nothing runs"


def working_line(record: Running) -> str:
    """Say what a job is at, on what, and where."""
    facts = []
    if record.waits_for:
        facts.append(f"waiting for {record.waits_for}")
    elif record.preparing:
        facts.append(f"{record.preparing}, {time.time() - record.started:.0f} s after its start")
    elif record.unit:
        facts += [record.share or f"{record.done:,}", f"{record.rate or 0:,.0f} {record.unit}/s"]
        if record.seconds_left is not None:
            facts.append(f"{clock(record.seconds_left)} left")
    if record.device:
        facts.append(f"on {record.device}" + (f" ({record.gpu})" if record.gpu else ""))
    facts.append(processes.describe(vars(record)))
    title = f"{record.kind} {record.name}".strip()
    return f"{title}: {', '.join(facts)} (log: {record.log})"


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
    if shard.record and shard.record.share:
        return shard.record.share
    return f"{shard.samples / (shard.whole(row.samples_per_image) or 1):.0%}"


def duration(samples: float, rate: float) -> str:
    """Say how long so many samples take; nothing at no rate."""
    return f"{clock(samples / rate)} left at this rate" if rate else ""


def clock(seconds: float) -> str:
    """Write a time in its two largest units, to the minute."""
    hours, minutes = divmod(round(seconds / 60), 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days} d"] * bool(days) + [f"{hours} h"] * bool(hours) + [f"{minutes} min"]
    return " ".join(parts[:2])


def section(title: str, lines: list[str]) -> list[str]:
    """Return lines under a title, cut where there are too many; nothing for none."""
    if not lines:
        return []
    more = [f"  and {len(lines) - _LINES:,} more"] * (len(lines) > _LINES)
    return ["", f"{title}:", *(f"  {line}" for line in lines[:_LINES]), *more]


def main() -> None:
    """Show the status of the study that is named, or of the configured one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", help="by default the one config/config.yaml names")
    parser.add_argument("--deposit", help="that it takes votes from (docs/deposits.md)")
    arguments = parser.parse_args()
    study = open_study(arguments.study, arguments.deposit)
    print("\n".join(report(study, Path("results") / study.name)))


if __name__ == "__main__":
    main()
