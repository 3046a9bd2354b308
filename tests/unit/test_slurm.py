"""Snakemake's SLURM plugin keeps its jobs while SLURM's controller is away."""

import asyncio
import logging
import sys
import types

import pytest

from support import slurm


class Executor:
    """The plugin's executor: what no query answers it forgets, what it submits may fail."""

    logger = logging.getLogger("plugin")

    def __init__(self):
        self._status_query_calls, self.slurm_answers, self.submitted = 0, True, []

    async def check_active_jobs(self, active_jobs):
        if self.slurm_answers:
            self._status_query_calls += 1
            for job in active_jobs:
                if job != "finished":
                    yield job

    def run_job(self, job):
        self.submitted.append(job)

    def run_array_jobs(self, jobs):
        self.submitted.extend(jobs)


@pytest.fixture
def executor(monkeypatch):
    plugin = types.ModuleType(slurm.PLUGIN)
    plugin.Executor = type("Executor", (Executor,), {})
    monkeypatch.setitem(sys.modules, slurm.PLUGIN, plugin)
    monkeypatch.setattr(slurm, "_PAUSE", 0)
    slurm.outlive_outages()
    slurm.outlive_outages()  # the workflow is read again: nothing is wrapped twice
    return plugin.Executor()


def still_active(executor, jobs):
    async def collect():
        return [job async for job in executor.check_active_jobs(jobs)]

    return asyncio.run(collect())


def test_no_job_is_forgotten_while_slurm_does_not_answer(executor):
    jobs = ["finished", "running"]
    executor.slurm_answers = False
    assert still_active(executor, jobs) == jobs
    executor.slurm_answers = True
    assert still_active(executor, jobs) == ["running"]


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
    slurm.outlive_outages()
