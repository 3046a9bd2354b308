"""Train a classifier on clean images, or on noisy ones of one sigma."""

from dds.networks.registry import build_classifier
from dds.networks.training import accuracy, gaussian, train_classifier
from jobs.job import job
from jobs.training import TrainingJob

with job(snakemake):
    run = TrainingJob(snakemake, "train")
    sigma = snakemake.params.sigma
    corruption = gaussian(sigma) if sigma else None
    classifier = build_classifier(snakemake.params.model)
    train_classifier(
        classifier, run.train.images, run.train.labels, corruption=corruption, **run.settings
    )
    validation = accuracy(
        classifier, run.validation.images, run.validation.labels,
        corruption=corruption, device=run.device,
    )  # fmt: skip
    run.finish(classifier.network, validation_accuracy=validation)
