"""Count the votes of the smoothed classifiers on some images at one sigma."""

import logging
import time
from pathlib import Path

import pandas as pd
import torch

from dds.checkpoints import UnusableCheckpoint, load_checkpoint, save_checkpoint
from dds.counts import write_counts
from dds.datasets import check_classes, read_pack
from dds.denoisers import NoDenoiser
from dds.files import sha256, write_json
from dds.grid import shard_range
from dds.models import load_classifier, load_denoiser
from dds.plans import make_plan
from dds.progress import Interrupted, Progress
from dds.smoothing import SmoothedClassifier, Votes
from support.device import device_name, prepare_device
from support.job import defer_signals, job
from support.lock import hold
from support.provenance import Provenance

logger = logging.getLogger("certify_shard")


def load_models(inputs, models, settings):
    """Return the experiment's classifiers, by name, and its denoiser, with weights."""
    classifiers = {
        name: load_classifier(models[name], inputs[name]) for name in settings["classifiers"]
    }
    name = settings["denoiser"]
    if name == "none":
        return classifiers, NoDenoiser()
    denoiser = load_denoiser(
        models[name], inputs[name], timestep=settings["timestep"], steps=settings["steps"]
    )
    return classifiers, denoiser


def run(smoothed, pack, images, checkpoint, identity, lock, should_stop, every):
    """Sample a shard's images, with checkpoints; go on from one where it can be used."""
    try:
        votes = load_checkpoint(checkpoint, identity)
    except UnusableCheckpoint as reason:
        logger.warning("%s; the shard starts over", reason)
        votes = None
    classes = len(pack.classes)
    if votes is None:
        votes = Votes.none(len(images), len(smoothed.classifiers), classes)
    else:
        logger.info("going on after %d samples, from %s", votes.samples, checkpoint)
    resumed = votes.samples
    saved = time.monotonic()

    def save():
        lock.verify()
        save_checkpoint(checkpoint, votes, identity)

    with Progress(
        len(images) * (smoothed.plan.n0 + smoothed.plan.n), "certify", "samples", done=resumed
    ) as progress:

        def after_batch(votes):
            nonlocal saved
            progress.advance(votes.samples - progress.done)
            if should_stop():
                raise Interrupted(f"stopped after {progress.done} samples; saved in {checkpoint}")
            if time.monotonic() - saved > every:
                save()
                saved = time.monotonic()

        try:
            smoothed.sample(
                pack.pixels(images), pack.labels[images].tolist(), images,
                classes=classes, votes=votes, after_batch=after_batch,
            )  # fmt: skip
        finally:
            save()
    return votes, votes.samples - resumed


def counts_frame(votes, classifiers, images, labels, sigma):
    """Return one row an image and classifier."""
    per_image = len(classifiers)
    return pd.DataFrame(
        {
            "image": [image for image in images for _ in classifiers],
            "label": [label for label in labels for _ in classifiers],
            "sigma": sigma,
            "classifier": list(classifiers) * len(images),
            "selection": list(votes.selection.reshape(len(images) * per_image, -1)),
            "estimation": list(votes.estimation.reshape(len(images) * per_image, -1)),
        }
    )


with job(snakemake):
    provenance = Provenance()
    should_stop = defer_signals()
    wildcards, params, inputs = snakemake.wildcards, snakemake.params, snakemake.input
    settings, sigma = params.settings, float(wildcards.sigma)
    device = prepare_device(snakemake.config["device"], snakemake.threads)
    pack = read_pack(inputs.pack)
    images = shard_range(wildcards.shard)
    if images[-1] >= len(pack.images):
        raise ValueError(f"{inputs.pack} has {len(pack.images)} images, the shard needs {images}")
    for name in settings["classifiers"]:
        check_classes(params.models[name]["classes"], pack.classes, of=name)
    classifiers, denoiser = load_models(inputs, params.models, settings)
    smoothed = SmoothedClassifier(
        classifiers, denoiser, sigma, make_plan(settings, sigma), params.seed,
        batch_size=settings["batch_size"], deterministic=settings["deterministic"],
        noise=settings["noise"], precision=settings["precision"], device=device,
    )  # fmt: skip
    metadata = {
        "protocol": params.protocol,
        "study": Path(snakemake.output.counts).parts[1],
        "experiment": wildcards.experiment,
        "dataset": settings["dataset"],
        "sigma": sigma,
        "seed": params.seed,
        "n0": smoothed.plan.n0,
        "n": smoothed.plan.n,
        "plan": smoothed.plan.to_dict(),
        "precision": settings["precision"],
        "backend": device.type,
        "num_classes": len(pack.classes),
        "models": {name: sha256(inputs[name]) for name in params.models},
    }
    identity = metadata | {
        "settings": settings,
        "images": wildcards.shard,
        "data": sha256(inputs.pack),
        "device": device_name(device),
        "torch": torch.__version__,
    }
    output = Path(snakemake.output.counts)
    checkpoint = output.with_suffix(".checkpoint")
    with hold(output.with_suffix(".lock")) as lock:
        votes, drawn = run(smoothed, pack, images, checkpoint, identity, lock, should_stop,
                           snakemake.config["checkpoint_seconds"])  # fmt: skip
        lock.verify()
        frame = counts_frame(votes, classifiers, images, pack.labels[images].tolist(), sigma)
        write_counts(output, frame, metadata)
        facts = provenance.finish(**identity, samples=votes.samples, samples_drawn_now=drawn)
        write_json(snakemake.output.provenance, facts | {
            "samples_per_second": round(drawn / facts["seconds"], 1)})  # fmt: skip
