"""Snakemake's SLURM plugin outlives what befalls its jobs, and submits what SLURM takes."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest

from jobs import slurm


class Resources(types.SimpleNamespace):
    """What a job asks for."""

    def get(self, name):
        return vars(self).get(name)


class Task:
    """A job as Snakemake has it: what is submitted."""

    jobid = 7

    def __init__(self, *outputs, attempt=1, **resources):
        self.output, self.attempt, self.resources = outputs, attempt, Resources(**resources)

    def is_group(self):
        return False


class Job:
    """A job that Snakemake has submitted."""

    def __init__(self, number, *outputs):
        self.external_jobid, self.aux = str(number), {}
        self.job = Task(*outputs)


def submitted(executor, number, *outputs):
    """Submit a job that makes these outputs."""
    job = Job(number, *outputs)
    executor._report_job_submission_threadsafe(job)
    return job


class Executor:
    """The plugin's executor: what no query answers it forgets, what it submits may fail."""

    logger = logging.getLogger("plugin")
    run_uuid = "the run"
    partition, cache = "", Path("/cache")

    def __init__(self):
        settings = types.SimpleNamespace(init_seconds_before_status_checks=30)
        cache = types.SimpleNamespace(cache_path=self.cache)
        self.workflow = types.SimpleNamespace(executor_settings=settings, sourcecache=cache)
        self._status_query_calls, self.slurm_answers = 0, True
        self._submitted_job_clusters = set()
        self.refusals, self.cancelled, self.lock = [], False, threading.Lock()
        self.submitted, self.finished, self.done, self.failed = [], [], [], {}
        self._job_submission_executor = types.SimpleNamespace(submit=lambda send, job: send(job))
        self.__post_init__()

    def __post_init__(self):
        self.next_seconds_between_status_checks = 30

    async def check_active_jobs(self, active_jobs):
        self.next_seconds_between_status_checks += 10
        if self.slurm_answers:
            self._status_query_calls += 1
            for job in active_jobs:
                if job not in self.finished:
                    yield job

    def cancel(self):
        self.cancel_jobs([])
        self.cancelled = True

    def get_partition_arg(self, job):
        return f" -p {self.partition}" if self.partition else ""

    def cancel_jobs(self, active_jobs):
        raise RuntimeError("scancel: error: Invalid job id specified")

    def _report_job_submission_threadsafe(self, job):
        pass

    def report_job_success(self, job):
        self.done.append(job)

    def report_job_error(self, job, msg):
        self.failed[job] = msg

    def _report_job_error_threadsafe(self, job, msg):
        self.failed[job.job] = msg

    def run_job(self, job):
        self._run([job], "{}")

    def run_array_jobs(self, jobs):
        self._run(jobs, "Part of failed array sbatch submission (tasks 1-2); see log for details.")

    def _run(self, jobs, message):
        refusal = self.refusals.pop(0) if self.refusals else None
        for job in jobs:
            if refusal:
                info = types.SimpleNamespace(job=job)
                self._report_job_error_threadsafe(info, message.format(refusal))
        if not refusal:
            self.submitted.append(jobs)


class Commands:
    """Stand-ins for SLURM's commands: each prints what `answer` was told, scancel notes."""

    def __init__(self, folder):
        self._folder = folder
        for name, script in (("squeue", f"exec cat {folder}/squeue.answer"),
                             ("sinfo", f"exec cat {folder}/sinfo.answer"),
                             ("scancel", f'echo "$@" >> {folder}/cancelled')):  # fmt: skip
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)

    def answer(self, **reasons):
        """Let squeue know these jobs alone, and why they wait."""
        self.know(**{job: ("PENDING", reason) for job, reason in reasons.items()})

    def know(self, **jobs):
        """Let squeue know these jobs alone: their state, reason and time of preemption."""
        lines = [
            "|".join(
                [job.removeprefix("job_"), *(fields + ("None", "N/A")[len(fields) - 1 :]), "\n"]
            )
            for job, fields in jobs.items()
        ]
        (self._folder / "squeue.answer").write_text("".join(lines))

    def allow(self, *times):
        """Let sinfo print these limits."""
        (self._folder / "sinfo.answer").write_text("".join(f"{time}\n" for time in times))

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
    monkeypatch.setattr(slurm, "_answers", lambda: True)
    monkeypatch.setenv("XDG_CACHE_HOME", "kept")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "changed by the executor")
    slurm.outlive_faults()
    slurm.outlive_faults()  # the workflow is read again: nothing is wrapped twice
    return plugin.Executor()


def still_active(executor, *jobs):
    for job in jobs:
        if "found" not in job.aux:
            executor._report_job_submission_threadsafe(job)

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


@pytest.mark.parametrize(
    "found", [("FAILED", "NonZeroExitCode", "2026-11-26T06:20:00"), ("PREEMPTED", "None", "N/A")]
)
def test_a_job_that_made_room_for_another_is_sent_again(executor, commands, found):
    job = Job(1)
    commands.know(job_1=found)
    assert still_active(executor, job) == []
    assert executor.submitted == [[job.job]]
    assert executor.failed == {}


@pytest.mark.parametrize("state", [
    "PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STAGE_OUT", "REQUEUE_HOLD",
])  # fmt: skip
def test_a_job_that_ends_between_two_questions_is_told_of_by_the_next(executor, commands, state):
    """Else it would count as failed before it is known that it made room for another."""
    job = Job(1)
    executor.finished = [job]  # the plugin would find it so
    commands.know(job_1=(state, "None", "N/A"))
    assert still_active(executor, job) == [job]
    commands.know(job_1=("FAILED", "NonZeroExitCode", "2026-11-26T06:20:00"))
    assert still_active(executor, job) == []
    assert executor.submitted == [[job.job]]


@pytest.mark.parametrize("found", [
    ("FAILED", "NonZeroExitCode", "N/A"),  # it was not preempted
    ("CANCELLED", "None", "2026-11-26T06:20:00"),  # a person ended it
    ("PENDING", "BeginTime", "2026-11-26T06:20:00"),  # SLURM starts it again
    ("RUNNING", "None", "2026-11-26T06:20:00"),  # it has not yet ended
])  # fmt: skip
def test_no_other_job_is_sent_again_like_that(executor, commands, found):
    job = Job(1)
    commands.know(job_1=found)
    assert still_active(executor, job) == [job]
    assert executor.submitted == []


def test_a_preempted_job_that_slurm_forgets_at_once_is_sent_again(executor, commands, tmp_path):
    job = submitted(executor, 1, tmp_path / "missing")
    commands.know(job_1=("RUNNING", "None", "2026-11-26T06:20:00"))  # in its grace time
    assert still_active(executor, job) == [job]
    lose(executor, commands, job)
    assert executor.submitted == [[job.job]]
    assert executor.failed == {}
    assert executor.done == []


def test_a_preempted_job_that_made_its_output_all_the_same_is_done(executor, commands, tmp_path):
    job = submitted(executor, 1, tmp_path / "new")
    commands.know(job_1=("RUNNING", "None", "2026-11-26T06:20:00"))
    still_active(executor, job)
    (tmp_path / "new").touch()
    lose(executor, commands, job)
    assert executor.done == [job]
    assert executor.submitted == []


def test_what_slurm_took_and_nobody_looks_after_is_cancelled(executor, commands, caplog):
    """As where it answered a submission too late."""
    job = submitted(executor, 1)
    commands.know(job_1=("RUNNING",), job_2=("PENDING",), job_3=("COMPLETED",))
    assert still_active(executor, job) == [job]
    assert commands.cancelled == ["2"]
    assert "SLURM has job 2, which it said it did not take." in caplog.text


def test_what_is_being_submitted_is_not_taken_for_a_stray(executor, commands):
    job = submitted(executor, 1)
    commands.know(job_1=("RUNNING",), job_2=("PENDING",))
    with slurm._submitting(executor):
        still_active(executor, job)
    assert commands.cancelled == []


def test_lines_that_are_no_jobs_are_passed_over(executor, commands, tmp_path):
    (tmp_path / "squeue.answer").write_text("CLUSTER: c1\n\n1|RUNNING|None|N/A|\n")
    job = Job(1)
    assert still_active(executor, job) == [job]


@pytest.mark.parametrize("name", ["SQUEUE_PARTITION", "SQUEUE_STATES", "SACCT_LOCAL"])
def test_what_a_user_has_set_for_himself_hides_no_job(executor, monkeypatch, name):
    monkeypatch.setenv(name, "else")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "%a %T")
    executor.__init__()  # from here on for all that the plugin asks
    assert name not in os.environ
    assert os.environ["SLURM_TIME_FORMAT"] == "standard"


def test_jobs_are_looked_at_as_often_in_the_end_as_at_first(executor, commands):
    commands.answer(job_1="None")
    for _ in range(20):
        still_active(executor, Job(1))
    assert executor.next_seconds_between_status_checks == 30


def test_a_first_look_before_the_executor_is_ready_finds_nothing(executor):
    early = type(executor).__new__(type(executor))
    early.workflow = executor.workflow
    assert still_active(early) == []
    assert early.next_seconds_between_status_checks == 30


def lose(executor, commands, job):
    """Check a job as often as it takes to be given up."""
    commands.answer()
    checks = [still_active(executor, job) for _ in range(slurm._UNKNOWN)]
    assert checks == [[job]] * (slurm._UNKNOWN - 1) + [[]]


def test_a_lost_job_that_has_only_old_output_has_failed(executor, commands, tmp_path):
    (tmp_path / "old").touch()
    os.utime(tmp_path / "old", (time.time() + 900,) * 2)  # the file server's clock is ahead
    job = submitted(executor, 1, tmp_path / "missing", tmp_path / "old")
    lose(executor, commands, job)
    assert executor.failed == {job: "SLURM does not know job 1 any more."}
    assert executor.done == []


def test_what_another_lost_job_has_made_is_left_to_snakemake(executor, commands, tmp_path):
    (tmp_path / "new").touch()
    job = submitted(executor, 1, tmp_path / "missing", tmp_path / "new")
    (tmp_path / "newer").touch()
    (tmp_path / "newer").replace(tmp_path / "new")
    os.utime(tmp_path / "new", (0, 0))  # the file server's clock is behind
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


@pytest.mark.parametrize(("submit", "jobs"), [("run_job", Task()), ("run_array_jobs", [Task()])])
def test_a_submission_waits_until_slurm_answers(executor, monkeypatch, caplog, submit, jobs):
    answers = iter([False, False, True])
    monkeypatch.setattr(slurm, "_answers", lambda: next(answers))
    getattr(executor, submit)(jobs)
    assert len(executor.submitted) == 1
    assert [record.message for record in caplog.records] == [
        "SLURM does not answer; submitting when it does."
    ]


def test_a_submission_does_not_wait_for_ever(executor, monkeypatch):
    monkeypatch.setattr(slurm, "_answers", lambda: False)
    monkeypatch.setattr(slurm, "_PATIENCE", 0)
    executor.run_job(job := Task())
    assert executor.submitted == [[job]]


FAILED = "sbatch: error: Batch job submission failed: "
AWAY = [
    f"{FAILED}Unable to contact slurm controller (connect failure)",
    f"{FAILED}Socket timed out on send/recv operation",
]


@pytest.mark.parametrize("refusal", AWAY)
def test_a_submission_during_which_slurm_goes_away_is_no_failure(executor, refusal):
    executor.refusals = [refusal] * 3
    executor.run_job(job := Task())
    assert executor.submitted == [[job]]
    assert executor.failed == {}


def test_slurm_is_not_waited_for_for_ever(executor, monkeypatch):
    monkeypatch.setattr(slurm, "_PATIENCE", 0)
    executor.refusals = AWAY[:1]
    executor.run_job(job := Task())
    assert executor.failed == {job: AWAY[0]}


@pytest.mark.parametrize(("submit", "many"), [("run_job", False), ("run_array_jobs", True)])
def test_what_goes_wrong_before_a_submission_fails_the_job(executor, monkeypatch, submit, many):
    """Nobody reads what is raised there, and Snakemake would wait for ever."""
    monkeypatch.setattr(executor, "get_partition_arg", lambda job: 1 / 0)
    job = Task(runtime=60)
    getattr(executor, submit)([job] if many else job)
    assert executor.failed == {job: "Not submitted: division by zero"}


def test_without_room_for_another_process_slurm_does_not_answer(executor, monkeypatch):
    def no_fork(*command, **options):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "run", no_fork)
    job = Job(1)
    assert still_active(executor, job) == [job]
    executor.run_job(task := Task(runtime=60))
    assert executor.submitted == [[task]]


@pytest.mark.parametrize("limit", [
    "QOSMaxSubmitJobPerUserLimit", "QOSGrpSubmitJobsLimit", "AssocMaxSubmitJobLimit",
    "AssocGrpSubmitJobsLimit",
])  # fmt: skip
def test_a_full_queue_is_no_failure(executor, caplog, limit):
    executor.refusals = [f"sbatch: error: {limit}\nsbatch: error: Batch job submission failed"] * 3
    executor.run_job(job := Task())
    assert executor.submitted == [[job]]
    assert executor.failed == {}
    assert [record.message for record in caplog.records] == [
        f"SLURM takes no more jobs ({limit}); submitting when it does."
    ]


def test_another_refusal_is_a_failure(executor):
    executor.refusals = ["sbatch: error: invalid partition specified: nowhere"]
    executor.run_job(job := Task())
    assert executor.submitted == []
    assert list(executor.failed) == [job]


def test_nothing_is_submitted_once_the_run_ends(executor, commands):
    executor.cancel()
    assert executor.cancelled
    assert commands.cancelled == ["--name", "the", "run"]  # those, too, that nothing lists
    executor.run_job(Task())
    executor.run_array_jobs([Task()])
    commands.know(job_1=("PREEMPTED",))
    still_active(executor, Job(1))
    assert executor.submitted == []


def test_a_refused_array_goes_job_by_job(executor):
    executor.refusals = ["too many", "sbatch: error: AssocMaxSubmitJobLimit", "invalid partition"]
    executor.run_array_jobs([one := Task(), other := Task()])
    assert executor.failed == {one: "invalid partition"}
    assert executor.submitted == [[other]]


def test_jobs_of_an_array_have_one_time(executor):
    short, long = Task(runtime=60), Task(runtime=120)
    executor.run_array_jobs([long, short, long])
    assert executor.submitted == [[short], [long, long]]


def test_an_array_holds_no_job_back(executor):
    plugin = sys.modules[slurm.PLUGIN]
    assert plugin.pending_jobs_for_rule("a workflow with 240 ready shards", "certify_shard") == 0


def end(executor, task, state):
    """Let a job end in this state, as the plugin reports it."""
    job = Job(1)
    job.job = task
    executor.report_job_error(job, msg=f"SLURM-job '1' failed, SLURM status is: '{state}'.")


def run_again(executor, task, runtime):
    """Submit a job anew, as Snakemake does, which asks its rule again."""
    task.attempt += 1
    task.resources.runtime = runtime
    executor.run_job(task)
    return task.resources.runtime


def test_time_grows_with_every_timeout_and_no_other_failure(executor):
    executor.run_job(task := Task(runtime=120))
    assert task.resources.runtime == 120
    end(executor, task, "FAILED")
    assert run_again(executor, task, 120) == 120
    end(executor, task, "TIMEOUT")
    assert run_again(executor, task, 120) == 240
    executor.run_job(task)  # preempted
    assert task.resources.runtime == 240
    end(executor, task, "TIMEOUT")
    assert run_again(executor, task, 120) == 360
    assert run_again(executor, Task(), 120) == 120


@pytest.mark.parametrize(("limits", "minutes"), [
    (["infinite"], 240), (["3:00:00"], 180), (["1-00:00:00"], 240), (["30:00", "2:30:00"], 150),
    ([], 240),
])  # fmt: skip
def test_time_stays_within_what_the_partition_allows(executor, commands, limits, minutes):
    executor.partition = "'gpu'"
    commands.allow(*limits)
    task = Task(runtime=120)
    end(executor, task, "TIMEOUT")
    executor.run_job(task)
    assert task.resources.runtime == minutes


@pytest.mark.parametrize("most", [90, "90", "1.5h", "90m"])
def test_time_stays_within_what_the_site_says(executor, caplog, most):
    with caplog.at_level(logging.INFO):
        executor.run_job(task := Task(runtime=120, max_runtime=most))
    assert task.resources.runtime == 90
    assert [record.message for record in caplog.records] == [
        "Job 7 gets 90 minutes, not 120: the most allowed."
    ]


def test_without_the_plugin_nothing_happens(monkeypatch):
    monkeypatch.delitem(sys.modules, slurm.PLUGIN, raising=False)
    monkeypatch.delitem(sys.modules, slurm.JOBSTEP, raising=False)
    slurm.outlive_faults()


def test_a_jobs_step_finds_slurm(monkeypatch, executor):
    """The plugin strips what begins with SLURM_ from the environment of the step."""
    step = types.ModuleType(slurm.JOBSTEP)
    step.subprocess = subprocess
    monkeypatch.setitem(sys.modules, slurm.JOBSTEP, step)
    monkeypatch.setenv("SLURM_CONF", "/site/slurm.conf")
    slurm.outlive_faults()
    slurm.outlive_faults()
    command, output = "echo $SLURM_CONF $KEPT", step.subprocess.PIPE
    process = step.subprocess.Popen(command, shell=True, env={"KEPT": "too"}, stdout=output)
    assert process.communicate()[0] == b"/site/slurm.conf too\n"


@pytest.mark.parametrize(("cache", "expected"), [
    (Path("/cache"), ".snakemake/cache"),
    (Path(slurm.__file__).parents[1], None),  # the project was fetched into it
])  # fmt: skip
def test_caches_lie_in_the_project(monkeypatch, executor, tmp_path, cache, expected):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.chdir(tmp_path)
    executor.cache = cache
    executor.__init__()
    found = os.environ.get("XDG_CACHE_HOME")
    assert found == (expected and str(tmp_path / expected))
