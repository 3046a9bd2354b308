"""The paper's models at full size, with random weights: their sizes, and an image's whole path."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from dds.networks.registry import build_classifier, build_denoiser

ROOT = Path(__file__).parents[3]
REGISTRY = yaml.safe_load((ROOT / "config/models.yaml").read_text())


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def inputs_of(network):
    """Return a list that collects what the network is given."""
    seen = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    return seen


def denoise(name, image, sigma, *, count, timestep):
    """Add noise and remove it by a model that then leaves the memory."""
    model = build_denoiser(REGISTRY[name], timestep="authors").eval()
    assert parameters(model.network) == count
    seen = inputs_of(model.network)
    noisy = image + model.noise_sigma(sigma) * torch.randn_like(image)
    with torch.inference_mode():
        denoised = model.denoise(noisy, sigma)
    ((x, t),) = seen
    assert x.shape == image.shape
    assert t.tolist() == pytest.approx([timestep])
    return denoised


def classify(name, image, *, count, size, classes):
    entry = REGISTRY[name]
    if isinstance(entry["classes"], str):
        entry = entry | {"classes": (ROOT / entry["classes"]).read_text().split()}
    model = build_classifier(entry).eval()
    assert parameters(model.network) == count
    seen = inputs_of(model.network)
    with torch.inference_mode():
        logits = model(image)
    ((x,),) = seen
    assert x.shape == (1, 3, size, size)
    assert x.min() < -0.5  # the network is given [-1,1], but for the overshoot of resizing
    assert x.max() > 0.5
    assert x.abs().max() < 2
    assert logits.shape == (1, classes)
    assert logits.isfinite().all()


@pytest.mark.slow
def test_cifar10():
    image = torch.rand(1, 3, 32, 32)
    # Timestep 2809 of 4000, told to the network on a scale of 1000.
    denoised = denoise("cifar10_unet", image, 1.0, count=52_546_438, timestep=702.25)
    assert 0 <= denoised.min() <= denoised.max() <= 1
    classify("cifar10_vit", denoised, count=85_806_346, size=224, classes=10)


@pytest.mark.slow
def test_imagenet():
    image = torch.rand(1, 3, 224, 224)
    denoised = denoise("imagenet_unet", image, 1.0, count=552_814_086, timestep=396)
    assert 0 <= denoised.min() <= denoised.max() <= 1
    classify("imagenet_beit", denoised, count=305_674_728, size=512, classes=1000)


def test_wide_resnet_has_the_36_million_parameters_of_the_paper():
    # 36,479,194: Zagoruyko and Komodakis (2016) print 36.5M for WRN-28-10.
    assert parameters(build_classifier(REGISTRY["cifar10_wide_resnet"]).network) == 36_479_194
