"""Families of networks: their keys are those of the code behind them, and are light to read."""

import inspect

import numpy as np
import pytest
from entries import BEIT, RESNET, UNET, VIT
from torch import nn

import dds
from dds.networks.families import FAMILIES, transformers_vit
from dds.networks.unet import guided_diffusion_unet
from dds.networks.wide_resnet import WideResNet
from dds.sampling.batch_check import check_batches


@pytest.mark.parametrize("name", FAMILIES.names)
def test_a_family_keeps_the_contract(name):
    family = FAMILIES[name]
    assert family.ROLE in ("classifier", "denoiser")
    assert family.Keys.__doc__
    for field in family.Keys.model_fields.values():
        assert field.description
    parameters = inspect.signature(family.build).parameters
    assert list(parameters) == ["arguments", "classes", "channels"]


@pytest.mark.parametrize(
    ("name", "function"),
    [("guided_diffusion_unet", guided_diffusion_unet), ("wide_resnet", WideResNet)],
)
def test_keys_and_defaults_are_those_of_the_function(name, function):
    taken = {
        key: parameter.default
        for key, parameter in inspect.signature(function).parameters.items()
        if key not in ("classes", "channels")
    }
    described = {
        key: inspect.Parameter.empty if field.is_required() else field.default
        for key, field in FAMILIES[name].Keys.model_fields.items()
    }
    assert described == taken


def test_the_vision_transformers_defaults_are_those_of_its_library():
    from transformers import ViTConfig

    config = ViTConfig()
    for key, value in transformers_vit.Keys():
        if key != "drop_path_rate":  # which is ours
            assert getattr(config, key) == value, key


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("entry", [VIT, BEIT, RESNET], ids=["ViT", "BEiT", "ResNet"])
def test_an_image_is_answered_whatever_else_is_in_its_batch(entry, precision):
    denoiser = dds.build_denoiser(UNET)
    for parameter in denoiser.parameters():  # layers that begin at zero answer nothing
        nn.init.normal_(parameter, std=0.1)
    plan = dds.make_plan({"plan": "fixed", "n0": 10, "n": 100}, 0.25)
    smoothed = dds.SmoothedClassifier(
        {"mine": dds.build_classifier(entry)}, denoiser, 0.25, plan, seed=1, precision=precision
    )
    check_batches(smoothed, np.random.default_rng(0).random((1, 3, 8, 8)), classes=3)
