"""One live writer at a time, and no dead one in the way."""

import json
import logging
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from dds.progress import Interrupted
from jobs import lock, processes
from jobs.lock import Locked, hold, read_owner
from jobs.processes import is_alive

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
    owner = read_owner(path)
    os.kill(holder.pid, signal.SIGKILL)  # and not waited for: a zombie is dead, too
    while is_alive(owner):
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
    monkeypatch.setattr(processes, "PATIENCE", 0.5)
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
def test_a_silent_holder_whose_slurm_job_is_gone_does_not_block(path, squeue, gone):
    squeue(gone)
    leave(path, slurm_job="12", age=lock.SILENT_AFTER + 1)
    with try_to_hold(path):
        pass


@pytest.mark.parametrize("mine", ["12", "13"])
@pytest.mark.parametrize("age", [-3600, 0, lock.HEARTBEAT + 1])
def test_a_holder_with_a_heartbeat_lives_though_slurm_does_not_know_it(
    path, squeue, monkeypatch, age, mine
):
    """It is another cluster's on the same disks, or SLURM has lost it, and it runs on."""
    squeue("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    monkeypatch.setenv("SLURM_JOB_ID", mine)
    leave(path, slurm_job="12", age=age)
    with pytest.raises(Interrupted, match="SLURM job 12, process 1 on node7"), try_to_hold(path):
        pass


def test_squeue_is_asked_for_running_jobs_alone(path, squeue):
    """A requeued job waits in the queue: its earlier run is over, and must not block."""
    squeue('case "$*" in *PENDING*) echo PENDING;; esac')
    leave(path, slurm_job="12", age=lock.SILENT_AFTER + 1)
    with try_to_hold(path):
        pass


def test_a_requeued_job_takes_over_from_its_earlier_run(path, squeue, monkeypatch):
    squeue("echo RUNNING")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    leave(path, slurm_job="12", age=lock.SILENT_AFTER + 1)
    with try_to_hold(path):
        assert read_owner(path)["slurm_job"] == "12"


def owned_by(**changes):
    """Return a lock's content, wrong in one place."""
    owner = {
        "host": "node7", "pid": 1, "process_started": "1", "slurm_job": None,
        "since": "2024-01-01 00:00:00", "token": "abc",
    }  # fmt: skip
    return json.dumps(owner | changes)


@pytest.mark.parametrize(
    "content",
    [
        "", '{"host": ', "[]", '{"host": "a"}', "\0" * 50, "\xff", "[" * 100_000, "7" * 100_000,
        owned_by(slurm_job=12), owned_by(slurm_job="12; id"), owned_by(slurm_job=["12"]),
        owned_by(pid=10**400), owned_by(pid=-1), owned_by(pid=1.5), owned_by(pid="1"),
        owned_by(pid=True), owned_by(host=None), owned_by(token=None), owned_by(process_started=1),
    ],
)  # fmt: skip
def test_a_lock_that_says_nothing_is_outlived(path, content):
    path.write_text(content)
    with pytest.raises(Interrupted, match="an unknown job"), try_to_hold(path):
        pass
    os.utime(path, (time.time() - lock.STALE_AFTER - 1,) * 2)
    with try_to_hold(path):
        pass


@pytest.mark.parametrize("owner", [{}, {"slurm_job": "12"}])
def test_a_lock_from_the_future_is_outlived(path, squeue, monkeypatch, owner):
    squeue("echo RUNNING")
    monkeypatch.setattr(lock, "STALE_AFTER", 0.3)
    leave(path, age=-3600, **owner)
    with pytest.raises(Interrupted), try_to_hold(path):
        pass
    with hold(path):
        assert read_owner(path)["pid"] == os.getpid()


def test_a_wait_is_said_with_its_end(path, monkeypatch, caplog):
    monkeypatch.setattr(lock, "STALE_AFTER", 0.3)
    leave(path)
    with caplog.at_level(logging.INFO), hold(path):
        pass
    waiting, gone = caplog.messages
    assert "is held by process 1 on node7 since 2024-01-01 00:00:00; waiting for its end" in waiting
    assert "0.3 s without a sign of life" in waiting
    assert gone.endswith("which is gone")


@pytest.fixture
def no_proc(tmp_path, monkeypatch):
    """A system that shows no start times of processes, as macOS."""
    monkeypatch.setattr(processes, "_PROC", tmp_path / "proc")


def dead_pid():
    process = FORK.Process(target=int)
    process.start()
    process.join()
    return process.pid


@pytest.mark.parametrize("started", [None, "1"])
def test_a_dead_holder_of_this_host_does_not_block_without_start_times(path, no_proc, started):
    me = processes.this_process()
    assert me["process_started"] is None
    leave(path, **me | {"pid": dead_pid(), "process_started": started})
    with try_to_hold(path):
        pass


def test_a_dead_holder_that_knew_no_start_time_does_not_block(path):
    leave(path, **processes.this_process() | {"pid": dead_pid(), "process_started": None})
    with try_to_hold(path):
        pass


def test_a_holder_of_this_host_lives_by_its_heartbeat_without_start_times(path, no_proc):
    leave(path, **processes.this_process())
    with pytest.raises(Interrupted), try_to_hold(path):
        pass
    leave(path, age=lock.STALE_AFTER + 1, **processes.this_process())
    with try_to_hold(path):
        pass


def test_process_numbers_of_another_container_say_nothing(path):
    leave(path, **processes.this_process() | {"pid": dead_pid(), "pid_namespace": "pid:[1]"})
    with pytest.raises(Interrupted), try_to_hold(path):
        pass


@pytest.mark.parametrize("lay", [
    os.mkfifo, Path.mkdir, lambda path: path.symlink_to("none"), lambda path: path.symlink_to("."),
])  # fmt: skip
def test_something_else_in_its_place_is_one_line_at_once(path, lay):
    lay(path)
    said = f"{path} should be a lock file and is something else"
    with pytest.raises(OSError, match=said), hold(path):
        pass
    with pytest.raises(OSError, match="remove it"):
        read_owner(path)


def test_who_comes_late_to_a_stale_lock_leaves_its_successors(path):
    """Two find the same stale lock; one removes it, and a third has made its own since."""
    leave(path)
    found = lock._read(path)
    leave(path, token="successor")
    lock._remove(path, found)
    assert read_owner(path)["token"] == "successor"


def take_turns(path, counter):
    while True:
        with hold(path) as held:
            value = int(counter.read_text() or 0)  # a killed one may have emptied it
            held.verify()
            counter.write_text(str(value + 1))


def test_writers_that_are_killed_at_any_moment_hold_up_nobody_and_leave_nothing(path, tmp_path):
    """The killed leave their lock or none; the living go on, one at a time."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    rng = random.Random(1)
    for _ in range(12):
        killed = FORK.Process(target=take_turns, args=(path, counter))
        killed.start()
        time.sleep(rng.random() / 50)
        killed.kill()
        killed.join()
    writers = [FORK.Process(target=take_turns, args=(path, counter)) for _ in range(3)]
    for writer in writers:
        writer.start()
    before = int(counter.read_text() or 0)
    while int(counter.read_text() or 0) < before + 10:
        time.sleep(0.01)
    for writer in writers:
        writer.kill()
        writer.join()
    left = {file.name for file in tmp_path.iterdir()} - {"counter", path.name}
    assert left == set()


def test_a_stopped_process_that_looks_after_locks_blocks_nobody(path, monkeypatch):
    monkeypatch.setattr(lock, "_TRIES", 3)
    with lock._alone_on_this_host(path.parent), hold(path) as held:
        held.verify()


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
