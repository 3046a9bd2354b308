"""Count the votes of the smoothed classifiers on some images at one sigma."""

from pathlib import Path

import pandas as pd
import torch

from dds.data.packs import check_classes, read_pack
from dds.files import sha256, write_json
from dds.names import shard_range
from dds.networks.denoisers import NoDenoiser
from dds.networks.registry import load_classifier, load_denoiser
from dds.progress import Interrupted, Progress
from dds.sampling.counts import write_counts
from dds.sampling.smoothing import SmoothedClassifier
from dds.sampling.votes import Votes
from dds.statistics.plans import make_plan
from jobs.device import device_name, prepare_device
from jobs.energy import EnergyMeter
from jobs.job import defer_signals, job
from jobs.lock import hold
from jobs.provenance import Provenance
from jobs.shard import Work


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


def run(smoothed, pack, images, work, should_stop, every, label):
    """Sample a shard's images, with a checkpoint every so many seconds and at the end."""
    at_most = len(images) * (smoothed.plan.n0 + smoothed.plan.n)
    with Progress(at_most, label, "samples", done=work.votes.samples) as progress:

        def after_batch(votes):
            progress.advance(votes.samples - progress.done)
            if should_stop():
                raise Interrupted(f"stopped after {progress.done} samples, which are saved")
            work.save_sometimes(every)

        try:
            smoothed.count_votes(
                pack.pixels(images), pack.labels[images].tolist(), images,
                classes=len(pack.classes), votes=work.votes, after_batch=after_batch,
            )  # fmt: skip
        finally:
            work.save()


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
        "precision": smoothed.precision,
        "backend": device.type,
        "num_classes": len(pack.classes),
        "models": {name: sha256(inputs[name]) for name in params.models},
        "data": sha256(inputs.pack),
        "settings": settings,
    }
    identity = metadata | {
        "images": wildcards.shard,
        "device": device_name(device),
        "torch": torch.__version__,
    }
    output = Path(snakemake.output.counts)
    with hold(output.with_suffix(".lock"), stop=should_stop) as lock:
        nothing = Votes.none(len(images), len(classifiers), len(pack.classes))
        work = Work(output.with_suffix(".checkpoint"), identity, lock, nothing, EnergyMeter(device))
        run(smoothed, pack, images, work, should_stop, snakemake.config["checkpoint_seconds"],
            f"certify {wildcards.experiment} sigma {sigma:g} {wildcards.shard}")  # fmt: skip
        lock.verify()
        frame = counts_frame(work.votes, classifiers, images, pack.labels[images].tolist(), sigma)
        write_counts(output, frame, metadata)
        facts = provenance.finish(**identity, batch_size=smoothed.batch_size)
        write_json(snakemake.output.provenance, facts | work.record())
