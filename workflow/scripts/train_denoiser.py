"""Train a diffusion model on clean images."""

from dds.networks.registry import build_denoiser
from dds.networks.training import train_denoiser
from jobs.job import job
from jobs.training import training

with job(globals()) as snakemake, training(snakemake) as run:
    if run:
        denoiser = build_denoiser(run.depends["model"]["description"])
        train_denoiser(denoiser, run.train.images, **run.settings)
        run.finish(denoiser.network)
