"""The fast path gives the counts of the paper's Figure 1, written out line by line."""

import pytest
import torch
from torch.nn import functional

from dds.networks.registry import build_classifier, build_denoiser
from dds.sampling.smoothing import SmoothedClassifier
from dds.seeds import BLOCK, ESTIMATION, SELECTION, noise_seed
from dds.statistics.plans.fixed import Fixed

SIGMA, N0, N, SEED = 0.5, 100, 200, 7
CLASSES = [str(label) for label in range(10)]
UNET = {
    "network": "guided_diffusion_unet",
    "arguments": {
        "image_size": 8, "in_channels": 3, "out_channels": 6, "model_channels": 32,
        "num_res_blocks": 1, "attention_resolutions": [4], "channel_mult": [1, 2], "num_heads": 2,
    },
    "input": {"channels": 3, "size": 8},
    "schedule": {"name": "cosine", "steps": 1000, "rescale_timesteps": True},
}  # fmt: skip
VIT = {
    "network": "timm",
    "arguments": {
        "model": "vit_tiny_patch16_224", "img_size": 16, "patch_size": 4, "depth": 2,
    },
    "input": {"channels": 3, "size": 16, "mean": [0.4], "std": [0.3]},
    "classes": CLASSES,
}  # fmt: skip


@pytest.fixture(scope="module")
def networks():
    """A denoiser and a classifier with random weights, no layer of them all zero."""
    torch.manual_seed(0)
    denoiser, classifier = build_denoiser(UNET, timestep="authors"), build_classifier(VIT)
    for parameter in (*denoiser.parameters(), *classifier.parameters()):
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return denoiser.eval(), classifier.eval()


@torch.no_grad()
def logits_of_figure_1(image, networks, phase, samples):
    """Noise at sigma, one step of denoising at t*, a classification, again and again."""
    denoiser, classifier = networks
    sigmas = [((1 - abar) / abar) ** 0.5 for abar in denoiser.schedule.alpha_bar]
    t = next(t for t, sigma in enumerate(sigmas) if sigma >= 2 * SIGMA)
    abar = denoiser.schedule.alpha_bar[t]
    logits = []
    for sample in range(samples):
        block, place = divmod(sample, BLOCK)
        seed = noise_seed(SEED, 0, SIGMA, phase, block)
        noise = torch.randn(BLOCK, 3, 8, 8, generator=torch.Generator().manual_seed(seed))[place]
        x = abar**0.5 * ((2 * image - 1) + sigmas[t] * noise)
        predicted = denoiser.network(x[None], torch.tensor([float(t)]))[:, :3]
        clean = ((x - (1 - abar) ** 0.5 * predicted) / abar**0.5).clamp(-1, 1)
        pixels = functional.interpolate(
            (clean + 1) / 2, size=(16, 16), mode="bicubic", antialias=True, align_corners=False
        )
        logits.append(classifier.network((pixels - 0.4) / 0.3)[0])
    return torch.stack(logits)


@pytest.mark.parametrize(("precision", "rounding"), [("float32", 1e-3), ("bfloat16", 0.05)])
def test_counts_differ_only_where_logits_are_near_a_tie(networks, precision, rounding):
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(1))
    denoiser, classifier = networks
    smoothed = SmoothedClassifier(
        {"vit": classifier}, denoiser, SIGMA, Fixed(N0, N), SEED, batch_size=64,
        precision=precision,
    )  # fmt: skip
    votes = smoothed.count_votes(image[None].numpy(), [None], [0], classes=10)
    for phase, counts, samples in (
        (SELECTION, votes.selection, N0), (ESTIMATION, votes.estimation, N),
    ):  # fmt: skip
        logits = logits_of_figure_1(image, networks, phase, samples)
        first, second = logits.topk(2, dim=1).values.T
        near_a_tie = int((first - second < rounding * logits.std()).sum())
        plain = torch.bincount(logits.argmax(1), minlength=10)
        moved = (plain - torch.from_numpy(counts.reshape(-1))).abs().sum().item() / 2
        assert (plain > 0).sum() > 2
        assert near_a_tie < samples / 5
        assert moved <= near_a_tie
