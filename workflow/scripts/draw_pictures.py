"""Add noise to some images at each sigma, and remove it again, for a figure."""

import numpy as np
import torch

from dds.data.packs import read_pack
from dds.files import atomic_path
from dds.networks.registry import load_denoiser
from dds.seeds import stream_seed
from jobs.device import prepare_device
from jobs.job import job

with job(snakemake):
    params, inputs = snakemake.params, snakemake.input
    device = prepare_device(snakemake.config["device"], snakemake.threads)
    pack = read_pack(inputs.pack)
    denoiser = load_denoiser(
        params.denoiser, inputs.denoiser,
        timestep=params.settings["timestep"], steps=params.settings["steps"],
    ).to(device).eval()  # fmt: skip
    images = np.arange(params.images)
    clean = torch.from_numpy(pack.pixels(images)).to(device)
    generator = torch.Generator(device).manual_seed(stream_seed(params.seed, "pictures"))
    normal = torch.randn(clean.shape, generator=generator, device=device)
    noisy, denoised = [], []
    for sigma in params.settings["sigmas"]:
        noisy.append(clean + denoiser.noise_sigma(sigma) * normal)
        with torch.inference_mode():
            denoised.append(denoiser.denoise(noisy[-1], sigma))
    with atomic_path(snakemake.output[0]) as temporary:
        np.savez(
            temporary,
            clean=clean.cpu(),
            noisy=torch.stack(noisy).cpu(),
            denoised=torch.stack(denoised).cpu(),
            sigmas=np.array(params.settings["sigmas"]),
            labels=pack.labels[images],
        )
