"""Tune a classifier to the denoised images of one sigma."""

from dds.networks.registry import load_classifier, load_denoiser
from dds.networks.training import accuracy, denoised, train_classifier
from jobs.job import job
from jobs.training import TrainingJob

with job(snakemake):
    run = TrainingJob(snakemake, "finetune")
    params, inputs = snakemake.params, snakemake.input
    timestep = params.model["weights"]["finetune"]["timestep"]
    denoiser = load_denoiser(params.denoiser, inputs.denoiser, timestep=timestep)
    denoiser = denoiser.to(run.device).eval()
    # The weights are those of the classifier to start from; the rest of the entry is the same.
    classifier = load_classifier(params.model | {"weights": params.start["weights"]}, inputs.start)
    corruption = denoised(denoiser, params.sigma)
    train_classifier(
        classifier, run.train.images, run.train.labels, corruption=corruption, **run.settings
    )
    validation = accuracy(
        classifier, run.validation.images, run.validation.labels,
        corruption=corruption, device=run.device,
    )  # fmt: skip
    run.finish(classifier.network, validation_accuracy=validation)
