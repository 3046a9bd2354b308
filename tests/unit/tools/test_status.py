"""What `make status` shows is what the files say, and it is cheap to find out."""

import base64
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

import status
from dds.files import write_json
from dds.names import shard_names
from jobs.checkpoints import save_checkpoint
from jobs.lock import hold
from jobs.processes import STALE_AFTER, this_process

ROOT = Path(__file__).parents[3]
SETTINGS = SimpleNamespace(images=100, images_per_shard=20, n0=100, n=900, sigmas=[0.25, 0.5])
NAMES = shard_names(100, 20)


class Results:
    """The results of a study with one experiment, in the working directory."""

    def __init__(self):
        self.root = Path("results/s")
        self.counts = self.root / "counts/e/sigma_0.25"
        self.logs = self.root / "logs/certify_shard/e/sigma_0.25"
        self.counts.mkdir(parents=True)
        self.logs.mkdir(parents=True)

    def finish(self, name, samples=20_000):
        write_json(self.counts / f"{name}.json", {"samples": samples})

    def begin(self, name, samples, rate):
        progress = {
            "images_done": samples // 1000, "samples": samples, "samples_per_second": rate,
        }  # fmt: skip
        save_checkpoint(self.counts / f"{name}.checkpoint", b"", {}, progress)

    def log(self, name, *lines):
        (self.logs / f"{name}.log").write_text("".join(f"2024-01-01 {line}\n" for line in lines))

    def record(self, name, content):
        (self.logs / f"{name}.log").touch()
        (self.logs / f"{name}.progress").write_text(json.dumps(content))

    def mark(self, output, age=0.0, external_jobid=None):
        """Mark an output as Snakemake does when its job starts."""
        folder = Path(".snakemake/incomplete")
        folder.mkdir(parents=True, exist_ok=True)
        key = base64.urlsafe_b64encode(str(output).encode()).decode()
        (folder / key).write_text(json.dumps({"external_jobid": external_jobid}))
        os.utime(folder / key, (time.time() - age,) * 2)

    def shown(self, settings=SETTINGS):
        study = SimpleNamespace(
            name="s", experiments={"e": settings}, sampled=["e"], deposited={}, attacked=[]
        )
        return status.report(study, self.root)


def after(title, shown):
    """Return the lines under a title."""
    return list(itertools.takewhile(bool, shown[shown.index(title) + 1 :]))


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Results()


def test_a_study_that_was_not_begun(results):
    shown = results.shown()
    assert shown[0] == "study s: 0 of 200 images certified, 0 samples/s, nothing runs"
    assert [line.split() for line in shown[3:]] == [["e", "0.25", "0/100"], ["e", "0.5", "0/100"]]


def test_images_rate_and_time_left(results, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    results.finish(NAMES[0])
    results.begin(NAMES[1], 5_500, rate=250.0)
    results.begin(NAMES[2], 2_000, rate=999.0)
    results.log(NAMES[2], "certify_shard on n2, process 3, SLURM job 16", "interrupted: stopped")
    with hold(results.counts / f"{NAMES[1]}.lock"):
        shown = results.shown()
    # 27 of 100 images are done; of the 73 others, half of one: 72,500 samples, at 250 a second
    assert " ".join(shown[3].split()) == "e 0.25 27/100 250 1 1 5 min left at this rate"
    running, ended = shown.index("running:"), shown.index("ended unfinished, to be started again:")
    assert shown[running + 1].startswith(
        f"  certify e sigma 0.25 {NAMES[1]}: 28%, 250 samples/s, "
        f"SLURM job 17, process {os.getpid()} on "
    )
    assert shown[running + 1].endswith(f"(log: {results.logs / NAMES[1]}.log)")
    assert shown[ended + 1] == (
        f"  e sigma 0.25 {NAMES[2]}: 10%, SLURM job 16 interrupted: stopped "
        f"(log: {results.logs / NAMES[2]}.log)"
    )


def test_a_finished_experiment(results):
    for name in NAMES:
        results.finish(name)
        results.begin(name, 20_000, rate=1.0)  # kept until the counts are merged
    assert results.shown()[3].split() == ["e", "0.25", "100/100", "done"]


def test_a_plan_that_stops_early_is_reckoned_by_what_it_took(results):
    results.finish(NAMES[0], samples=2_000)
    results.begin(NAMES[1], 0, rate=10.0)
    with hold(results.counts / f"{NAMES[1]}.lock"):
        assert "13 min left" in results.shown()[3]  # 80 images of 100 samples


RECORD = {
    "rule": "certify_shard", "kind": "certify", "name": f"e sigma 0.25 {NAMES[1]}",
    "started": 1.0, "device": "NVIDIA H100", "gpu": "GPU 3",
}  # fmt: skip
COUNTED = {"unit": "samples", "done": 500, "total": 2000, "rate": 10.0, "seconds_left": 150.0}


def test_a_running_job_is_shown_by_its_record(results):
    """A plan stops early: what a shard takes is known best by the job that works on it."""
    results.record(NAMES[1], RECORD | COUNTED | this_process())
    shown = results.shown()
    (line,) = after("running:", shown)
    assert line == (
        f"  certify e sigma 0.25 {NAMES[1]}: 25%, 10 samples/s, 2 min left, "
        f"on NVIDIA H100 (GPU 3), process {os.getpid()} on {socket.gethostname()} "
        f"(log: {results.logs / NAMES[1]}.log)"
    )
    # four shards of 2,000 samples, and 1,500 of this one
    assert " ".join(shown[3].split()) == "e 0.25 0/100 10 1 16 min left at this rate"


def test_a_shard_whose_images_take_unlike_many_samples_counts_its_images(results):
    parts = {"parts": 20, "parts_done": 7, "part_unit": "images"}
    results.begin(NAMES[1], 2_000, rate=1.0)  # its checkpoint is older than its record
    results.record(NAMES[1], RECORD | COUNTED | parts | this_process())
    shown = results.shown()
    (line,) = after("running:", shown)
    assert f"{NAMES[1]}: 7 of 20 images, 10 samples/s, 2 min left, on NVIDIA H100" in line
    assert " ".join(shown[3].split()) == "e 0.25 7/100 10 1 16 min left at this rate"


def test_jobs_that_start_are_not_nothing(results):
    results.record(NAMES[1], RECORD | this_process())
    shown = results.shown()
    assert shown[0].endswith(" 0 samples/s, 1 starting")
    (line,) = after("starting:", shown)
    assert line.startswith(f"  certify e sigma 0.25 {NAMES[1]}: on NVIDIA H100 (GPU 3), process ")
    assert "ended unfinished, to be started again:" not in shown


def test_jobs_that_have_not_reported_yet_are_known_by_snakemake(results):
    """Between its start and its first line, a job loads torch, which takes a while."""
    results.mark(results.counts / f"{NAMES[1]}.parquet")
    results.mark(results.counts / f"{NAMES[1]}.json")
    results.mark(results.root / "models/digits_cnn.pt")
    results.mark(results.counts / f"{NAMES[2]}.parquet", external_jobid="12")  # SLURM's
    results.mark(results.counts / f"{NAMES[3]}.parquet", age=STALE_AFTER + 1)  # died long ago
    results.mark(results.counts / f"{NAMES[4]}.parquet")
    results.log(NAMES[4], "certify_shard on n1, process 3", "failed: x")
    shown = results.shown()
    assert shown[0].endswith(", 2 starting")
    assert after("starting:", shown) == [
        f"  counts/e/sigma_0.25/{NAMES[1]}", "  models/digits_cnn",
    ]  # fmt: skip


def test_a_folder_that_snakemake_has_locked_is_not_idle(results):
    (Path(".snakemake/locks")).mkdir(parents=True)
    assert results.shown()[0].endswith("nothing runs")
    Path(".snakemake/locks/0.input.lock").touch()
    assert results.shown()[0].endswith("no job runs, and Snakemake has the folder locked")


def test_jobs_in_the_queue_are_counted(results, monkeypatch):
    lines = [
        f"11|PENDING|Priority|rule_certify_shard_wildcards_e_0.25_{NAMES[1]}|{Path.cwd()}",
        f"12|PENDING|Priority|rule_certify_shard_wildcards_e_0.25_{NAMES[2]}|{Path.cwd()}",
        f"13|RUNNING|None|rule_train_denoiser_wildcards_unet|{Path.cwd()}",
        f"14|RUNNING|None|rule_certify_shard_wildcards_e_0.25_{NAMES[3]}|{Path.cwd()}",
        f"15|PENDING|Priority|rule_certify_shard_wildcards_e|{Path.cwd().parent}",
        f"16|PENDING|Priority|(null)|{Path.cwd()}",
    ]
    squeue = Path("bin/squeue")
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(squeue.parent.resolve()), prepend=os.pathsep)
    results.record(NAMES[3], RECORD | this_process() | {"slurm_job": "14"})
    shown = results.shown()
    assert shown[0].endswith(", 2 starting, 2 queued")
    assert after("starting:", shown)[1] == "  train_denoiser: SLURM job 13"
    assert after("queued in SLURM:", shown) == ["  certify_shard: 2 (Priority)"]


def test_a_killed_holder_is_not_running(results):
    results.begin(NAMES[0], 1_000, rate=10.0)
    results.log(NAMES[0], "certify_shard on n1, process 3, SLURM job 16", "going on")
    lock = results.counts / f"{NAMES[0]}.lock"
    lock.write_text("{}")
    os.utime(lock, (time.time() - STALE_AFTER - 1,) * 2)
    assert "SLURM job 16 ended without a word, as when killed" in results.shown()[-1]


@pytest.mark.parametrize("off", [-150, 150])
def test_a_file_server_with_another_clock_hides_nobody(results, monkeypatch, off):
    elsewhere = this_process() | {"host": "node7"}
    results.record(NAMES[0], RECORD | COUNTED | elsewhere)
    results.begin(NAMES[1], 1_000, rate=10.0)
    lock = results.counts / f"{NAMES[1]}.lock"
    lock.write_text(json.dumps(elsewhere | {"since": "2024-01-01 00:00:00", "token": "abc"}))
    results.mark(results.counts / f"{NAMES[2]}.parquet")
    results.mark(results.counts / f"{NAMES[3]}.parquet", age=STALE_AFTER + 1)  # died long ago
    before = set(Path().rglob("*"))
    here = time.time
    monkeypatch.setattr(time, "time", lambda: here() + off)
    shown = results.shown()
    assert [f"process {os.getpid()} on node7" in line for line in after("running:", shown)] == [
        True, True,
    ]  # fmt: skip
    assert after("starting:", shown) == [f"  counts/e/sigma_0.25/{NAMES[2]}"]
    assert set(Path().rglob("*")) == before


def test_the_clock_of_the_files_is_asked_once_however_many_shards_there_are(results, monkeypatch):
    for name in NAMES:
        results.record(name, RECORD | this_process() | {"host": "node7"})
        (results.counts / f"{name}.lock").write_text("{}")
    asked, probe = Counter(), tempfile.TemporaryFile
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda dir: asked.update([dir]) or probe(dir=dir)
    )
    results.shown()
    assert asked == {results.root / "logs": 1, Path(".snakemake"): 1}


def test_failures_of_every_rule_are_shown_with_their_reason(results):
    results.log(NAMES[0], "certify_shard on n1, process 3", "failed: classifier 'c' returned NaN")
    other = results.root / "logs/fetch/cifar10.log"
    other.parent.mkdir()
    other.write_text("2024-01-01 fetch on n1, process 4\n2024-01-01 failed: no route to host\n")
    (results.root / "logs/check_results.log").write_text("2024-01-01 all well\n")
    shown = results.shown()
    assert "failed: classifier 'c' returned NaN" in "".join(shown)
    assert shown[-1] == f"  fetch: failed: no route to host (log: {other})"


def test_many_failures_are_cut_short(results):
    for name in shard_names(1000, 10):
        results.log(name, "failed: x")
    shown = results.shown(
        SimpleNamespace(**vars(SETTINGS) | {"images": 1000, "images_per_shard": 10})
    )
    assert shown[-1] == "  and 80 more"
    assert len(shown) < 40


def test_of_many_finished_shards_one_is_opened(results, monkeypatch):
    for name in NAMES:
        results.finish(name)
    opened = []
    monkeypatch.setattr(Path, "read_text", lambda path: opened.append(path) or '{"samples": 1}')
    results.shown()
    assert len(opened) == 1


def test_the_command_needs_no_torch_and_no_snakemake():
    script = (
        "import runpy, sys; sys.argv = ['status.py', 'digits']; sys.path.insert(0, 'tools');"
        "runpy.run_path('tools/status.py', run_name='__main__');"
        "assert not {'torch', 'snakemake', 'pandas'} & sys.modules.keys()"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.startswith("study digits: ")


def test_an_unknown_study_is_one_line():
    answer = subprocess.run(
        [sys.executable, "tools/status.py", "digit"], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    assert "digits" in answer.stderr


def test_attacks_are_as_far_as_their_shards_and_checkpoints_say(results):
    study = SimpleNamespace(
        name="s", experiments={}, sampled=[], deposited={}, attacked=["a"],
        attacked_sigmas=lambda name: [0.25],
        attacks={"a": SimpleNamespace(images=30, images_per_shard=20)},
    )  # fmt: skip
    first, second = shard_names(30, 20)
    lines = ["attacks:", "  a sigma 0.25: 0 of 30 images"]
    assert status.report(study, results.root)[-2:] == lines
    folder = results.root / "attacks/a/sigma_0.25"
    folder.mkdir(parents=True)
    write_json(folder / f"{first}.json", {})
    save_checkpoint(folder / f"{second}.checkpoint", b"", {}, {"images_done": 3})
    assert status.report(study, results.root)[-1] == "  a sigma 0.25: 23 of 30 images"
