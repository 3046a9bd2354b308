"""Tune a classifier to the denoised images of one sigma."""

from dds.networks.training import denoised, train_classifier
from jobs.job import job
from jobs.models import load_classifier, load_denoiser
from jobs.training import training

with job(globals()) as snakemake, training(snakemake) as run:
    if run:
        depends, inputs = run.depends, snakemake.input
        denoiser = load_denoiser(depends["denoiser"], inputs.denoiser, timestep=depends["timestep"])
        corruption = denoised(denoiser.to(run.device).eval(), depends["sigma"])
        classifier = load_classifier(depends["start"], inputs.start)
        train_classifier(
            classifier, run.train.images, run.train.labels, corruption=corruption, **run.settings
        )
        run.finish(classifier.network, validation_accuracy=run.accuracy(classifier, corruption))
