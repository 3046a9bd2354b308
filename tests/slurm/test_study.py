"""A study sent through sbatch with the profile that ships comes out as it does at home."""

from datetime import datetime

import pytest
import yaml
from cluster import ACCOUNT
from conftest import LONG, ROOT, WHOLE_STUDY, Project

pytestmark = pytest.mark.slurm

GPU_RULES = {"train_denoiser", "train_classifier", "certify_shard"}


def rule_of(job):
    """Return the rule that a SLURM job runs, from the comment it was submitted with."""
    return job["Comment"].removeprefix("rule_").partition("_wildcards_")[0]


def gpus_of(job):
    return job.get("TresPerJob", "").partition("gres:gpu:")[2]


def minutes_of(job):
    hours, minutes, _ = job["TimeLimit"].split(":")
    return 60 * int(hours) + int(minutes)


def most_at_once(jobs):
    """Return how many of the jobs ran at the same time, at most."""

    def at(job, key):
        return datetime.fromisoformat(job[key])

    starts = [at(job, "StartTime") for job in jobs]
    return max(
        (
            sum(at(job, "StartTime") <= start < at(job, "EndTime") for job in jobs)
            for start in starts
        ),
        default=0,
    )


def site_of_kinds(project):
    """GPUs of a kind, in a partition of their own; and nothing is there yet, so train, too."""
    project.site["default-resources"] |= {
        "slurm_partition": "cpu", "gpu_slurm_partition": "main", "gpu_model": "fake",
    }  # fmt: skip
    for path in sorted((project.results / "models").iterdir()):
        path.unlink()


def site_of_arrays(project):
    """GPUs are asked for by --gres, memory not at all, time within limits; arrays, few at once."""
    project.site |= {
        "slurm-array-jobs": "certify_shard", "jobs": 5, "slurm-disable-memory-fudge": True,
    }  # fmt: skip
    project.site["default-resources"] |= {
        "gpu_gres": "gpu:fake:1", "all_mem_mb": 0, "gpu_max_runtime": 75,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cluster", "site", "gpus", "minutes"),
    [
        ({"cpu_nodes": ["c1"]}, site_of_kinds, ("TresPerJob", "gres:gpu:fake:1"), 120),
        ({"max_time": "01:30:00"}, site_of_arrays, ("TresPerNode", "gres:gpu:fake:1"), 75),
    ],
    ids=["jobs", "array"],
    indirect=["cluster"],
)
def test_a_whole_study(cluster, project, undisturbed, site, gpus, minutes):
    site(project)
    project.submit(cluster, "results/tiny/certificates/many.parquet").succeed()

    assert project.digests("many") == undisturbed.digests("many")
    jobs = cluster.jobs()
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    rules = [rule_of(job) for job in jobs]
    assert rules.count("certify_shard") == 8
    assert rules.count("compute_certificates") == 1
    assert any("ArrayJobId" in job for job in jobs) == (site is site_of_arrays)
    key, wanted = gpus
    for job in jobs:
        takes_gpu = rule_of(job) in GPU_RULES
        assert job.get(key) == (wanted if takes_gpu else None)
        assert ("gres:gpu" in str(job)) == takes_gpu
        assert ("MinMemoryNode" in job) == (site is site_of_kinds)  # or the cluster's default
        if site is site_of_kinds:
            assert job["Partition"] == ("main" if takes_gpu else "cpu")
    certifying = [job for job in jobs if rule_of(job) == "certify_shard"]
    assert {minutes_of(job) for job in certifying} == {minutes}
    assert 1 < most_at_once(certifying) <= 6
    for node in cluster.states():
        assert most_at_once([job for job in certifying if job["NodeList"] == node]) <= 2
    for log in (project.results / "logs").rglob("*.log"):
        assert log.read_text().splitlines()[0].split(" on ")[1].split(",")[0] in cluster.states()


@pytest.mark.parametrize("cluster", [{"cpu_nodes": ["c1"]}], indirect=True)
def test_the_digits_study(cluster, tmp_path):
    """The study that ships, from nothing to the paper: equal to that of a run without SLURM."""
    study = yaml.safe_load((ROOT / "config/studies/digits.yaml").read_text())
    timed = ("sampling_plans", "costs")  # which show how long it took
    untimed = [name for name, entry in study["tables"].items() if entry["kind"] not in timed]
    tables = [f"tables/{name}.csv" for name in untimed]
    merged = [f"counts/{experiment}.parquet" for experiment in study["experiments"]]
    here = Project(tmp_path / "here", study="digits")
    here.run_here(*(f"results/digits/{name}" for name in merged + tables))
    there = Project(tmp_path / "there", study="digits")
    there.site["jobs"] = 6
    there.site["default-resources"] |= {"slurm_partition": "cpu", "gpu_slurm_partition": "main"}
    there.submit(cluster, "all").succeed(WHOLE_STUDY)

    for experiment in study["experiments"]:
        assert there.digests(experiment) == here.digests(experiment)
    for name in tables:
        assert (there.results / name).read_bytes() == (here.results / name).read_bytes()
    assert (there.results / "paper.pdf").read_bytes().startswith(b"%PDF")
    jobs = cluster.jobs()
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    assert most_at_once([job for job in jobs if gpus_of(job)]) <= 6
    log_files = list((there.results / "logs").rglob("*.log"))
    assert len(log_files) == len(jobs)


@pytest.mark.parametrize("cluster", [{"accounting": True, "max_jobs": 4}], indirect=True)
def test_a_site_with_accounting(cluster, project, undisturbed):
    """Every job is charged to the account that the site names, and the queue is soon full."""
    project.site["default-resources"] |= {"slurm_account": ACCOUNT}
    project.site["retries"] = 0
    run = project.submit(cluster, "results/tiny/counts/many.parquet")
    assert "SLURM takes no more jobs (AssocMaxSubmitJobLimit)" in run.succeed()
    assert project.digests("many") == undisturbed.digests("many")
    charged = cluster.command("sacct", "--allocations", "--noheader", "--parsable2",
                              "--format=Account,State").splitlines()  # fmt: skip
    assert len(charged) == len(cluster.jobs()) == 9
    assert set(charged) == {f"{ACCOUNT}|COMPLETED"}


def test_a_job_that_fails_is_sent_again_as_often_as_the_profile_says(cluster, project):
    """With the same time: it had enough."""
    project.site["config"] = project.site["config"] | {"device": "cuda"}
    project.site["retries"] = 1
    run = project.submit(cluster, "results/tiny/counts/long.parquet")
    assert run.process.wait(LONG) == 1
    assert [job["TimeLimit"] for job in cluster.jobs()] == ["02:00:00", "02:00:00"]
    assert "failed: device: cuda, but torch" in project.log()
