"""Outages of SLURM's controller, which Snakemake's SLURM plugin does not outlive by itself.

When slurmctld is restarted, jobs run on but no command is answered for a while. The plugin
(2.8.0) then forgets every job it asked for in vain, so that Snakemake waits for ever, and
counts a submission that was not answered as a failed job.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

PLUGIN = "snakemake_executor_plugin_slurm"

_PAUSE = 5.0  # seconds between two questions
_PATIENCE = 600.0  # seconds that a submission waits; what fails then is retried as ever


def outlive_outages() -> None:
    """Make Snakemake's SLURM plugin wait for a controller that does not answer.

    To be called when the workflow is read. Does nothing where the plugin is not loaded,
    or has been changed before.
    """
    plugin = sys.modules.get(PLUGIN)
    if plugin is None or getattr(plugin.Executor, "outlives_outages", False):
        return
    check_active_jobs = plugin.Executor.check_active_jobs

    async def check(self: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
        answers = self._status_query_calls
        async for job in check_active_jobs(self, active_jobs):
            yield job
        if active_jobs and self._status_query_calls == answers:
            self.logger.warning(
                f"SLURM does not answer; {len(active_jobs)} jobs are asked for again."
            )
            for job in active_jobs:
                yield job

    plugin.Executor.check_active_jobs = check
    for name in ("run_job", "run_array_jobs"):
        setattr(plugin.Executor, name, _when_answered(getattr(plugin.Executor, name)))
    plugin.Executor.outlives_outages = True


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
