"""Faults of SLURM that Snakemake's SLURM plugin (2.8.0) does not outlive by itself.

- When slurmctld is restarted, jobs run on but no command is answered for a while. The plugin
  then forgets every job it asked for in vain, so that Snakemake waits for ever, and counts a
  submission that was not answered as a failed job.
- When a node fails to start a job, SLURM puts the job back into the queue and holds it there.
  The plugin waits for ever.
- SLURM may not know a job any more: it remembers a finished one for MinJobAge seconds only,
  and slurmctld may lose its state. Without accounting, the plugin waits for ever.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

PLUGIN = "snakemake_executor_plugin_slurm"

_PAUSE = 5.0  # seconds between two questions
_PATIENCE = 600.0  # seconds that a submission waits for an answer; then it fails, and is retried
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
    executor = plugin.Executor
    executor.check_active_jobs = _losing_none(executor.check_active_jobs)
    executor.report_job_submission = _noting_time(executor.report_job_submission)
    for name in ("run_job", "run_array_jobs"):
        setattr(executor, name, _when_answered(getattr(executor, name)))
    executor.outlives_faults = True


def _noting_time(report_job_submission: Callable[..., None]) -> Callable[..., None]:
    def report(self: Any, job: Any, *arguments: Any, **options: Any) -> None:
        job.aux["submitted"] = time.time()
        report_job_submission(self, job, *arguments, **options)

    return report


def _losing_none(check_active_jobs: Callable[..., Any]) -> Callable[..., Any]:
    async def check(self: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
        answers = self._status_query_calls
        waiting = [job async for job in check_active_jobs(self, active_jobs)]
        if active_jobs and self._status_query_calls == answers:
            waiting = active_jobs
        for job in _still_to_come(self, waiting):
            yield job

    return check


def _still_to_come(executor: Any, jobs: list[Any]) -> list[Any]:
    """Cancel held jobs, settle lost ones, and return those that are to be asked for again."""
    reasons = _reasons(executor.run_uuid) if jobs else {}
    if reasons is None:
        executor.logger.warning(f"SLURM does not answer; {len(jobs)} jobs are asked for again.")
        return jobs
    if executor._submitted_job_clusters:  # squeue shows one cluster alone
        return jobs
    for job in jobs:
        reason = reasons.get(job.external_jobid)
        job.aux["unknown"] = job.aux.get("unknown", 0) + 1 if reason is None else 0
        if reason in _HELD:
            executor.logger.warning(
                f"SLURM could not start job {job.external_jobid} and holds it; cancelling it."
            )  # the next check finds it cancelled, and Snakemake sends it again
            subprocess.run(["scancel", job.external_jobid], capture_output=True, check=False)
    lost = [job for job in jobs if job.aux["unknown"] >= _UNKNOWN]
    for job in lost:
        _settle(executor, job)
    return [job for job in jobs if job not in lost]


def _settle(executor: Any, job: Any) -> None:
    """Report a lost job as failed if output of an earlier run is there, else as done.

    Snakemake then waits for output that does not show yet, and counts the job as failed
    when none comes.
    """
    message = f"SLURM does not know job {job.external_jobid} any more."
    outputs = [str(path) for path in job.job.output]
    if any(os.path.exists(o) and os.path.getmtime(o) < job.aux["submitted"] for o in outputs):
        executor.report_job_error(job, msg=message)
    else:
        executor.logger.warning(f"{message} Looking for what it made.")
        executor.report_job_success(job)


def _reasons(run: str) -> dict[str, str] | None:
    """Return why each job of a run waits, by its id; nothing when SLURM does not answer."""
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%r", "--name", run]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        return None
    reasons = dict(line.split("|", 1) for line in answer.stdout.splitlines())
    return {job: reason.replace("_", " ") for job, reason in reasons.items()}


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
