"""Faults of SLURM that Snakemake's SLURM plugin (2.8.0) does not outlive by itself.

- When slurmctld is restarted, jobs run on but no command is answered for a while. The plugin
  then forgets every job it asked for in vain, so that Snakemake waits for ever, and counts a
  submission that was not answered as a failed job.
- When a node fails to start a job, SLURM puts the job back into the queue and holds it there;
  when slurmctld loses its state, or Snakemake was asleep for longer than SLURM remembers jobs,
  SLURM does not know a job any more. The plugin waits for both for ever.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

PLUGIN = "snakemake_executor_plugin_slurm"

_PAUSE = 5.0  # seconds between two questions
_PATIENCE = 600.0  # seconds that a submission waits; what fails then is retried as ever
_UNKNOWN = 2  # checks in a row at which SLURM does not know a job, until it is given up

# Why SLURM, not a person, holds a job that could not be started.
_HELD = frozenset({"launch failed requeued held", "JobHoldMaxRequeue"})


def outlive_faults() -> None:
    """Make Snakemake's SLURM plugin outlive an absent controller, held and lost jobs.

    To be called when the workflow is read. Does nothing where the plugin is not loaded,
    or has been changed before.
    """
    plugin = sys.modules.get(PLUGIN)
    if plugin is None or getattr(plugin.Executor, "outlives_faults", False):
        return
    plugin.Executor.check_active_jobs = _forgetting_none(plugin.Executor.check_active_jobs)
    for name in ("run_job", "run_array_jobs"):
        setattr(plugin.Executor, name, _when_answered(getattr(plugin.Executor, name)))
    plugin.Executor.outlives_faults = True


def _forgetting_none(check_active_jobs: Callable[..., Any]) -> Callable[..., Any]:
    async def check(self: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
        for job in active_jobs:
            job.aux.setdefault("first_check", time.time())
        answers = self._status_query_calls
        waiting = [job async for job in check_active_jobs(self, active_jobs)]
        if active_jobs and self._status_query_calls == answers:
            self.logger.warning(
                f"SLURM does not answer; {len(active_jobs)} jobs are asked for again."
            )
            waiting = active_jobs
        elif waiting and not self._submitted_job_clusters:  # squeue shows one cluster alone
            waiting = _give_up(self, waiting)
        for job in waiting:
            yield job

    return check


def _give_up(executor: Any, jobs: list[Any]) -> Iterator[Any]:
    """Cancel held jobs and settle lost ones; yield those that are still to be waited for."""
    reasons = _reasons(executor.run_uuid)
    for job in jobs:
        known = reasons is None or job.external_jobid in reasons
        job.aux["unknown"] = 0 if known else job.aux.get("unknown", 0) + 1
        if job.aux["unknown"] >= _UNKNOWN:
            _settle(executor, job)
            continue
        if known and reasons and reasons[job.external_jobid] in _HELD:
            executor.logger.warning(
                f"SLURM could not start job {job.external_jobid} and holds it; cancelling it."
            )  # the next check finds it cancelled, and Snakemake sends it again
            subprocess.run(["scancel", job.external_jobid], capture_output=True, check=False)
        yield job


def _settle(executor: Any, job: Any) -> None:
    """Report a lost job as done if all its output is of its time, as failed otherwise."""
    outputs = [str(path) for path in job.job.output]
    if all(os.path.exists(o) and os.path.getmtime(o) >= job.aux["first_check"] for o in outputs):
        executor.report_job_success(job)
    else:
        message = f"SLURM does not know job {job.external_jobid} any more."
        executor.report_job_error(job, msg=message)


def _reasons(run: str) -> dict[str, str] | None:
    """Return why each job of a run waits, by its id; nothing when SLURM does not answer."""
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%r", "--name", run]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        return None
    lines = (line.partition("|") for line in answer.stdout.splitlines())
    return {job.strip(): reason.strip().replace("_", " ") for job, _, reason in lines}


def _when_answered(submit: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    def wait_and_submit(self: Any, jobs: Any) -> None:
        _wait_for_controller(self.logger)
        submit(self, jobs)

    return wait_and_submit


def _wait_for_controller(logger: Any) -> None:
    """Return once slurmctld, or its backup, answers, or patience ends."""
    end = time.monotonic() + _PATIENCE
    warned = False
    while not _answers() and time.monotonic() < end:
        if not warned:
            logger.warning("SLURM does not answer; submitting when it does.")
        warned = True
        time.sleep(_PAUSE)


def _answers() -> bool:
    command = ["scontrol", "show", "config"]  # unlike `ping`, content with a backup controller
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
