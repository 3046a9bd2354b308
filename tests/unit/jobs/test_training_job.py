"""Training is resumed, started over and kept by what its result depends on."""

import json
import multiprocessing
import os
import runpy
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dds.data.packs import Pack, write_pack
from dds.files import sha256
from dds.networks.registry import build_classifier
from dds.networks.weights import save_weights
from jobs.checkpoints import UnusableCheckpoint, read_progress
from jobs.training import TrainingJob

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts"
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["torch"])
CLASSES = ["0", "1", "2"]
CNN = {
    "network": "wide_resnet", "arguments": {"depth": 10, "width": 1, "base": 8},
    "input": {"channels": 1, "size": 8, "mean": [0.3], "std": [0.4]}, "classes": CLASSES,
}  # fmt: skip
UNET = {
    "network": "guided_diffusion_unet",
    "arguments": {"image_size": 8, "in_channels": 1, "out_channels": 1, "model_channels": 32,
                  "num_res_blocks": 1, "attention_resolutions": [], "channel_mult": [1]},
    "input": {"channels": 1, "size": 8}, "schedule": {"name": "cosine", "steps": 100},
}  # fmt: skip
RECIPE = {
    "iterations": 40, "batch_size": 8, "learning_rate": 0.01, "weight_decay": 0.0,
    "optimizer": "adamw", "ema": 0.9, "augmentation": "none", "precision": "float32",
}  # fmt: skip
FEW = RECIPE | {"iterations": 3}


class Files(dict):
    """Named files, as Snakemake gives them."""

    __getattr__ = dict.__getitem__

    def __iter__(self):
        return iter(self.values())


def model(described, **changes):
    return {"description": described | changes, "layout": {}}


def training(recipe=RECIPE, **changes):
    """Return what trained weights depend on, as `study.depends.weights` does."""
    return {
        "protocol": 1,
        "seed": 5,
        "sigma": None,
        "model": model(CNN),
        "recipe": recipe,
    } | changes


def run_rule(folder, rule, name, depends, inputs, every):
    os.chdir(folder)
    snakemake = SimpleNamespace(
        rule=rule, log=["log"], threads=1, wildcards=SimpleNamespace(weights=name),
        input=Files({"train": "d.npz", "validation": "d.npz"} | inputs),
        output=Files(weights=f"{name}.pt", provenance=f"{name}.json"),
        params=SimpleNamespace(depends=depends),
        config={"device": "cpu", "checkpoint_seconds": every},
    )  # fmt: skip
    runpy.run_path(str(SCRIPTS / f"{rule}.py"), {"snakemake": snakemake})


class Trainings:
    """A folder in which models are trained."""

    def __init__(self, folder):
        self.folder = folder
        rng = np.random.default_rng(1)
        images = rng.integers(0, 256, (30, 1, 8, 8), np.uint8)
        ids = np.array([str(i) for i in range(30)])
        write_pack(folder / "d.npz", Pack(images, np.arange(30) % 3, ids, np.array(CLASSES)))

    def start(self, depends, name="cnn", rule="train_classifier", every=0.0, **inputs):
        arguments = (self.folder, rule, name, depends, inputs, every)
        job = PROCESSES.Process(target=run_rule, args=arguments)
        job.start()
        return job

    def finish(self, depends, **options):
        job = self.start(depends, **options)
        job.join()
        return job.exitcode

    def iterations(self, name="cnn"):
        try:
            return read_progress(self.folder / f"{name}.checkpoint").get("iterations", 0)
        except (FileNotFoundError, UnusableCheckpoint):
            return 0

    def interrupt(self, depends, number=signal.SIGTERM, **options):
        """Train until some iterations are saved, and send a signal."""
        job = self.start(depends, **options)
        name = options.get("name", "cnn")
        while self.iterations(name) < 2 and job.exitcode is None:
            time.sleep(0.002)
        os.kill(job.pid, number)
        job.join()
        assert self.iterations(name) > 0
        return job.exitcode

    def digest(self, name="cnn"):
        return sha256(self.folder / f"{name}.pt")

    def record(self, name="cnn"):
        return json.loads((self.folder / f"{name}.json").read_text())

    def log(self):
        return (self.folder / "log").read_text()

    def tune(self, **changes):
        """Return what tuned weights depend on, after training what they need."""
        if not (self.folder / "unet.pt").exists():
            unet = training(FEW, model=model(UNET))
            assert self.finish(unet, name="unet", rule="train_denoiser") == 0
            assert self.finish(training(FEW)) == 0
        return (
            training(sigma=0.25, start=model(CNN), denoiser=model(UNET), timestep="nearest")
            | changes
        )

    @property
    def tuning(self):
        """The rest of what a tuning rule is given."""
        return {"name": "tuned", "rule": "finetune_classifier", "start": "cnn.pt",
                "denoiser": "unet.pt"}  # fmt: skip


@pytest.fixture
def here(tmp_path):
    return Trainings(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    there = Trainings(tmp_path_factory.mktemp("undisturbed"))
    assert there.finish(training()) == 0
    return there


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_training_ends_like_one_that_was_not(here, undisturbed, number):
    assert here.interrupt(training(), number) == (75 if number == signal.SIGTERM else -number)
    assert not (here.folder / "cnn.pt").exists()
    assert here.finish(training()) == 0
    assert here.digest() == undisturbed.digest()
    assert here.record()["starts"] == 2
    assert not (here.folder / "cnn.checkpoint").exists()
    assert not (here.folder / "cnn.lock").exists()


WRONG = {
    "mean": model(CNN, input=CNN["input"] | {"mean": [0.9]}),
    "size": model(CNN, input=CNN["input"] | {"size": 16}),
}


@pytest.mark.parametrize("key", WRONG)
def test_a_wrong_entry_mended_in_the_middle_starts_the_training_over(here, undisturbed, key):
    here.interrupt(training(model=WRONG[key]))
    assert here.finish(training()) == 0
    (said,) = [line for line in here.log().splitlines() if "starts over" in line]
    assert f"has another depends.model.description.input.{key}: " in said
    assert here.digest() == undisturbed.digest()


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"timestep": "authors"}, "depends.timestep"),
        ({"start": model(CNN, input=CNN["input"] | {"std": [0.9]})},
         "depends.start.description.input.std"),
        ({"denoiser": model(UNET, schedule={"name": "linear", "steps": 100})},
         "depends.denoiser.description.schedule.name"),
    ],
)  # fmt: skip
def test_tuning_with_another_denoiser_start_or_timestep_starts_over(here, changes, place):
    right = here.tune()
    here.interrupt(here.tune(**changes), **here.tuning)
    assert here.finish(right, **here.tuning) == 0
    (said,) = [line for line in here.log().splitlines() if "starts over" in line]
    assert f"has another {place}: " in said


def test_tuning_on_noise_reads_no_denoiser_and_tells_its_recipe(here):
    vit = {
        "network": "timm",
        "arguments": {"model": "vit_tiny_patch16_224", "img_size": 8, "patch_size": 4,
                      "embed_dim": 16, "depth": 2, "num_heads": 2},
        "input": CNN["input"], "classes": CLASSES,
    }  # fmt: skip
    others = vit | {"classes": ["cat", "dog"]}
    save_weights(build_classifier(others).network, here.folder / "vit.pt")
    recipe = FEW | {"layer_decay": 0.65, "label_smoothing": 0.1}
    depends = training(recipe, model=model(vit), start=model(others), sigma=0.25, drop_path=0.1,
                       anew=["head"])  # fmt: skip
    job = {"name": "tuned", "rule": "finetune_classifier", "start": "vit.pt"}
    assert here.finish(depends, **job) == 0
    record = here.record("tuned")
    assert record["depends"]["recipe"] == recipe
    assert record["depends"]["drop_path"] == 0.1
    assert record["inputs"].keys() == {"train", "validation", "start"}
    dropped = here.digest("tuned")
    assert here.finish(depends | {"drop_path": 0.9}, **job) == 0
    assert here.digest("tuned") != dropped


@pytest.mark.parametrize(("of_the_recipe", "most"), [(8, 8), (128, 32)])
def test_accuracy_is_measured_in_batches_that_memory_has_room_for(of_the_recipe, most):
    sizes = []

    class Spy(torch.nn.Module):
        def forward(self, images):
            sizes.append(len(images))
            return images.flatten(1)

    images, labels = np.zeros((130, 1, 1, 2), np.uint8), np.zeros(130, np.int64)
    run = SimpleNamespace(
        validation=SimpleNamespace(images=images, labels=labels),
        settings={"recipe": SimpleNamespace(batch_size=of_the_recipe)},
        device="cpu",
    )
    assert TrainingJob.accuracy(run, Spy(), None) == 1
    assert max(sizes) == most


def test_weights_that_are_still_right_are_kept(here):
    assert here.finish(training(FEW)) == 0
    kept = (here.folder / "cnn.json").read_bytes()
    assert here.finish(training(FEW)) == 0
    assert (here.folder / "cnn.json").read_bytes() == kept
    assert "is what is wanted; it is kept" in here.log()


@pytest.mark.parametrize(
    ("rule", "described", "is_kept"),
    [("train_denoiser", UNET, True), ("train_classifier", CNN, False)],
)
def test_a_denoiser_is_kept_where_other_images_validate(here, rule, described, is_kept):
    depends = training(FEW, model=model(described))
    assert here.finish(depends, name="it", rule=rule) == 0
    shutil.copy(here.folder / "d.npz", here.folder / "other.npz")
    with (here.folder / "other.npz").open("ab") as file:
        file.write(b"more")
    assert here.finish(depends, name="it", rule=rule, validation="other.npz") == 0
    assert ("is what is wanted; it is kept" in here.log()) == is_kept
    assert here.finish(depends, name="it", rule=rule, train="other.npz") == 0
    assert "it is kept" not in here.log()


@pytest.mark.parametrize(
    "changes", [{"seed": 6}, {"model": WRONG["mean"]}, {"recipe": FEW | {"learning_rate": 0.5}}]
)
def test_weights_of_something_else_are_trained_again(here, changes):
    assert here.finish(training(FEW)) == 0
    first = here.digest()
    assert here.finish(training(FEW) | changes) == 0
    assert here.digest() != first


def test_weights_that_their_record_does_not_speak_of_are_trained_again(here):
    assert here.finish(training(FEW)) == 0
    right = here.digest()
    with (here.folder / "cnn.pt").open("ab") as file:
        file.write(b"more")
    assert here.finish(training(FEW)) == 0
    assert here.digest() == right


def of_version_0_1(here, **changes):
    """Rewrite the record of the weights as version 0.1 wrote it."""
    record = here.record()
    entry = {"kind": "classifier", **CNN, "licence": "MIT",
             "weights": {"train": {"dataset": "d", "noise": "none", **FEW}}} | changes  # fmt: skip
    del record["depends"]
    record |= {"entry": entry, "seed": 5}
    (here.folder / "cnn.json").write_text(json.dumps(record))


def test_weights_of_version_0_1_are_kept(here):
    assert here.finish(training(FEW)) == 0
    of_version_0_1(here)
    assert here.finish(training(FEW)) == 0
    assert "is what is wanted; it is kept" in here.log()


@pytest.mark.parametrize(
    "changes",
    [
        {"input": CNN["input"] | {"mean": [0.9]}},
        {"weights": {"train": FEW | {"dataset": "d", "learning_rate": 0.5}}},
    ],
)
def test_weights_of_version_0_1_that_say_otherwise_are_trained_again(here, changes):
    assert here.finish(training(FEW)) == 0
    of_version_0_1(here, **changes)
    assert here.finish(training(FEW)) == 0
    assert "it is kept" not in here.log()
    assert "entry" not in here.record()


def test_two_jobs_at_once_train_once(here):
    jobs = [here.start(training()), here.start(training())]
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0]
    assert here.record()["starts"] == 1
