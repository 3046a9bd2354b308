"""Train a classifier on clean images, or on noisy ones of one sigma."""

from dds.networks.registry import build_classifier
from dds.networks.training import gaussian, train_classifier
from jobs.job import job
from jobs.models import with_drop_path
from jobs.training import training

with job(globals()) as snakemake, training(snakemake) as run:
    if run:
        depends, sigma = run.depends, run.depends["sigma"]
        corruption = gaussian(sigma) if sigma else None
        model = with_drop_path(depends["model"], depends.get("drop_path"))
        classifier = build_classifier(model["description"])
        train_classifier(
            classifier, run.train.images, run.train.labels, corruption=corruption, **run.settings
        )
        run.finish(classifier.network, validation_accuracy=run.accuracy(classifier, corruption))
