"""One live writer at a time, and no dead one in the way."""

import json
import multiprocessing
import os
import signal
import time

import pytest

from dds.progress import Interrupted
from jobs import lock
from jobs.lock import Locked, hold, read_owner

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "images_00000-00009.lock"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lock, "LOOK", 0.01)


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Put a squeue on PATH that does what it is told."""

    def make(script):
        command = tmp_path / "bin" / "squeue"
        command.parent.mkdir()
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o755)
        monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)

    return make


def try_to_hold(path):
    """Hold the lock if no live job does; raise Interrupted otherwise."""
    return hold(path, stop=lambda: True)


def leave(path, *, age=0.0, **owner):
    """Leave a lock as a holder on another host that was killed does."""
    owner = {
        "host": "node7", "pid": 1, "process_started": "1", "slurm_job": None,
        "since": "2024-01-01 00:00:00", "token": "abc",
    } | owner  # fmt: skip
    path.write_text(json.dumps(owner))
    os.utime(path, (time.time() - age,) * 2)


def count_up(path, counter, rounds):
    for _ in range(rounds):
        with hold(path) as held:
            value = int(counter.read_text())
            held.verify()
            counter.write_text(str(value + 1))


def hold_until_killed(path, holding):
    with hold(path):
        holding.set()
        time.sleep(600)


def test_many_writers_lose_nothing(path, tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    writers = [FORK.Process(target=count_up, args=(path, counter, 25)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert counter.read_text() == "100"
    assert [file.name for file in tmp_path.iterdir()] == ["counter"]


def test_a_live_holder_is_named_and_waited_for(path):
    with hold(path):
        assert read_owner(path)["pid"] == os.getpid()
        with pytest.raises(Interrupted, match=f"process {os.getpid()} on "), try_to_hold(path):
            pass
        assert path.exists()
    assert not path.exists()


def test_a_released_lock_is_taken(path, tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    waiter = FORK.Process(target=count_up, args=(path, counter, 1))
    with hold(path):
        waiter.start()
        waiter.join(timeout=0.3)
        assert counter.read_text() == "0"
    waiter.join()
    assert counter.read_text() == "1"


def test_a_killed_holder_on_this_host_does_not_block(path):
    holding = FORK.Event()
    holder = FORK.Process(target=hold_until_killed, args=(path, holding))
    holder.start()
    holding.wait()
    with pytest.raises(Interrupted), try_to_hold(path):
        pass
    os.kill(holder.pid, signal.SIGKILL)  # and not waited for: a zombie is dead, too
    while lock._process_start(holder.pid) is not None:
        time.sleep(0.01)
    with try_to_hold(path) as held:
        held.verify()
    holder.join()


def test_another_process_with_the_holders_number_is_not_the_holder(path):
    with hold(path):
        owner = read_owner(path)
    leave(path, **owner | {"process_started": "1"})
    with try_to_hold(path):
        pass


@pytest.mark.parametrize("answer", ["echo RUNNING", "echo COMPLETING", "exit 1", "exec sleep 600"])
def test_a_holder_elsewhere_lives_by_its_heartbeat(path, squeue, monkeypatch, answer):
    monkeypatch.setattr(lock, "PATIENCE", 0.5)
    squeue(answer)
    leave(path, slurm_job="12")
    with pytest.raises(Interrupted, match="SLURM job 12, process 1 on node7"), try_to_hold(path):
        pass
    leave(path, slurm_job="12", age=lock.STALE_AFTER + 1)
    with try_to_hold(path):
        pass


@pytest.mark.parametrize(
    "gone", ["true", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"]
)
def test_a_holder_whose_slurm_job_is_gone_does_not_block(path, squeue, gone):
    squeue(gone)
    leave(path, slurm_job="12")
    with try_to_hold(path):
        pass


def test_squeue_is_asked_for_running_jobs_alone(path, squeue):
    """A requeued job waits in the queue: its earlier run is over, and must not block."""
    squeue('case "$*" in *PENDING*) echo PENDING;; esac')
    leave(path, slurm_job="12")
    with try_to_hold(path):
        pass


def test_a_requeued_job_takes_over_from_its_earlier_run(path, squeue, monkeypatch):
    squeue("echo RUNNING")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    leave(path, slurm_job="12")
    with try_to_hold(path):
        assert read_owner(path)["slurm_job"] == "12"


@pytest.mark.parametrize("content", ["", '{"host": ', "[]", '{"host": "a"}', "\0" * 50])
def test_a_lock_that_says_nothing_is_outlived(path, content):
    path.write_text(content)
    with pytest.raises(Interrupted, match="an unknown job"), try_to_hold(path):
        pass
    os.utime(path, (time.time() - lock.STALE_AFTER - 1,) * 2)
    with try_to_hold(path):
        pass


def test_a_holder_that_was_taken_for_dead_must_not_write(path):
    with hold(path) as held:
        path.unlink()
        with hold(path) as successor:
            with pytest.raises(Locked, match="was taken over by process"):
                held.verify()
            successor.verify()
    with hold(path) as held:
        path.unlink()
        with pytest.raises(Locked, match="was removed"):
            held.verify()


def test_a_loser_leaves_its_successors_lock(path):
    with hold(path):
        leave(path, token="successor")
    assert read_owner(path)["token"] == "successor"


def test_the_heart_beats_for_its_own_lock_alone(path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT", 0.01)
    with hold(path):
        os.utime(path, (0, 0))
        while path.stat().st_mtime == 0:
            time.sleep(0.01)
        path.unlink()
        leave(path, token="successor")
        os.utime(path, (0, 0))
        time.sleep(0.2)
        assert path.stat().st_mtime == 0


def test_a_read_only_folder_is_an_error(path, tmp_path, read_only):
    read_only(tmp_path)
    with pytest.raises(OSError, match="Read-only"), hold(path):
        pass


def test_a_full_disk_is_an_error_and_leaves_nothing(small_disk, fill):
    filling = fill(small_disk)
    with pytest.raises(OSError, match="No space"), hold(small_disk / "a.lock"):
        pass
    assert list(small_disk.iterdir()) == [filling]
