"""However often a shard's job is ended, and how, the counts come out the same."""

import json
import multiprocessing
import os
import random
import runpy
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dds.data.packs import Pack, write_pack
from dds.networks.registry import build_classifier
from dds.networks.weights import save_weights
from dds.sampling.counts import read_counts
from dds.seeds import BLOCK
from jobs.checkpoints import read_progress

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts"
CLASSIFIER = {
    "network": "wide_resnet",
    "arguments": {"depth": 10, "width": 1, "base": 8},
    "input": {"channels": 1, "size": 8, "mean": [0.3], "std": [0.4]},
    "classes": ["0", "1", "2"],
}  # fmt: skip
IMAGES, N0, N = 3, 100, 1500
SAMPLES = IMAGES * (N0 + N)
SHARD = f"results/test/counts/e/sigma_0.25/images_00000-0000{IMAGES - 1}"

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["torch", "pandas"])


class Files(dict):
    """Named files, as Snakemake gives them."""

    __getattr__ = dict.__getitem__

    def __iter__(self):
        return iter(self.values())


def depends_on(mean=0.3, **changes):
    """Return what the votes depend on, as `study.depends.votes` does."""
    described = CLASSIFIER | {"input": CLASSIFIER["input"] | {"mean": [mean]}}
    return {
        "protocol": 1, "seed": 5, "dataset": "d", "split": "test", "classifiers": ["c"],
        "denoiser": "none", "steps": 1, "timestep": "nearest", "n0": N0, "n": N,
        "plan": "fixed", "precision": "float32", "deterministic": True, "noise": "float",
        "models": {"c": {"description": described, "layout": {}}},
    } | changes  # fmt: skip


def stand_in_for_a_compiler(works):
    """Compile as on a GPU: note what is there from earlier jobs, and add to it; or fail."""
    from dds.sampling import runner
    from jobs import certify

    make = certify.SmoothedClassifier

    def smooth(*args, compiled, **options):
        return make(*args, compiled=True if compiled is None else compiled, **options)

    def compile_networks(networks, run, once, programs):
        folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
        assert programs == folder
        with Path("found").open("a") as file:
            file.write(f"{[path.name for path in folder.iterdir()]}\n")
        (folder / "program").touch()
        run()
        return works

    certify.SmoothedClassifier, runner.compile_networks = smooth, compile_networks


def run_rule(folder, checkpoint_seconds, shard=SHARD, compiler_works=None, **changes):
    """Run the rule's script as Snakemake does.

    It notes how many samples it draws, and what device it asks for to go on with.
    """
    if compiler_works is not None:
        stand_in_for_a_compiler(compiler_works)
    from dds.progress import Progress
    from jobs import shard as module

    advance, prepare = Progress.advance, module.prepare_device

    def note(self, units, **options):
        with Path("drawn").open("a") as file:
            file.write(f"{units}\n")
        advance(self, units, **options)

    def begun(wanted, threads, *, stop, like):
        with Path("devices").open("a") as file:
            file.write(f"{like}\n")
        return prepare(wanted, threads, stop=stop, like=like)

    Progress.advance, module.prepare_device = note, begun
    os.chdir(folder)
    os.dup2(os.open("stderr", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), sys.stderr.fileno())
    snakemake = SimpleNamespace(
        rule="certify_shard", log=["log"], threads=1,
        input=Files(pack="d.npz", c="c.pt", u="u.pt"),
        output=Files(counts=f"{shard}.parquet", provenance=f"{shard}.json"),
        wildcards=SimpleNamespace(experiment="e", sigma="0.25", shard=Path(shard).name),
        params=SimpleNamespace(depends=depends_on(**changes), batch_size=BLOCK),
        config={"device": "cpu", "checkpoint_seconds": checkpoint_seconds},
    )  # fmt: skip
    runpy.run_path(str(SCRIPTS / "certify_shard.py"), {"snakemake": snakemake})


class Shard:
    """A shard in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        rng = np.random.default_rng(1)
        images = rng.integers(0, 256, (IMAGES, 1, 8, 8), np.uint8)
        names = np.array([str(i) for i in range(IMAGES)])
        write_pack(folder / "d.npz", Pack(images, np.zeros(IMAGES, int), names, names))
        torch.manual_seed(1)
        self.network = build_classifier(CLASSIFIER).network
        self.write_weights()
        (folder / SHARD).parent.mkdir(parents=True, exist_ok=True)
        self.checkpoint = folder / f"{SHARD}.checkpoint"

    def write_weights(self):
        save_weights(self.network, self.folder / "c.pt")

    def start(self, checkpoint_seconds=0, **settings):
        arguments = (self.folder, checkpoint_seconds)
        job = PROCESSES.Process(target=run_rule, args=arguments, kwargs=settings)
        job.start()
        return job

    def finish(self, **settings):
        job = self.start(**settings)
        job.join()
        return job.exitcode

    def saved(self):
        return read_progress(self.checkpoint)["samples"] if self.checkpoint.exists() else 0

    def wait_for(self, samples, job):
        """Wait until so many samples are saved, or the job is over."""
        while self.saved() < samples and job.exitcode is None:
            time.sleep(0.005)

    def drawn(self):
        return sum(map(int, (self.folder / "drawn").read_text().split()))

    def counts(self):
        counts, metadata = read_counts(self.folder / f"{SHARD}.parquet")
        return counts.map(lambda x: x.tolist() if isinstance(x, np.ndarray) else x), metadata

    def provenance(self):
        return json.loads((self.folder / f"{SHARD}.json").read_text())

    def stderr(self):
        return (self.folder / "stderr").read_text()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    shard = Shard(tmp_path_factory.mktemp("undisturbed"))
    assert shard.finish() == 0
    return shard


@pytest.fixture
def shard(tmp_path):
    return Shard(tmp_path)


def assert_same_counts(shard, other):
    (counts, metadata), (others, expected) = shard.counts(), other.counts()
    assert metadata == expected
    assert counts.equals(others)


def test_an_undisturbed_shard_draws_each_sample_once(undisturbed):
    counts, metadata = undisturbed.counts()
    assert metadata["n"] == N
    # Others would make every shard that is there again.
    assert metadata.keys() == {
        "protocol", "study", "experiment", "dataset", "sigma", "seed", "n0", "n", "plan",
        "precision", "backend", "num_classes", "models", "data", "depends",
    }  # fmt: skip
    assert [sum(row) for row in counts["estimation"]] == [N] * IMAGES
    assert undisturbed.drawn() == SAMPLES
    record = undisturbed.provenance()
    assert (record["samples"], record["samples_drawn"], record["starts"]) == (SAMPLES, SAMPLES, 1)
    assert record["images_done"] == IMAGES
    assert record["compiled"] is False
    assert not (undisturbed.folder / f"{SHARD}.lock").exists()
    lines = (undisturbed.folder / "log").read_text().splitlines()
    assert f"computing on {undisturbed.provenance()['device']}" in lines[1]
    assert ": 100% " in lines[-1]
    assert f" {SAMPLES}/{SAMPLES} " in lines[-1]
    assert not list(undisturbed.folder.glob("*.progress"))


#: A network of the user's own which finds in every pixel so many times the noise that it is.
FINDS = """
import torch

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, time):
        return self.factor * x

build = Network
"""


def test_a_denoiser_that_denoises_not_is_refused_before_any_sample(shard):
    network = {"network": "network.py:build", "input": {"channels": 1, "size": 8}, "arguments": {}}
    described = network | {"schedule": {"name": "cosine", "steps": 4000}}
    models = depends_on()["models"] | {"u": {"description": described, "layout": {}}}
    (shard.folder / "network.py").write_text(FINDS)
    for factor, code in ((5.0, 1), (0.4, 0)):
        torch.save({"factor": torch.tensor([factor])}, shard.folder / "u.pt")
        assert shard.finish(denoiser="u", models=models) == code
        if code:
            assert not (shard.folder / "drawn").exists()
            (line,) = shard.stderr().splitlines()
            assert "denoised images are worse than noisy ones: at sigma 0.25 a PSNR of" in line
    assert shard.drawn() == SAMPLES
    found = shard.provenance()["denoising"]
    assert found.keys() == {"sigma", "psnr_noisy", "psnr_denoised", "samples"}
    assert (found["sigma"], found["psnr_noisy"]) == (0.25, pytest.approx(12.0, abs=0.6))
    assert "at sigma 0.25 a PSNR of" in (shard.folder / "log").read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ended_at_random_moments(shard, undisturbed, number):
    rng = random.Random(int(number))
    ended = 0
    while (job := shard.start()) and ended < 5:
        shard.wait_for(shard.saved() + rng.randint(1, SAMPLES // 10), job)
        time.sleep(rng.random() / 50)
        os.kill(job.pid, number)
        job.join()
        assert job.exitcode in (0, -number if number == signal.SIGKILL else 75)
        ended += 1
    job.join()
    assert job.exitcode == 0
    assert_same_counts(shard, undisturbed)
    record = shard.provenance()
    assert record["starts"] == ended + 1
    assert record["samples"] == record["samples_drawn"] == SAMPLES
    lost = ended * BLOCK if number == signal.SIGKILL else 0
    assert SAMPLES <= shard.drawn() <= SAMPLES + lost


def test_an_asked_stop_saves_what_a_far_checkpoint_has_not(shard):
    job = shard.start(checkpoint_seconds=3600)
    drawn = shard.folder / "drawn"
    while not drawn.exists() or shard.drawn() < SAMPLES // 10:
        time.sleep(0.005)
    os.kill(job.pid, signal.SIGTERM)
    os.kill(job.pid, signal.SIGTERM)
    job.join()
    assert job.exitcode == 75
    assert shard.saved() == shard.drawn()
    assert shard.stderr().startswith(f"certify_shard: stopped after {shard.saved()} samples")
    assert not (shard.folder / f"{SHARD}.parquet").exists()
    assert not (shard.folder / f"{SHARD}.lock").exists()
    assert shard.finish() == 0
    assert shard.drawn() == SAMPLES
    first, second = (shard.folder / "devices").read_text().splitlines()
    assert (first, second) == ("None", shard.provenance()["device"])


def test_two_jobs_at_once_do_the_work_once(shard, undisturbed):
    jobs = [shard.start(), shard.start()]
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0]
    assert shard.drawn() == SAMPLES
    assert_same_counts(shard, undisturbed)


def test_a_finished_shard_whose_outputs_are_gone_draws_nothing_new(shard, undisturbed):
    shard.finish()
    (shard.folder / f"{SHARD}.parquet").unlink()
    assert shard.finish() == 0
    assert shard.drawn() == SAMPLES
    assert_same_counts(shard, undisturbed)


def test_a_damaged_checkpoint_starts_the_shard_over(shard, undisturbed):
    shard.finish()
    shard.checkpoint.write_bytes(shard.checkpoint.read_bytes()[:-1])
    (shard.folder / f"{SHARD}.parquet").unlink()
    assert shard.finish() == 0
    assert shard.drawn() == 2 * SAMPLES
    assert "is damaged; the work starts over" in (shard.folder / "log").read_text()
    assert_same_counts(shard, undisturbed)


def test_other_weights_start_the_shard_over(shard):
    shard.finish()
    torch.manual_seed(2)
    torch.nn.init.normal_(next(shard.network.parameters()))
    shard.write_weights()
    assert shard.finish() == 0
    assert shard.drawn() == 2 * SAMPLES
    assert "has another models.c: " in (shard.folder / "log").read_text()


def test_a_wrong_mean_mended_in_the_middle_starts_the_shard_over(shard, tmp_path_factory):
    job = shard.start(mean=0.9)
    shard.wait_for(SAMPLES // 4, job)
    os.kill(job.pid, signal.SIGTERM)
    job.join()
    assert 0 < shard.saved() < SAMPLES
    assert shard.finish() == 0
    lines = (shard.folder / "log").read_text().splitlines()
    (said,) = [line for line in lines if "starts over" in line]
    assert "has another depends.models.c.description.input.mean: [0.9], not [0.3]" in said
    right = Shard(tmp_path_factory.mktemp("right"))
    assert right.finish() == 0
    assert_same_counts(shard, right)


def test_counts_that_are_still_right_are_kept(shard):
    shard.finish()
    shard.checkpoint.unlink()  # as after merging
    kept = (shard.folder / f"{SHARD}.json").read_bytes()
    assert shard.finish() == 0
    assert shard.drawn() == SAMPLES
    assert (shard.folder / f"{SHARD}.json").read_bytes() == kept
    assert "is what is wanted; it is kept" in (shard.folder / "log").read_text()


@pytest.mark.parametrize("change", [{"mean": 0.9}, {"seed": 6}, {"timestep": "authors"}])
def test_counts_of_something_else_are_made_again(shard, change):
    shard.finish()
    shard.checkpoint.unlink()
    assert shard.finish(**change) == 0
    assert shard.drawn() == 2 * SAMPLES


def test_shards_of_another_size_take_over_the_votes_that_are_there(shard, undisturbed):
    first = SHARD.replace("images_00000-00002", "images_00000-00000")
    assert shard.finish(shard=first) == 0
    assert shard.drawn() == SAMPLES // IMAGES
    assert shard.finish() == 0
    assert shard.drawn() == SAMPLES
    assert "has the votes of 1 of these images" in (shard.folder / "log").read_text()
    assert_same_counts(shard, undisturbed)


def test_damaged_counts_are_made_again(shard, undisturbed):
    shard.finish()
    shard.checkpoint.unlink()
    path = shard.folder / f"{SHARD}.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert shard.finish() == 0
    assert shard.drawn() == 2 * SAMPLES
    assert_same_counts(shard, undisturbed)


def test_a_model_that_returns_nan_is_one_line(shard):
    torch.nn.init.constant_(next(shard.network.parameters()), float("nan"))
    shard.write_weights()
    assert shard.finish() == 1
    assert shard.stderr() == ("certify_shard: classifier 'c' returned NaN or infinity (log: log)\n")
    assert (
        (shard.folder / "log")
        .read_text()
        .splitlines()[-1]
        .endswith("failed: classifier 'c' returned NaN or infinity")
    )
    assert not (shard.folder / f"{SHARD}.parquet").exists()
    assert shard.saved() == 0


def test_a_full_disk_loses_nothing_that_was_saved(small_disk, fill, undisturbed):
    shard = Shard(small_disk)
    job = shard.start()
    shard.wait_for(SAMPLES // 10, job)
    filling = fill(small_disk)
    saved = shard.saved()
    job.join()
    assert job.exitcode == 1
    assert shard.saved() >= saved > 0
    filling.unlink()
    assert shard.finish() == 0
    assert_same_counts(shard, undisturbed)


def test_a_read_only_folder_is_one_line(shard, read_only):
    read_only((shard.folder / SHARD).parent)
    assert shard.finish() == 1
    assert shard.stderr().startswith("certify_shard: [Errno 30] Read-only file system: ")
    assert shard.stderr().count("\n") == 1
    assert not (shard.folder / "drawn").exists()


def test_what_a_shard_compiles_the_next_one_finds(shard, undisturbed):
    first = SHARD.replace("images_00000-00002", "images_00000-00000")
    assert shard.finish(shard=first, compiler_works=True) == 0
    assert shard.finish(compiler_works=True) == 0
    assert (shard.folder / "found").read_text().splitlines() == ["[]", "['program']"]
    assert len(list((shard.folder / "results/.programs").rglob("*.programs"))) == 1
    assert shard.provenance()["compiled"] is True
    assert_same_counts(shard, undisturbed)


def begin(shard, *, compiler_works):
    """Let a job draw some of the samples, and return how many."""
    job = shard.start(compiler_works=compiler_works)
    shard.wait_for(SAMPLES // 4, job)
    os.kill(job.pid, signal.SIGTERM)
    job.join()
    assert 0 < shard.saved() < SAMPLES
    return shard.saved()


def test_a_shard_that_began_without_a_compiler_goes_on_without(shard):
    begin(shard, compiler_works=False)
    assert shard.finish(compiler_works=True) == 0
    assert len((shard.folder / "found").read_text().splitlines()) == 1
    assert shard.provenance()["compiled"] is False
    assert shard.drawn() == SAMPLES


def test_votes_of_compiled_networks_are_not_mixed_with_others(shard):
    saved = begin(shard, compiler_works=True)
    assert shard.finish(compiler_works=False) == 1
    assert f"torch.compile failed here, and {SHARD}.checkpoint holds votes" in shard.stderr()
    assert shard.saved() == saved
    assert shard.finish(compiler_works=True) == 0
    assert shard.provenance()["compiled"] is True
    assert shard.provenance()["samples"] == shard.provenance()["samples_drawn"] == SAMPLES
