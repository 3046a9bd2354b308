"""Tune a classifier to the denoised, or the noisy, images of one sigma."""

from dds.networks.registry import build_classifier
from dds.networks.training import denoised, gaussian, train_classifier
from dds.networks.weights import load_weights
from jobs.job import job
from jobs.models import load_denoiser, with_drop_path
from jobs.training import training

with job(globals()) as snakemake, training(snakemake) as run:
    if run:
        depends, inputs = run.depends, snakemake.input
        if "denoiser" in depends:
            timestep = depends["timestep"]
            denoiser = load_denoiser(depends["denoiser"], inputs.denoiser, timestep=timestep)
            corruption = denoised(denoiser.to(run.device).eval(), depends["sigma"])
        else:
            corruption = gaussian(depends["sigma"])
        model = with_drop_path(depends["model"], depends.get("drop_path"))
        classifier = build_classifier(model["description"])
        anew = depends.get("anew", ())
        load_weights(classifier.network, inputs.start, **depends["start"]["layout"], anew=anew)
        train_classifier(
            classifier, run.train.images, run.train.labels, corruption=corruption, **run.settings
        )
        run.finish(classifier.network, validation_accuracy=run.accuracy(classifier, corruption))
