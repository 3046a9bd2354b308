"""Whatever befalls a job, the counts come out the same and what was saved is not done again.

In each test one job certifies the long shard. Once it has saved some samples it is stopped in
the middle of its work, so that it cannot end, however slow the test is, before it has been
disturbed. Afterwards the shard must be, bit for bit, that of an undisturbed run, and every
later job must have gone on from at least what had been saved.
"""

import contextlib
import os
import re
import shutil
import signal
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conftest import LONG, Project

pytestmark = pytest.mark.slurm

SHARD = f"results/tiny/{Project.shard}.parquet"
MERGED = "results/tiny/counts/long.parquet"


def certifications(cluster):
    """Return the SLURM jobs that certified, oldest first."""
    return [job for job in cluster.jobs() if job["Comment"].startswith("rule_certify_shard")]


def commands(cluster, node):
    """Return the command of each process on a node."""
    found = {}
    for process in cluster.processes(node):
        with contextlib.suppress(OSError):
            found[process] = Path(f"/proc/{process}/cmdline").read_text().rstrip("\0")
    return found


def workers(cluster, node):
    """Return the processes that certify on a node."""
    return [
        process for process, command in commands(cluster, node).items()
        if command.endswith(".certify_shard.py")
    ]  # fmt: skip


def signal_workers(cluster, job, number):
    """Stop a job in its work, or let it go on."""
    for worker in workers(cluster, job["NodeList"]):
        os.kill(worker, number)


@pytest.fixture
def run(cluster, project, request):
    """Snakemake, started, with its job at work and some samples saved."""
    run = project.submit(cluster, getattr(request, "param", SHARD))
    run.wait_until(lambda: project.progress()["samples"] > 0)
    signal_workers(cluster, certifications(cluster)[0], signal.SIGSTOP)
    return run


@pytest.fixture
def unforgiving(project):
    """A site that sends no job again that has failed."""
    project.site["retries"] = 0


@pytest.fixture
def job(cluster, run):
    """The job that certifies, stopped."""
    return certifications(cluster)[0]


@pytest.fixture
def saved(project, job):
    """How many samples are saved before the disturbance."""
    return project.progress()["samples"]


def check(project, undisturbed, starts, saved):
    """Check the counts, and that nothing that was saved was drawn again."""
    assert undisturbed.digests("long").items() >= project.digests("long").items() != set()
    record = project.provenance()
    assert record["starts"] == starts
    assert record["samples_drawn"] == record["samples"] == undisturbed.provenance()["samples"]
    if starts > 1:
        resumed = int(re.search(r"going on after (\d+) samples", project.log())[1])
        assert resumed >= saved
    shard = project.results / project.shard
    kept = set() if (project.results / "counts/long.parquet").exists() else {".checkpoint"}
    assert {path.suffix for path in shard.parent.iterdir()} == {".parquet", ".json"} | kept


def test_a_node_dies(cluster, project, undisturbed, run, job, saved):
    cluster.kill_node(job["NodeList"])
    run.succeed()
    check(project, undisturbed, starts=2, saved=saved)
    (after,) = certifications(cluster)
    assert after["JobId"] == job["JobId"]
    assert after["Restarts"] == "1"
    assert project.provenance()["host"] == after["NodeList"] != job["NodeList"]


def test_a_node_is_cut_off_and_its_job_lives_on(cluster, project, undisturbed, run, job, saved):
    """The job that lost its shard to a second run must not write any more."""
    (old,) = workers(cluster, job["NodeList"])
    os.kill(old, signal.SIGCONT)  # the kernel hangs up on what is stopped and loses its parent
    cluster.kill_node(job["NodeList"], spared=[old])
    assert cluster.processes(job["NodeList"]) == [old], "it ended with the others"
    os.kill(old, signal.SIGSTOP)  # until the second run has begun
    run.wait_until(lambda: "was left by SLURM job" in project.log())
    os.kill(old, signal.SIGCONT)
    run.succeed()
    check(project, undisturbed, starts=2, saved=saved)
    cluster.wait_until(lambda: old not in cluster.processes(), LONG)


@pytest.mark.parametrize("cluster", [{"max_time": "03:00:00"}], indirect=True)
def test_a_job_exceeds_its_time(cluster, project, undisturbed, run, job, saved):
    """It gets more the next time, twice as much if that is allowed."""
    end = datetime.now() + timedelta(seconds=2)
    cluster.command("scontrol", "update", f"JobId={job['JobId']}",
                    f"EndTime={end:%Y-%m-%dT%H:%M:%S}")  # fmt: skip
    run.succeed()
    check(project, undisturbed, starts=2, saved=saved)
    first, second = certifications(cluster)
    assert (first["JobState"], second["JobState"]) == ("TIMEOUT", "COMPLETED")
    assert second["TimeLimit"] == "03:00:00"


def test_a_job_is_cancelled(cluster, project, undisturbed, run, job, saved):
    cluster.command("scancel", job["JobId"])
    run.succeed()
    check(project, undisturbed, starts=2, saved=saved)
    first, second = certifications(cluster)
    assert (first["JobState"], second["JobState"]) == ("CANCELLED", "COMPLETED")
    assert first["TimeLimit"] == second["TimeLimit"] == "02:00:00"
    assert "certify_shard: stopped after " in project.slurm_log(job["JobId"])


def test_a_job_is_preempted(cluster, unforgiving, project, undisturbed, run, job, saved):
    """That is no failure, of which the site allows none."""
    urgent = cluster.command(
        "sbatch", "--parsable", "--output=/dev/null", "--partition=urgent", "--exclusive",
        "--nodelist", job["NodeList"], "--wrap=srun sleep 1",
    )  # fmt: skip
    run.succeed()
    check(project, undisturbed, starts=2, saved=saved)
    assert "certify_shard: stopped after " in project.slurm_log(job["JobId"])
    states = {job["JobId"]: job["JobState"] for job in cluster.jobs()}
    assert states[urgent] == "COMPLETED"


def test_a_job_that_fails_loses_no_votes_that_it_found(cluster, unforgiving, project, undisturbed):
    """Each Snakemake, one within another, cleans up after a job that failed."""
    for part in ("counts/long", "records"):
        shutil.copytree(undisturbed.results / part, project.results / part)
    project.site["config"]["device"] = "cuda"  # there is none
    run = project.submit(cluster, SHARD, "--forcerun", "certify_shard")
    run.wait_until(lambda: run.process.poll() == 1)
    assert [job["JobState"] for job in certifications(cluster)] == ["FAILED"]
    assert undisturbed.digests("long").items() >= project.digests("long").items() != set()


def test_a_node_cannot_start_jobs(cluster, project, undisturbed):
    """SLURM takes the node out of service and holds the job, which would wait for ever."""
    cluster.break_nodes()
    run = project.submit(cluster, SHARD)
    run.wait_until(lambda: "SLURM could not start job 1 and holds it" in run.output)
    cluster.break_nodes(False)
    run.succeed()
    check(project, undisturbed, starts=1, saved=0)
    assert [job["JobState"] for job in certifications(cluster)] == ["CANCELLED", "COMPLETED"]


def restart_controller(cluster, run):
    """Start slurmctld again once Snakemake has asked in vain."""
    run.wait_until(lambda: "SLURM does not answer; 1 jobs are asked for again" in run.output)
    cluster.revive()


@pytest.mark.parametrize("run", [MERGED], indirect=True)
def test_slurmctld_restarts(cluster, project, undisturbed, run, job, saved):
    """Snakemake asks in vain how its job is, keeps it, and submits the next one afterwards."""
    cluster.stop_controller()
    restart_controller(cluster, run)
    signal_workers(cluster, job, signal.SIGCONT)
    run.succeed()
    check(project, undisturbed, starts=1, saved=saved)
    assert [job["JobId"] for job in certifications(cluster)] == [job["JobId"]]


def test_slurmctld_dies_as_a_job_begins(cluster, project, undisturbed):
    """It may not know afterwards that the job began, and be unable to start it again."""
    run = project.submit(cluster, SHARD)
    run.wait_until(lambda: [job["JobState"] for job in certifications(cluster)] == ["RUNNING"])
    cluster.kill_controller()
    restart_controller(cluster, run)
    run.succeed()
    assert undisturbed.digests("long").items() >= project.digests("long").items() != set()


def test_slurmctld_loses_a_job(cluster, project, undisturbed, run, job, saved):
    cluster.kill_controller(losing_jobs=True)
    restart_controller(cluster, run)
    run.succeed()
    check(project, undisturbed, starts=2, saved=saved)


def test_slurmctld_loses_a_job_that_ends_meanwhile(cluster, project, undisturbed, run, job, saved):
    """What the lost job has made is taken as it is."""
    cluster.kill_controller(losing_jobs=True)
    signal_workers(cluster, job, signal.SIGCONT)
    run.wait_until(lambda: "snakemake" not in str(commands(cluster, job["NodeList"])))
    restart_controller(cluster, run)
    run.succeed()
    check(project, undisturbed, starts=1, saved=saved)
    assert certifications(cluster) == []


@pytest.mark.parametrize("cluster", [{"min_job_age": 2}], indirect=True)
def test_ended_jobs_are_forgotten_at_once(cluster, project, undisturbed):
    """Neither squeue nor, without accounting, sacct tells how a job ended."""
    project.submit(cluster, SHARD).succeed()
    check(project, undisturbed, starts=1, saved=0)


def test_slurmctld_is_away_when_a_job_is_submitted(cluster, project, undisturbed):
    cluster.kill_controller()
    run = project.submit(cluster, SHARD)
    run.wait_until(lambda: "SLURM does not answer; submitting when it does" in run.output)
    cluster.revive()
    run.succeed()
    check(project, undisturbed, starts=1, saved=0)
    assert len(certifications(cluster)) == 1


def test_snakemake_is_interrupted_and_started_again(cluster, project, undisturbed, run, job, saved):
    run.end(signal.SIGINT)
    cluster.wait_until(lambda: certifications(cluster)[0]["JobState"] == "CANCELLED", LONG)
    project.submit(cluster, SHARD).succeed()
    check(project, undisturbed, starts=2, saved=saved)


def test_snakemake_is_killed_and_started_again(cluster, project, undisturbed, run, job, saved):
    """The job of the second Snakemake waits for that of the first, and finds the work done."""
    run.end(signal.SIGKILL)
    project.submit(cluster, "--unlock").succeed()
    again = project.submit(cluster, SHARD)
    again.wait_until(lambda: f"is held by SLURM job {job['JobId']}, " in project.log())
    signal_workers(cluster, job, signal.SIGCONT)
    again.succeed()
    check(project, undisturbed, starts=2, saved=undisturbed.provenance()["samples"])
    assert [job["JobState"] for job in certifications(cluster)] == ["COMPLETED", "COMPLETED"]
