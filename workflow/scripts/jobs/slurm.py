"""What Snakemake's SLURM plugin (2.8.0) does not outlive, or does not do, by itself.

When it submits

- slurmctld does not answer while it is restarted, and takes no job beyond a user's limit. The
  plugin counts a submission in vain as a failed job.
- A slurmctld that is busy may take a job and answer too late: nobody would look after that one.
- What goes wrong before the plugin's own part is raised where nobody hears of it.
- A job that ran out of time wants more of it, but SLURM refuses one that wants more than its
  partition allows, or never starts it.
- Of a rule whose jobs go as arrays, the plugin holds back what Snakemake has chosen until
  nothing else of that rule is ready. With more jobs ready than `jobs` allows, that is never.

When it watches

- It forgets every job that it asked for in vain, so that Snakemake waits for ever.
- It waits for ever for a job that SLURM holds because its node failed to start it, that SLURM
  does not know any more (a finished one is remembered for MinJobAge seconds only, and
  slurmctld may lose its state), or that was cancelled to make room for another.
- A job that saves and ends when it is preempted counts as failed, as often as that happens.
- It looks less and less often, at last less often than SLURM forgets jobs.
- What users have set for themselves, as SQUEUE_PARTITION, hides jobs from it.
- Interrupted while it looks, it cancels none of the jobs that it looks for; nor any other once
  one of them is unknown to SLURM.
- Its thread may look for jobs before it knows what it needs for that, and dies without a word.

In the job

- The command that starts the job's step has lost ``SLURM_CONF``.
- Snakemake and others keep caches at home, which a node may not be able to write to.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from jobs.slurm_commands import ask, plain_environment

PLUGIN = "snakemake_executor_plugin_slurm"
JOBSTEP = "snakemake_executor_plugin_slurm_jobstep"

_PAUSE = 5.0  # seconds between two questions
_PATIENCE = 600.0  # seconds that a submission waits for an answer; then it fails, and is retried
_UNKNOWN = 2  # checks in a row at which SLURM does not know a job, until it is given up

# Why SLURM, not a person, holds a job that could not be started.
_HELD = frozenset({"launch failed requeued held", "JobHoldMaxRequeue"})

# How a job ends that made room for another, and is not started again by SLURM.
_ENDED_EARLY = frozenset({"FAILED", "PREEMPTED"})

# The states that a job does not leave.
_ENDED = _ENDED_EARLY | {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "NODE_FAIL", "OUT_OF_MEMORY", "REVOKED",
    "TIMEOUT",
}  # fmt: skip

# How SLURM calls the limits on the number of jobs in the queue.
_FULL = re.compile(r"\b(?:QOS|Assoc)\w*Submit\w*Limit\b")

# What its commands say when slurmctld went away, or did not answer in time.
_AWAY = re.compile(
    r"Unable to contact slurm controller|Socket timed out on send/recv|Connection refused"
    r"|Zero Bytes were transmitted or received|Transport endpoint is not connected"
)


def outlive_faults() -> None:
    """Mend Snakemake's SLURM plugins where they are loaded.

    To be called when the workflow is read. Does nothing where they have been mended before.
    """
    if (plugin := sys.modules.get(PLUGIN)) and not hasattr(plugin.Executor, "outlives_faults"):
        _mend(plugin)
    if (jobstep := sys.modules.get(JOBSTEP)) and jobstep.subprocess is subprocess:
        jobstep.subprocess = _KeepingConfiguration


def _mend(plugin: Any) -> None:
    executor = plugin.Executor
    executor.outlives_faults = True
    for name, wrap in {
        "__post_init__": _prepared,
        "cancel": _ending,
        "cancel_jobs": _as_far_as_possible,
        "run_job": _when_taken,
        "run_array_jobs": _as_arrays,
        "_report_job_submission_threadsafe": _noting_outputs,
        "report_job_error": _noting_timeouts,
        "_report_job_error_threadsafe": _noting_refusals,
        "check_active_jobs": _losing_none,
    }.items():
        setattr(executor, name, wrap(getattr(executor, name)))
    # It is asked how many more jobs of a rule to wait for, before an array is submitted.
    plugin.pending_jobs_for_rule = lambda dag, rule: 0


class _KeepingConfiguration:
    """The module `subprocess`, for processes that find SLURM where this one does."""

    PIPE = subprocess.PIPE

    @staticmethod
    def Popen(*arguments: Any, env: dict[str, str], **options: Any) -> subprocess.Popen:  # noqa: N802
        kept = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
        return subprocess.Popen(*arguments, env=env | kept, **options)


class _Submission(threading.local):
    """What an executor's submission in this thread came to."""

    def __init__(self) -> None:
        self.refused: list[Any] = []
        self.patient_until = 0.0


def _prepared(post_init: Callable[..., None]) -> Callable[..., None]:
    def prepare(self: Any, *arguments: Any, **options: Any) -> None:
        # Jobs inherit it, and can write there. A project that was fetched lies in the cache itself.
        if not Path(__file__).is_relative_to(self.workflow.sourcecache.cache_path):
            os.environ.setdefault("XDG_CACHE_HOME", os.path.abspath(".snakemake/cache"))
        plain = plain_environment()  # for what the plugin asks of SLURM
        for name in os.environ.keys() - plain.keys():
            del os.environ[name]
        os.environ.update(plain)
        self.ending, self.submission = threading.Event(), _Submission()
        self.submitting, self.sent = 0, set()
        self.asked_time: dict[Any, int] = {}
        self.timeouts: Counter[Any] = Counter()
        self.partition_limits: dict[str, float] = {}
        self.full = False
        post_init(self, *arguments, **options)

    return prepare


# ---- Submission ----


def _ending(cancel: Callable[[Any], None]) -> Callable[[Any], None]:
    def end(self: Any) -> None:
        self.ending.set()  # or what waits to be submitted would be, after all else is cancelled
        cancel(self)
        # What was being submitted, or looked at.
        if ask("scancel", "--name", self.run_uuid) is None:
            self.logger.warning(f"SLURM does not answer. Later: scancel --name {self.run_uuid}")

    return end


def _as_far_as_possible(cancel_jobs: Callable[[Any, list], None]) -> Callable[[Any, list], None]:
    def cancel(self: Any, jobs: list[Any]) -> None:
        try:
            cancel_jobs(self, jobs)
        except Exception as error:  # one job that SLURM does not know any more is enough
            self.logger.debug(f"Not all jobs were cancelled one by one: {error}")

    return cancel


def _when_taken(run_job: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    def submit(self: Any, job: Any) -> None:
        self.submission.patient_until = time.monotonic() + _PATIENCE
        while not self.ending.is_set():
            with _submitting(self):
                try:
                    _wait_for_controller(self)
                    _set_time(self, job)
                    run_job(self, job)
                except Exception as error:  # nobody reads what is raised here
                    self._report_job_error_threadsafe(_named(job), f"Not submitted: {error}")
            if not self.submission.refused:
                self.full = False
                return
            self.ending.wait(_PAUSE)

    return submit


def _as_arrays(run_array_jobs: Callable[[Any, list], None]) -> Callable[[Any, list], None]:
    def submit(self: Any, jobs: list[Any]) -> None:
        left = jobs
        with _submitting(self), suppress(Exception):  # which a job of its own will tell of
            _wait_for_controller(self)
            for job in jobs:
                _set_time(self, job)
            for minutes in sorted({job.resources.get("runtime") or 0 for job in jobs}):
                alike = [job for job in jobs if (job.resources.get("runtime") or 0) == minutes]
                if self.ending.is_set():
                    return
                run_array_jobs(self, alike)
                left = [job for job in left if job not in alike] + self.submission.refused
                self.submission.refused = []
        for job in left:  # as many as there is room for
            self.run_job(job)

    return submit


@contextmanager
def _submitting(executor: Any) -> Iterator[None]:
    """Have it known that SLURM may have a job now that nobody knows the number of."""
    executor.submission.refused = []
    with executor.lock:
        executor.submitting += 1
    try:
        yield
    finally:
        with executor.lock:
            executor.submitting -= 1


def _named(job: Any) -> Any:
    """Return a job as the plugin tells Snakemake of it."""
    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

    return SubmittedJobInfo(job)


def _noting_refusals(report: Callable[..., None]) -> Callable[..., None]:
    def note_or_report(self: Any, job: Any, msg: str) -> None:
        if limit := _FULL.search(msg):
            if not self.full:
                self.logger.warning(
                    f"SLURM takes no more jobs ({limit[0]}); submitting when it does."
                )
            self.full = True
            self.submission.patient_until = time.monotonic() + _PATIENCE  # it answers
        elif "failed array sbatch submission" not in msg and not _is_worth_waiting(self, msg):
            report(self, job, msg)
            return
        self.submission.refused.append(job.job)

    return note_or_report


def _is_worth_waiting(executor: Any, msg: str) -> bool:
    """Tell whether slurmctld went away during a submission, and may come back."""
    return bool(_AWAY.search(msg)) and time.monotonic() < executor.submission.patient_until


def _wait_for_controller(executor: Any) -> None:
    """Return once slurmctld, or its backup, answers, or patience or the run ends."""
    end = time.monotonic() + _PATIENCE
    warned = False
    while not _answers() and time.monotonic() < end and not executor.ending.is_set():
        if not warned:
            executor.logger.warning("SLURM does not answer; submitting when it does.")
        warned = True
        executor.ending.wait(_PAUSE)


def _answers() -> bool:
    # Unlike `scontrol ping`, content with a backup controller.
    return ask("scontrol", "show", "config") is not None


# ---- Time ----


def _noting_timeouts(report_job_error: Callable[..., None]) -> Callable[..., None]:
    def report(self: Any, job: Any, msg: str | None = None, **options: Any) -> None:
        self.timeouts[job.job] += "'TIMEOUT'" in (msg or "")
        report_job_error(self, job, msg=msg, **options)

    return report


def _set_time(executor: Any, job: Any) -> None:
    """Give a job its rule's time once more for every time that it ran out, within the limits."""
    if job.is_group() or not (now := job.resources.get("runtime")):
        return
    asked = executor.asked_time.setdefault((job, job.attempt), now)
    wanted = asked * (1 + executor.timeouts[job])
    limits = [_partition_limit(executor, job), _most_time(job)]
    job.resources.runtime = max(1, int(min(wanted, *limits)))
    if job.resources.runtime < wanted:
        executor.logger.info(
            f"Job {job.jobid} gets {job.resources.runtime} minutes, not {wanted}: the most allowed."
        )
    elif wanted > asked:
        executor.logger.info(f"Job {job.jobid} ran out of time; it gets {wanted} minutes.")


def _most_time(job: Any) -> float:
    """Return how many minutes the site allows a job; ``max_runtime`` may be 12h, as runtime may."""
    from snakemake.resources import Resource

    return Resource.parse_human_friendly("runtime", job.resources.get("max_runtime")) or math.inf


def _partition_limit(executor: Any, job: Any) -> float:
    """Return how many minutes a job's partition allows; the most, where it names several."""
    partition = executor.get_partition_arg(job).split()[1:]
    name = partition[0].strip("'\"") if partition else ""
    if name not in executor.partition_limits:
        chosen = ["--partition", name] if name else []
        answer = ask("sinfo", "--noheader", "--format=%l", *chosen)
        if not answer:
            return math.inf
        executor.partition_limits[name] = max(map(_minutes, answer.split()))
    return executor.partition_limits[name]


def _minutes(time: str) -> float:
    """Read a time as SLURM prints it, ``[days-][hours:]minutes:seconds``, or ``infinite``."""
    if not (found := re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", time)):
        return math.inf
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 1440 * days + 60 * hours + minutes + seconds / 60


# ---- Watching ----


class _Known(NamedTuple):
    """What SLURM knows of a job: its state, why it waits, and when it was preempted."""

    state: str
    reason: str
    preempted: str


def _noting_outputs(report: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    def note(self: Any, job: Any) -> None:
        self.sent.add(job.external_jobid)
        job.aux["found"] = _outputs(job)
        report(self, job)

    return note


def _outputs(job: Any) -> list[tuple[int, ...] | None]:
    """Return what tells whether an output was written since; None where there is none.

    No time is compared with this host's, which may differ from that of the file server.
    """
    found: list[tuple[int, ...] | None] = []
    for path in map(str, job.job.output):
        try:
            stat = os.stat(path)
            found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
        except OSError:
            found.append(None)
    return found


def _losing_none(check_active_jobs: Callable[..., Any]) -> Callable[..., Any]:
    async def check(self: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
        settings = self.workflow.executor_settings
        self.next_seconds_between_status_checks = settings.init_seconds_before_status_checks
        if not active_jobs:  # the executor may not be ready: its thread starts before it is
            return
        submitting = self.submitting
        known = _known(self.run_uuid)
        if known is None:
            self.logger.warning(
                f"SLURM does not answer; {len(active_jobs)} jobs are asked for again."
            )
            for job in active_jobs:
                yield job
            return
        if not submitting and not self.submitting:
            _cancel_strays(self, known)
        jobs = [job for job in active_jobs if not _made_room(self, job, known)]
        # The plugin asks again. Of a job that ends meanwhile it would not know why.
        alive, ended = [], []
        for job in jobs:
            (alive if _is_alive(known.get(job.external_jobid)) else ended).append(job)
        answers = self._status_query_calls
        waiting = [job async for job in check_active_jobs(self, ended)]
        self.next_seconds_between_status_checks = settings.init_seconds_before_status_checks
        if ended and self._status_query_calls == answers:
            waiting = ended
        for job in _still_to_come(self, alive + waiting, known):
            yield job

    return check


def _known(run: str) -> dict[str, _Known] | None:
    """Return what SLURM knows of the jobs of a run, by their ids; None when it does not answer."""
    answer = ask(
        "squeue", "--noheader", "--array", "--states=all", "--name", run,
        "--Format=JobArrayID:|,State:|,Reason:|,PreemptTime:|",
    )  # fmt: skip
    if answer is None:
        return None
    lines = ([field.strip() for field in line.split("|")] for line in answer.splitlines())
    return {
        job: _Known(state, reason.replace("_", " "), preempted)
        for job, state, reason, preempted, *_ in (line for line in lines if len(line) > 3)
    }


def _is_alive(found: _Known | None) -> bool:
    return found is not None and found.state not in _ENDED


def _cancel_strays(executor: Any, known: dict[str, _Known]) -> None:
    """Cancel what SLURM took although it told otherwise: it was sent again, or has failed."""
    for job in known.keys() - executor.sent:
        if _is_alive(known[job]):
            executor.logger.warning(f"SLURM has job {job}, which it said it did not take.")
            ask("scancel", job)


def _made_room(executor: Any, job: Any, known: dict[str, _Known]) -> bool:
    """Submit a job again that made room for another; tell whether this was one."""
    if not (found := known.get(job.external_jobid)):
        return False
    job.aux["preempted"] = found.preempted[:1].isdigit() or found.state == "PREEMPTED"
    if found.state not in _ENDED_EARLY or not job.aux["preempted"]:
        return False
    return _sent_again(executor, job)


def _sent_again(executor: Any, job: Any) -> bool:
    if executor.ending.is_set():
        return False
    executor.logger.info(f"SLURM preempted job {job.external_jobid}; it is sent again.")
    executor._job_submission_executor.submit(executor.run_job, job.job)
    return True


def _still_to_come(executor: Any, jobs: list[Any], known: dict[str, _Known]) -> list[Any]:
    """Cancel held jobs, settle lost ones, and return those that are to be asked for again."""
    if executor._submitted_job_clusters:  # squeue shows one cluster alone
        return jobs
    for job in jobs:
        found = known.get(job.external_jobid)
        job.aux["unknown"] = 0 if found else job.aux.get("unknown", 0) + 1
        if found and found.reason in _HELD:
            executor.logger.warning(
                f"SLURM could not start job {job.external_jobid} and holds it; cancelling it."
            )  # the next check finds it cancelled, and Snakemake sends it again
            ask("scancel", job.external_jobid)
    lost = [job for job in jobs if job.aux["unknown"] >= _UNKNOWN]
    for job in lost:
        _settle(executor, job)
    return [job for job in jobs if job not in lost]


def _settle(executor: Any, job: Any) -> None:
    """Report a lost job as failed if output of an earlier run is there, else as done.

    Snakemake then waits for output that does not show yet, and counts the job as failed
    when none comes. One that was making room for another when it was last seen is sent again,
    unless it has made something.
    """
    message = f"SLURM does not know job {job.external_jobid} any more."
    before, now = job.aux["found"], _outputs(job)
    if job.aux.get("preempted") and before == now and _sent_again(executor, job):
        return
    if any(then is not None and then == state for then, state in zip(before, now, strict=True)):
        executor.report_job_error(job, msg=message)
    else:
        executor.logger.warning(f"{message} Looking for what it made.")
        executor.report_job_success(job)
