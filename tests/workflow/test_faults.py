"""Certification comes to the same counts whatever happens to its process on the way."""

from __future__ import annotations

import os
import pty
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from projects import Project

pytestmark = pytest.mark.slow

SHARD = "results/small/counts/shaken/sigma_0.25/images_00000-00029"
PATIENCE = 120  # seconds until a test gives up


class Shaken(Project):
    """A project of one shard, which takes some seconds and saves its state all the time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.counts = folder / f"{SHARD}.parquet"
        self.checkpoint = self.counts.with_suffix(".checkpoint")
        self.log = folder / f"{SHARD.replace('counts', 'logs/certify_shard')}.log"
        settings = self.study["experiments"]["undefended"] | {
            "classifiers": ["digits_cnn"], "sigmas": [0.25], "n": 5_000, "images": 30,
            "images_per_shard": 30,
        }  # fmt: skip
        self.study = {key: self.study[key] for key in ("seed", "datasets")}
        self.study["experiments"] = {"shaken": settings}
        self.write_study()
        config = folder / "config" / "config.yaml"
        config.write_text(
            yaml.safe_dump(yaml.safe_load(config.read_text()) | {"checkpoint_seconds": 0.05})
        )

    def certify(self, *arguments: str):
        """Make the counts."""
        return self.snakemake(f"{SHARD}.parquet", *arguments, check=False)

    def start_over(self) -> None:
        """Remove the counts and all that might help to make them again."""
        for path in self.counts.parent.glob(f"{self.counts.stem}.*"):
            path.unlink()

    def processes(self) -> set[int]:
        """Return the processes that certify in this project, and no others."""
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (process / "cmdline").read_bytes().split(b"\0")
                if (
                    b"python" in command[0]
                    and any(part.endswith(b"certify_shard.py") for part in command)
                    and (process / "cwd").resolve() == self.folder
                ):
                    found.add(int(process.name))
        return found


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Shaken:
    """The project, and its counts as they come out undisturbed."""
    project = Shaken(tmp_path_factory.mktemp("shaken").resolve())
    result = project.certify()
    assert result.returncode == 0, result.stderr
    project.expected = project.counts.read_bytes()
    return project


@pytest.fixture
def shaken(built) -> Shaken:
    """The project without its counts."""
    built.start_over()
    return built


def wait_for(condition: Callable[[], object], running: Future) -> object:
    """Return what `condition` gives once it is true."""
    end = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert not running.done(), f"ended too early: {running.result().stderr}"
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.01)
    return answer


def strike(project: Shaken, running: Future, signals: list[int]) -> Iterator[str]:
    """Send each signal to a process of its own, at a random moment of its sampling.

    Yields what the log of that process says, once it is gone.
    """
    moments = random.Random(7)
    for number in signals:
        (process,) = wait_for(project.processes, running)
        before = project.checkpoint.stat().st_mtime if project.checkpoint.exists() else 0
        wait_for(
            lambda before=before: (
                project.checkpoint.exists() and project.checkpoint.stat().st_mtime > before
            ),
            running,
        )
        time.sleep(moments.uniform(0, 0.2))
        os.kill(process, number)
        wait_for(lambda process=process: process not in project.processes(), running)
        yield project.log.read_text()


def test_killed_again_and_again(shaken):
    signals = [signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGTERM]
    with ThreadPoolExecutor() as pool:
        running = pool.submit(shaken.certify, "--retries", str(len(signals)))
        logs = list(strike(shaken, running, signals))
        result = running.result(PATIENCE)
    assert result.returncode == 0, result.stderr
    assert shaken.counts.read_bytes() == shaken.expected
    assert "going on" not in logs[0]
    assert all("going on after" in log for log in logs[1:])
    assert "stopped after" in logs[1]
    assert "going on after" in shaken.log.read_text()


def test_two_writers_leave_one_result(shaken):
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(shaken.certify, "--nolock") for _ in range(2)]
        wait_for(lambda: len(shaken.processes()) == 2, both[0])
        results = [running.result(PATIENCE) for running in both]
    assert [result.returncode for result in results] == [0, 0], results[0].stderr
    assert shaken.counts.read_bytes() == shaken.expected


def test_ctrl_c_on_a_terminal(shaken):
    """The live line shows how far the shard is; the same command goes on from there."""
    terminal, inside = pty.openpty()
    command = [
        "-m",
        "snakemake",
        "--cores",
        "2",
        f"{SHARD}.parquet",
        "--config",
        "study=small.yaml",
    ]
    with subprocess.Popen(
        [sys.executable, *command], cwd=shaken.folder, stdin=inside, stdout=inside, stderr=inside,
        start_new_session=True,
    ) as running:  # fmt: skip
        os.close(inside)
        screen = bytearray()
        reading = threading.Thread(target=read_all, args=(terminal, screen))
        reading.start()
        end = time.monotonic() + PATIENCE
        while b" samples/s " not in screen and time.monotonic() < end:
            time.sleep(0.1)
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    reading.join()
    assert re.search(rb"0/1 \| \d+% [\d,.]+ samples/s [\d:]+ left, certify_shard shaken/", screen)
    assert b"interrupted; run the same again to go on" in screen
    assert running.returncode != 0
    assert shaken.certify().returncode == 0
    assert "going on after" in shaken.log.read_text()
    assert shaken.counts.read_bytes() == shaken.expected


def read_all(terminal: int, screen: bytearray) -> None:
    """Add to `screen` what appears on a terminal, until nobody has it open."""
    with suppress(OSError):
        while shown := os.read(terminal, 4096):
            screen.extend(shown)


@pytest.mark.parametrize("whole", [True, False], ids=["with its jobs", "alone"])
def test_the_same_command_goes_on_after_snakemake_was_killed(shaken, whole):
    """As when the power fails, or memory runs out: it had no time to clean up."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", f"{SHARD}.parquet",
               "--config", "study=small.yaml"]  # fmt: skip
    with subprocess.Popen(
        command, cwd=shaken.folder, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as running:  # fmt: skip
        end = time.monotonic() + PATIENCE
        while not shaken.checkpoint.exists() and time.monotonic() < end:
            time.sleep(0.05)
        (os.killpg if whole else os.kill)(running.pid, signal.SIGKILL)
    while shaken.processes() and time.monotonic() < end:  # it may go on to its end
        time.sleep(0.1)
    assert shaken.counts.exists() != whole
    assert shaken.certify("--unlock").returncode == 0
    again = shaken.certify()
    assert again.returncode == 0, again.stderr
    taken_over = re.search(r"going on after (\d+) samples", shaken.log.read_text())
    assert (int(taken_over[1]) == 30 * 5_100) != whole  # all of them, where its job had ended
    assert shaken.counts.read_bytes() == shaken.expected
