"""Train a diffusion model on clean images."""

from dds.models import build_denoiser
from dds.training import train_denoiser
from support.job import job
from support.training_job import TrainingJob

with job(snakemake):
    run = TrainingJob(snakemake, "train")
    denoiser = build_denoiser(snakemake.params.model)
    train_denoiser(denoiser, run.train.images, **run.settings)
    run.finish(denoiser.network)
