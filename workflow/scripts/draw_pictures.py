"""Add noise to some images at each sigma, and remove it again, for a figure."""

import numpy as np
import torch

from dds.data.packs import read_pack
from dds.files import atomic_path
from dds.seeds import stream_seed
from jobs.device import prepare_device
from jobs.job import job
from jobs.models import load_denoiser

with job(globals()) as snakemake:
    depends, inputs = snakemake.params.depends, snakemake.input
    device = prepare_device(snakemake.config["device"], snakemake.threads)
    pack = read_pack(inputs.pack)
    denoiser = load_denoiser(
        depends["model"], inputs.denoiser, timestep=depends["timestep"], steps=depends["steps"]
    )
    denoiser = denoiser.to(device).eval()
    images = np.arange(depends["images"])
    clean = torch.from_numpy(pack.pixels(images)).to(device)
    generator = torch.Generator(device).manual_seed(stream_seed(depends["seed"], "pictures"))

    def draw(step=0):
        """Return standard normal noise, of the images or of a step of a chain."""
        return torch.randn(clean.shape, generator=generator, device=device)

    normal = draw()
    noisy, denoised = [], []
    for sigma in depends["sigmas"]:
        noisy.append(clean + denoiser.noise_sigma(sigma) * normal)
        with torch.inference_mode():
            denoised.append(denoiser.denoise(noisy[-1], sigma, draw))
    with atomic_path(snakemake.output[0]) as temporary:
        np.savez(
            temporary,
            clean=clean.cpu(),
            noisy=torch.stack(noisy).cpu(),
            denoised=torch.stack(denoised).cpu(),
            sigmas=np.array(depends["sigmas"]),
            labels=pack.labels[images],
        )
