"""Train a diffusion model on clean images."""

from dds.networks.registry import build_denoiser
from dds.networks.training import train_denoiser
from jobs.job import job
from jobs.training import TrainingJob

with job(snakemake):
    run = TrainingJob(snakemake, "train")
    denoiser = build_denoiser(snakemake.params.model)
    train_denoiser(denoiser, run.train.images, **run.settings)
    run.finish(denoiser.network)
