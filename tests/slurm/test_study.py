"""A study sent through sbatch with the profile that ships comes out as it does at home."""

from datetime import datetime

import pytest
import yaml
from cluster import ACCOUNT
from conftest import ROOT, WHOLE_STUDY, Project

pytestmark = pytest.mark.slurm

GPU_RULES = {"train_denoiser", "train_classifier", "certify_shard"}


def rule_of(job):
    """Return the rule that a SLURM job runs, from the comment it was submitted with."""
    return job["Comment"].removeprefix("rule_").partition("_wildcards_")[0]


def gpus_of(job):
    return job.get("TresPerJob", "").partition("gres:gpu:")[2]


def most_at_once(jobs):
    """Return how many of the jobs ran at the same time, at most."""

    def at(job, key):
        return datetime.fromisoformat(job[key])

    return max(
        sum(at(job, "StartTime") <= at(other, "StartTime") < at(job, "EndTime") for job in jobs)
        for other in jobs
    )


@pytest.mark.parametrize("array_jobs", [None, "certify_shard"], ids=["jobs", "array"])
def test_a_whole_study(cluster, project, undisturbed, array_jobs):
    if array_jobs:
        project.site["slurm-array-jobs"] = array_jobs
    else:  # from nothing: train, too; and on GPUs of a kind
        project.site["set-resources"] = {rule: {"gpu_model": "fake"} for rule in GPU_RULES}
        for path in sorted((project.results / "models").iterdir()):
            path.unlink()
    project.submit(cluster, "results/tiny/certificates/many.parquet").succeed()

    assert project.digests("many") == undisturbed.digests("many")
    jobs = cluster.jobs()
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    rules = [rule_of(job) for job in jobs]
    assert rules.count("certify_shard") == 8
    assert rules.count("compute_certificates") == 1
    for job in jobs:
        wanted = "1" if array_jobs else "fake:1"
        assert gpus_of(job) == (wanted if rule_of(job) in GPU_RULES else "")
    certifying = [job for job in jobs if rule_of(job) == "certify_shard"]
    assert 1 < most_at_once(certifying) <= 6
    for node in cluster.states():
        assert most_at_once([job for job in certifying if job["NodeList"] == node]) <= 2
    for log in (project.results / "logs").rglob("*.log"):
        assert log.read_text().splitlines()[0].split(" on ")[1][:3] in ("n1,", "n2,", "n3,")


def test_the_digits_study(cluster, tmp_path):
    """The study that ships, from nothing to the paper: equal to that of a run without SLURM."""
    here = Project(tmp_path / "here", study="digits")
    here.run_here("all")
    there = Project(tmp_path / "there", study="digits")
    there.site["jobs"] = 6
    there.submit(cluster, "all").succeed(WHOLE_STUDY)

    study = yaml.safe_load((ROOT / "config/studies/digits.yaml").read_text())
    for experiment in study["experiments"]:
        assert there.digests(experiment) == here.digests(experiment)
    timed = ("sampling_plans", "costs")  # which show how long it took
    tables = [name for name, entry in study["tables"].items() if entry["kind"] not in timed]
    for table in tables:
        name = f"tables/{table}.csv"
        assert (there.results / name).read_bytes() == (here.results / name).read_bytes()
    assert (there.results / "paper.pdf").read_bytes().startswith(b"%PDF")
    jobs = cluster.jobs()
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    assert most_at_once([job for job in jobs if gpus_of(job)]) <= 6
    log_files = list((there.results / "logs").rglob("*.log"))
    assert len(log_files) == len(jobs)


@pytest.mark.parametrize("cluster", [{"accounting": True}], indirect=True)
def test_a_site_with_accounting(cluster, project, undisturbed):
    """Every job is charged to the account that the site names."""
    project.site["default-resources"] = project.site["default-resources"] | {
        "slurm_account": ACCOUNT
    }
    project.submit(cluster, "results/tiny/counts/many.parquet").succeed()
    assert project.digests("many") == undisturbed.digests("many")
    charged = cluster.command("sacct", "--allocations", "--noheader", "--parsable2",
                              "--format=Account,State").splitlines()  # fmt: skip
    assert len(charged) == len(cluster.jobs()) == 9
    assert set(charged) == {f"{ACCOUNT}|COMPLETED"}


def test_the_profile_asks_for_time_that_grows(cluster, project):
    """A first attempt that fails is followed by one with twice the time."""
    project.site["config"] = project.site["config"] | {"device": "cuda"}
    project.site["retries"] = 1
    run = project.submit(cluster, "results/tiny/counts/long.parquet")
    assert run.process.wait() == 1
    assert [job["TimeLimit"] for job in cluster.jobs()] == ["02:00:00", "04:00:00"]
    assert "failed: device: cuda, but no GPU is usable here" in project.log()
