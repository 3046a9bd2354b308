"""Tune a classifier to the denoised images of one sigma."""

from dds.models import build_classifier, build_denoiser, load_weights
from dds.training import accuracy, denoised, train_classifier
from support.job import job
from support.training_job import TrainingJob

with job(snakemake):
    run = TrainingJob(snakemake, "finetune")
    denoiser = build_denoiser(snakemake.params.denoiser).to(run.device).eval()
    load_weights(denoiser.network, snakemake.input.denoiser)
    classifier = build_classifier(snakemake.params.model)
    load_weights(classifier.network, snakemake.input.start)
    corruption = denoised(denoiser, snakemake.params.sigma)
    train_classifier(
        classifier, run.train.images, run.train.labels, corruption=corruption, **run.settings
    )
    validation = accuracy(
        classifier, run.validation.images, run.validation.labels,
        corruption=corruption, device=run.device,
    )  # fmt: skip
    run.finish(classifier.network, validation_accuracy=validation)
