"""Whoever wants to show what runs reads it from a small file beside each job's log."""

import json
import multiprocessing
import os
import time

import pytest

from dds import progress
from dds.progress import Progress, preparing
from jobs import processes, running
from jobs.processes import STALE_AFTER
from jobs.running import note, progress_path, read_record, read_running, recorded

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(running, "INTERVAL", 0.005)
    monkeypatch.setattr(running, "_facts", {})
    monkeypatch.setattr(progress, "_current", None)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "results/s/logs/certify_shard/e/sigma_0.25/images_00000-00009.log"
    path.parent.mkdir(parents=True)
    return path


def wait_until(log, is_so):
    """Read the record until it is as wanted."""
    while (found := read_record(progress_path(log))) is None or not is_so(found):
        time.sleep(0.002)
    return found


def test_a_job_says_what_it_is_and_how_far(log, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with recorded("certify_shard", log):
        found = wait_until(log, lambda job: job.state == "starting")
        assert (found.kind, found.name) == ("certify", "e sigma 0.25 images_00000-00009")
        assert (found.pid, found.slurm_job) == (os.getpid(), "17")
        note(device="a GPU", waits_for="process 3 on n4")
        assert wait_until(log, lambda job: job.device == "a GPU").state == "waiting"
        note(waits_for=None)
        with Progress(100, "label", "samples", done=10) as work:
            with preparing("compiling 2 networks"):
                wait_until(log, lambda job: job.preparing == "compiling 2 networks")
            work.advance(10)
            work.advance(10, total=60)
            found = wait_until(log, lambda job: job.done == 30)
            assert (found.state, found.total, found.unit) == ("running", 60, "samples")
            assert found.preparing is None
            assert found.seconds_left == pytest.approx(30 / found.rate, rel=0.01, abs=0.1)
        assert [job.pid for job in read_running(log.parents[3])] == [os.getpid()]
    assert list(log.parent.iterdir()) == []


def test_work_in_parts_is_as_far_as_its_parts(log):
    with (
        recorded("certify_shard", log),
        Progress(None, "label", "samples", parts=16, part_unit="images") as work,
    ):
        work.advance(900, total=2000, parts_done=7)
        assert wait_until(log, lambda job: job.done == 900).share == "7 of 16 images"
    with recorded("train", log), Progress(2000, "label", "iterations") as work:
        work.advance(500)
        assert wait_until(log, lambda job: job.done == 500).share == "25%"


def be_recorded(log, begun):
    with recorded("certify_shard", log):
        wait_until(log, lambda job: job.pid == os.getpid())
        begun.set()
        time.sleep(600)


def test_a_killed_job_does_not_run(log):
    begun = FORK.Event()
    job = FORK.Process(target=be_recorded, args=(log, begun))
    job.start()
    begun.wait()
    assert [found.pid for found in read_running(log.parents[3])] == [job.pid]
    job.kill()
    job.join()
    assert progress_path(log).exists()
    assert read_running(log.parents[3]) == []


def leave(log):
    """Leave the record of a job on another host."""
    with recorded("certify_shard", log):
        wait_until(log, lambda job: True)
        record = json.loads(progress_path(log).read_text())
    progress_path(log).write_text(json.dumps(record | {"host": "node7", "of_a_later_version": 1}))


@pytest.mark.parametrize(("age", "runs"), [(0, 1), (STALE_AFTER + 1, 0)])
def test_a_job_elsewhere_lives_by_its_last_sign(log, age, runs):
    leave(log)
    os.utime(progress_path(log), (time.time() - age,) * 2)
    assert len(read_running(log.parents[3])) == runs


@pytest.mark.parametrize("off", [-150, 150])
def test_a_file_server_with_another_clock_hides_no_job(log, monkeypatch, off):
    leave(log)
    here = time.time
    monkeypatch.setattr(time, "time", lambda: here() + off)
    assert len(read_running(log.parents[3])) == 1
    assert [path for path in log.parents[3].rglob("*") if path.is_file()] == [progress_path(log)]


def test_who_may_only_read_sees_what_runs(log, monkeypatch):
    def refuse(**options):
        raise PermissionError(f"no file in {options['dir']}")

    leave(log)
    monkeypatch.setattr(processes.tempfile, "TemporaryFile", refuse)
    assert len(read_running(log.parents[3])) == 1


@pytest.mark.parametrize("content", ["", "[]", '{"pid": 1e999}', "[" * 100_000, '{"host": "a"}'])
def test_what_is_no_record_is_none(log, content):
    progress_path(log).write_text(content)
    assert read_record(progress_path(log)) is None


def test_a_record_that_cannot_be_written_is_no_harm(log, read_only):
    read_only(log.parent)
    with recorded("certify_shard", log):
        pass
