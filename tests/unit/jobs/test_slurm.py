"""Snakemake's SLURM plugin outlives an absent controller, held and lost jobs."""

import asyncio
import logging
import os
import sys
import types

import pytest

from jobs import slurm


class Job:
    """A job that Snakemake has submitted."""

    def __init__(self, number, *outputs):
        self.external_jobid, self.aux = str(number), {}
        self.job = types.SimpleNamespace(output=outputs)


def submitted(executor, number, *outputs):
    """Submit a job that makes these outputs."""
    job = Job(number, *outputs)
    executor.report_job_submission(job, register_job=True)
    return job


class Executor:
    """The plugin's executor: what no query answers it forgets, what it submits may fail."""

    logger = logging.getLogger("plugin")
    run_uuid = "the run"

    def __init__(self):
        self._status_query_calls, self.slurm_answers = 0, True
        self._submitted_job_clusters = set()
        self.submitted, self.finished, self.done, self.failed = [], [], [], {}

    async def check_active_jobs(self, active_jobs):
        if self.slurm_answers:
            self._status_query_calls += 1
            for job in active_jobs:
                if job not in self.finished:
                    yield job

    def report_job_submission(self, job, register_job):
        assert register_job  # what Snakemake hands over arrives

    def report_job_success(self, job):
        self.done.append(job)

    def report_job_error(self, job, msg):
        self.failed[job] = msg

    def run_job(self, job):
        self.submitted.append(job)

    def run_array_jobs(self, jobs):
        self.submitted.extend(jobs)


class Commands:
    """Stand-ins for squeue, which says what `answer` was told, and scancel."""

    def __init__(self, folder):
        self._folder = folder
        for name, script in (("squeue", f"exec cat {folder}/answer"),
                             ("scancel", f'echo "$@" >> {folder}/cancelled')):  # fmt: skip
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)

    def answer(self, **reasons):
        """Let squeue know these jobs alone."""
        lines = [f"{job.removeprefix('job_')}|{reason}\n" for job, reason in reasons.items()]
        (self._folder / "answer").write_text("".join(lines))

    @property
    def cancelled(self):
        path = self._folder / "cancelled"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def commands(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return Commands(tmp_path)


@pytest.fixture
def executor(monkeypatch, commands):
    plugin = types.ModuleType(slurm.PLUGIN)
    plugin.Executor = type("Executor", (Executor,), {})
    monkeypatch.setitem(sys.modules, slurm.PLUGIN, plugin)
    monkeypatch.setattr(slurm, "_PAUSE", 0)
    slurm.outlive_faults()
    slurm.outlive_faults()  # the workflow is read again: nothing is wrapped twice
    return plugin.Executor()


def still_active(executor, *jobs):
    async def collect():
        return [job async for job in executor.check_active_jobs(list(jobs))]

    return asyncio.run(collect())


def test_no_job_is_forgotten_while_slurm_does_not_answer(executor, commands):
    finished, running = Job(1), Job(2)
    executor.finished = [finished]
    executor.slurm_answers = False  # nor does squeue, which has no answer to give
    assert still_active(executor, finished, running) == [finished, running]
    executor.slurm_answers = True
    commands.answer(job_2="None")
    assert still_active(executor, finished, running) == [running]


@pytest.mark.parametrize("reason", ["launch failed requeued held", "JobHoldMaxRequeue"])
def test_a_job_that_slurm_holds_is_cancelled(executor, commands, caplog, reason):
    commands.answer(job_1=reason, job_2="JobHeldUser", job_3="Resources", job_4_7="None")
    jobs = [Job(1), Job(2), Job(3), Job("4_7")]
    assert still_active(executor, *jobs) == jobs  # the next check will find it cancelled
    assert commands.cancelled == ["1"]
    assert [record.message for record in caplog.records] == [
        "SLURM could not start job 1 and holds it; cancelling it."
    ]


def lose(executor, commands, job):
    """Check a job as often as it takes to be given up."""
    commands.answer()
    checks = [still_active(executor, job) for _ in range(slurm._UNKNOWN)]
    assert checks == [[job]] * (slurm._UNKNOWN - 1) + [[]]


def test_a_lost_job_that_has_only_old_output_has_failed(executor, commands, tmp_path):
    job = submitted(executor, 1, tmp_path / "missing", tmp_path / "old")
    (tmp_path / "old").touch()
    os.utime(tmp_path / "old", (0, 0))
    lose(executor, commands, job)
    assert executor.failed == {job: "SLURM does not know job 1 any more."}
    assert executor.done == []


def test_what_another_lost_job_has_made_is_left_to_snakemake(executor, commands, tmp_path):
    job = submitted(executor, 1, tmp_path / "missing", tmp_path / "new")
    (tmp_path / "new").touch()
    os.utime(tmp_path / "new", (job.aux["submitted"] + 1,) * 2)  # clocks of files are coarse
    lose(executor, commands, job)
    assert executor.done == [job]
    assert executor.failed == {}


def test_the_queue_tells_when_accounting_does_not_answer(executor, commands, caplog):
    """Where sacct is asked in vain, a job that leaves the queue has ended."""
    executor.slurm_answers = False
    waiting, ended = submitted(executor, 1), submitted(executor, 2)
    commands.answer(job_1="None")
    for _ in range(slurm._UNKNOWN):
        active = still_active(executor, waiting, ended)
    assert active == [waiting]
    assert executor.done == [ended]
    assert "SLURM does not answer" not in caplog.text


def test_a_job_is_lost_only_when_it_is_unknown_time_after_time(executor, commands):
    job = Job(1)
    for _ in range(slurm._UNKNOWN):
        commands.answer()
        assert still_active(executor, job) == [job]
        commands.answer(job_1="None")
        assert still_active(executor, job) == [job]
    assert executor.failed == {}


def test_jobs_of_other_clusters_are_not_taken_for_lost(executor, commands):
    executor._submitted_job_clusters = {"another"}
    commands.answer()
    job = Job(1)
    assert [still_active(executor, job) for _ in range(slurm._UNKNOWN)] == [[job]] * slurm._UNKNOWN


@pytest.mark.parametrize(("submit", "jobs"), [("run_job", "job"), ("run_array_jobs", ["job"])])
def test_a_submission_waits_until_slurm_answers(executor, monkeypatch, caplog, submit, jobs):
    answers = iter([False, False, True])
    monkeypatch.setattr(slurm, "_answers", lambda: next(answers))
    getattr(executor, submit)(jobs)
    assert executor.submitted == ["job"]
    assert [record.message for record in caplog.records] == [
        "SLURM does not answer; submitting when it does."
    ]


def test_a_submission_does_not_wait_for_ever(executor, monkeypatch):
    monkeypatch.setattr(slurm, "_answers", lambda: False)
    monkeypatch.setattr(slurm, "_PATIENCE", 0)
    executor.run_job("job")
    assert executor.submitted == ["job"]


def test_without_the_plugin_nothing_happens(monkeypatch):
    monkeypatch.delitem(sys.modules, slurm.PLUGIN, raising=False)
    slurm.outlive_faults()
