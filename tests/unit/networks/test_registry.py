"""Descriptions become networks, of the library's families and of the user's own."""

from pathlib import Path

import pytest
import torch
import yaml
from entries import BEIT, CLASSES, RESNET, UNET, VIT

from dds.networks.description import ClassifierKeys, DenoiserKeys, with_arguments
from dds.networks.registry import build_classifier, build_denoiser

ROOT = Path(__file__).parents[3]
FAMILY = """
from __future__ import annotations
from dds import keys
from dds.keys import Count, key
ROLE = "{role}"
class Keys(keys.Keys):
    width: Count = key("Channels.", 2)
def build(arguments, *, classes, channels):
    from torch import nn
    network = nn.Conv2d(channels, arguments.width * (classes or channels), 1)
    network.told = classes, channels
    return network
"""


def test_registry_has_timms_order_of_the_imagenet_classes(pytestconfig):
    from timm.data import ImageNetInfo

    root = pytestconfig.rootpath
    entry = yaml.safe_load((root / "config/models.yaml").read_text())["imagenet_beit"]
    classes = (root / entry["classes"]).read_text().splitlines()
    assert classes == ImageNetInfo().label_names()
    assert classes == sorted(classes)


def shapes(network):
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("entry", [VIT, BEIT, RESNET])
def test_a_typed_classifier_is_that_of_the_mapping(entry):
    typed = with_arguments(ClassifierKeys, entry["network"]).model_validate(entry)
    built, wanted = build_classifier(typed), build_classifier(entry)
    assert shapes(built) == shapes(wanted)
    assert (built.size, built.mean.tolist()) == (wanted.size, wanted.mean.tolist())
    assert wanted.size == entry["input"]["size"]
    assert wanted.mean.flatten().tolist() == entry["input"].get("mean", [0.0])
    assert wanted.std.flatten().tolist() == entry["input"].get("std", [1.0])
    assert wanted.eval()(torch.rand(2, 3, 8, 8)).shape == (2, len(CLASSES))


def test_a_typed_denoiser_is_that_of_the_mapping():
    typed = with_arguments(DenoiserKeys, UNET["network"]).model_validate(UNET)
    built, wanted = (build_denoiser(entry, timestep="exact", steps=3) for entry in (typed, UNET))
    assert shapes(built) == shapes(wanted)
    assert built.schedule == wanted.schedule
    assert (wanted.schedule.steps, wanted.schedule.rescale_timesteps) == (4000, True)
    assert (wanted.timestep, wanted.steps) == ("exact", 3)


def test_what_a_registry_says_beside_the_network_is_left_alone():
    more = {"kind": "classifier", "weights": {"file": "x.pt"}, "licence": "MIT"}
    assert shapes(build_classifier(RESNET | more)) == shapes(build_classifier(RESNET))


def test_arguments_that_are_left_out_are_the_familys_defaults(tmp_path):
    (tmp_path / "mine.py").write_text(FAMILY.format(role="classifier"))
    typed = {key: value for key, value in RESNET.items() if key != "arguments"}
    typed = ClassifierKeys.model_validate(typed | {"network": f"{tmp_path}/mine.py"})
    assert build_classifier(typed).network.out_channels == 2 * len(CLASSES)


def changed(entry, **arguments):
    return entry | {"arguments": entry["arguments"] | arguments}


def without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


@pytest.mark.parametrize(
    ("entry", "message"),
    {
        "a family that is none": (
            RESNET | {"network": "wide_resnt"},
            "network wide_resnt is unknown; allowed for a classifier: timm, transformers_vit, "
            "wide_resnet, FILE.py:FUNCTION, or FILE.py",
        ),
        "a denoiser's family": (
            RESNET | {"network": "guided_diffusion_unet"},
            "network guided_diffusion_unet is a denoiser; allowed for a classifier: timm, "
            "transformers_vit, wide_resnet, FILE.py:FUNCTION, or FILE.py",
        ),
        "a key that is missing": (without(RESNET, "classes"), "classifier.classes: is missing"),
        "a key inside": (
            RESNET | {"input": {"channels": 3, "sise": 8}},
            "classifier.input.size: is missing",
        ),
        "an unknown key inside": (
            RESNET | {"input": {"channels": 3, "size": 8, "means": [0.5]}},
            "classifier.input.means: is unknown; allowed: channels, size, mean, std",
        ),
        "a value": (
            RESNET | {"input": {"channels": 0, "size": 8}},
            "classifier.input.channels: must be greater than or equal to 1",
        ),
        "an unknown argument": (
            changed(RESNET, dept=10),
            "network wide_resnet: arguments.dept: is unknown; allowed: depth, width, base, dropout",
        ),
        "a missing argument": (
            RESNET | {"arguments": {"width": 1}},
            "network wide_resnet: arguments.depth: is missing",
        ),
        "a depth that there is not": (
            changed(RESNET, depth=12),
            "network wide_resnet: arguments.depth: must be one of 10, 16, 22, 28, ..., not 12",
        ),
        "heads that do not divide": (
            changed(VIT, num_attention_heads=5),
            "network transformers_vit: arguments: hidden_size must be a multiple of "
            "num_attention_heads",
        ),
        "a name that is no text": (
            changed(BEIT, model=512),
            "network timm: arguments.model: must be a valid string",
        ),
        "a name that timm lacks": (
            changed(BEIT, model="beit_huge"),
            "model beit_huge: timm has no such network; did you mean davit_huge, davit_huge_fl?",
        ),
        "an argument that timm lacks": (
            changed(BEIT, octaves=2),  # like no other: from Python 3.13 on that is asked after
            "timm cannot build beit_large_patch16_512: Beit.__init__() got an unexpected keyword "
            "argument 'octaves'",
        ),
    }.values(),
)
def test_a_classifier_that_cannot_be_is_refused_in_one_line(entry, message):
    with pytest.raises(ValueError, match="^[^\n]+$") as error:
        build_classifier(entry)
    assert str(error.value) == message


def test_an_activation_that_transformers_lacks_is_refused_with_those_that_it_has():
    message = r"^arguments.hidden_act: transformers has no gellu; allowed: gelu, [^\n]* relu[^\n]*$"
    with pytest.raises(ValueError, match=message):
        build_classifier(changed(VIT, hidden_act="gellu"))


@pytest.mark.parametrize(
    ("entry", "message"),
    {
        "a classifier's family": (
            UNET | {"network": "timm"},
            "network timm is a classifier; allowed for a denoiser: diffusers, "
            "guided_diffusion_unet, FILE.py:FUNCTION, or FILE.py",
        ),
        "a key that is missing": (without(UNET, "schedule"), "denoiser.schedule: is missing"),
        "a form of schedule": (
            UNET | {"schedule": {"name": "quadratic", "steps": 10}},
            "denoiser.schedule.name: must be 'linear', 'cosine', 'scaled_linear', "
            "'alphas_cumprod', 'sigma' or 'flow'",
        ),
        "images of other channels": (
            UNET | {"input": {"channels": 1, "size": 8}},
            "arguments.in_channels is 3, but input.channels is 1",
        ),
        "fewer channels out than in": (
            changed(UNET, out_channels=1),
            "network guided_diffusion_unet: arguments: out_channels must be at least in_channels, "
            "which is 3",
        ),
        "channels without groups": (
            changed(UNET, model_channels=48),
            "network guided_diffusion_unet: arguments: model_channels times 1 must be a multiple "
            "of 32",
        ),
        "levels that halve an odd number": (
            changed(UNET, channel_mult=[1, 1, 1, 1, 1]),
            "network guided_diffusion_unet: arguments: image_size must be a multiple of patch_size "
            "times 16, as 5 levels halve it",
        ),
        "attention at no level": (
            changed(UNET, attention_resolutions=[16]),
            "network guided_diffusion_unet: arguments: attention_resolutions: 16 is no height of a "
            "level; allowed: 8, 4",
        ),
        "heads that do not divide": (
            changed(UNET, num_heads=5),
            "network guided_diffusion_unet: arguments: num_heads must divide 64, the channels of a "
            "level with attention",
        ),
        "a flag of the scripts": (
            changed(UNET, learn_sigma=True),
            "network guided_diffusion_unet: arguments: learn_sigma is a flag of OpenAI's scripts; "
            "leave it out, and make out_channels twice in_channels where it is true",
        ),
        "a flag of the scripts that says what is predicted": (
            changed(UNET, predict_xstart=True),
            "network guided_diffusion_unet: arguments: predict_xstart is a flag of OpenAI's "
            "scripts; leave it out, and write predicts: x0 where it is true",
        ),
        "no channels of a head": (
            changed(UNET, num_head_channels=0),
            "network guided_diffusion_unet: arguments: num_head_channels must be at least 1, or -1",
        ),
        "patches that do not fit": (
            changed(UNET, patch_size=3),
            "network guided_diffusion_unet: arguments: image_size must be a multiple of patch_size "
            "times 2, as 2 levels halve it",
        ),
    }.values(),
)
def test_a_denoiser_that_cannot_be_is_refused_in_one_line(entry, message):
    with pytest.raises(ValueError, match="^[^\n]+$") as error:
        build_denoiser(entry)
    assert str(error.value) == message


def test_a_typed_denoiser_is_no_classifier():
    with pytest.raises(ValueError, match="classifier: must be a mapping"):
        build_classifier(DenoiserKeys.model_validate(UNET))


def test_a_classifier_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def build(*, classes, channels, width):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(channels * 64, classes * width))\n"
        "def narrow(classes, channels): pass\n"
        "def nothing(**arguments): pass\n"
    )
    entry = RESNET | {"arguments": {"width": 1}}
    own = build_classifier(entry | {"network": f"{tmp_path}/mine.py:build"})
    assert own(torch.rand(2, 3, 8, 8)).shape == (2, len(CLASSES))
    for network, message in {
        "mine": "network mine is unknown; allowed for a classifier: .* FILE.py:FUNCTION",
        f"{tmp_path}/mine.py:other": "mine.py has no function 'other'",
        f"{tmp_path}/mine.py:narrow": "mine.py:narrow failed: TypeError: narrow.. got an une",
        f"{tmp_path}/mine.py:nothing": "mine.py:nothing returned NoneType, not a torch.nn.Module",
        f"{tmp_path}/mine.py": (
            "mine.py has no ROLE, Keys, which a family of networks needs; "
            "a function in it is written .*mine.py:FUNCTION"
        ),
        "absent.py:build": "there is no Python file .*absent.py",
        "absent.py": "there is no Python file .*absent.py",
    }.items():
        with pytest.raises(ValueError, match=message):
            build_classifier(entry | {"network": network})


def test_a_denoiser_of_ones_own_is_given_its_arguments_alone(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Denoiser(nn.Module):\n"
        "    def __init__(self, *, width):\n"
        "        super().__init__()\n"
        "        self.convolution = nn.Conv2d(3, width, 1)\n"
        "    def forward(self, x, time):\n"
        "        return self.convolution(x)\n"
    )
    entry = UNET | {"network": f"{tmp_path}/mine.py:Denoiser", "arguments": {"width": 6}}
    denoised = build_denoiser(entry).denoise(torch.rand(2, 3, 8, 8), 0.5)
    assert denoised.shape == (2, 3, 8, 8)


def test_a_family_of_ones_own(tmp_path):
    (tmp_path / "views.py").write_text(FAMILY.format(role="classifier"))
    (tmp_path / "cleaners.py").write_text(FAMILY.format(role="denoiser"))
    views = RESNET | {"network": f"{tmp_path}/views.py", "arguments": {"width": 3}}
    cleaners = UNET | {"network": f"{tmp_path}/cleaners.py", "arguments": {}}
    classifier, denoiser = build_classifier(views).network, build_denoiser(cleaners).network
    assert classifier.told == (len(CLASSES), 3)
    assert classifier.out_channels == 3 * len(CLASSES)
    assert denoiser.told == (None, 3)
    assert denoiser.out_channels == 6

    with pytest.raises(ValueError, match=r"views.py: arguments.widht: is unknown; allowed: width"):
        build_classifier(changed(views, widht=3))
    with pytest.raises(ValueError, match=r"views.py: arguments.width: must be greater than or eq"):
        build_classifier(changed(views, width=0))
    with pytest.raises(ValueError, match=r"cleaners.py is a denoiser; allowed for a classifier"):
        build_classifier(views | {"network": f"{tmp_path}/cleaners.py"})
