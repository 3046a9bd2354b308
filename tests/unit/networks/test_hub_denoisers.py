"""Denoisers in diffusers' format: from a folder, from an entry, and beside diffusers' pipeline."""

import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch.nn.utils import convert_conv2d_weight_memory_format

pytest.importorskip("diffusers")

import diffusers

from dds import build_denoiser, hub_denoiser, load_weights
from dds.networks import hub
from dds.networks.compiling import undo_compilation
from dds.networks.hub import described, published_difference
from dds.networks.registry import load_denoiser

ROOT = Path(__file__).parents[3]
LEFT_OUT = object()
SIZE = {"sample_size": 8, "block_out_channels": (8, 8), "norm_num_groups": 4}
BLOCKS = {
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 8,
}
SCHEDULERS = {
    "noise": diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
    "v": diffusers.DDIMScheduler(prediction_type="v_prediction", beta_schedule="scaled_linear"),
    "x0": diffusers.DPMSolverMultistepScheduler(prediction_type="sample", beta_end=0.015),
    "edm": diffusers.EDMEulerScheduler(sigma_max=100.0),
    "consistency": diffusers.CMStochasticIterativeScheduler(),
    "flow": diffusers.FlowMatchEulerDiscreteScheduler(),
}


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return diffusers.UNet2DModel(**SIZE, **BLOCKS).eval()


@pytest.fixture
def folder(unet, tmp_path):
    """A repository as a pipeline saves it, with folders for its network and its scheduler."""
    diffusers.DDIMPipeline(unet, SCHEDULERS["v"]).save_pretrained(tmp_path)
    return tmp_path


def config_of(component):
    return json.loads(json.dumps(dict(component.config))) | {
        "_class_name": type(component).__name__
    }


@pytest.mark.parametrize("predicts", SCHEDULERS)
def test_a_scheduler_says_what_the_network_predicts(unet, predicts):
    scheduler = config_of(SCHEDULERS[predicts])
    entry = described(config_of(unet), scheduler)
    assert entry["predicts"] == predicts
    denoiser = build_denoiser(entry)
    assert (denoiser.predicts, entry["input"]) == (predicts, {"channels": 3, "size": 8})
    assert published_difference(config_of(unet), scheduler, entry) is None
    if hasattr(SCHEDULERS[predicts], "alphas_cumprod"):
        theirs = SCHEDULERS[predicts].alphas_cumprod
        np.testing.assert_allclose(denoiser.schedule.alpha_bar, theirs, rtol=2e-4)
    if predicts == "edm":
        assert denoiser.schedule.sigma_max == 100


@pytest.mark.parametrize("kind", ["EulerDiscreteScheduler", "UniPCMultistepScheduler"])
def test_a_sampler_without_a_range_of_its_own_is_of_its_betas(unet, kind):
    scheduler = config_of(getattr(diffusers, kind)(beta_end=0.015, prediction_type="v_prediction"))
    assert scheduler["sigma_max"] is None
    denoiser = build_denoiser(described(config_of(unet), scheduler))
    theirs = diffusers.DDPMScheduler(beta_end=0.015).alphas_cumprod
    np.testing.assert_allclose(denoiser.schedule.alpha_bar, theirs, rtol=2e-4)
    assert denoiser.predicts == "v"


@pytest.mark.parametrize(
    ("config", "scheduler", "reason"),
    [
        ({"sample_size": None}, {}, "sample_size of config.json is None"),
        ({}, {"prediction_type": "flow_prediction"}, "prediction_type flow_prediction is not supp"),
        ({}, {"beta_schedule": "sigmoid"}, "beta_schedule sigmoid is not supported; allowed: lin"),
        ({}, {"rescale_betas_zero_snr": True}, "ends in pure noise"),
    ],
)
def test_what_no_entry_can_say_is_said(unet, config, scheduler, reason):
    published = config_of(SCHEDULERS["noise"]) | scheduler
    with pytest.raises(ValueError, match=reason):
        described(config_of(unet) | config, published)


@pytest.mark.parametrize(
    "kind", ["ScoreSdeVeScheduler", "ScoreSdeVpScheduler", "IPNDMScheduler", "UnCLIPScheduler"]
)
def test_a_number_of_timesteps_is_no_schedule(unet, kind):
    scheduler = {"_class_name": kind, "num_train_timesteps": 2000, "trained_betas": None}
    with pytest.raises(ValueError, match=f"{kind} says no noise schedule that is known here"):
        described(config_of(unet), scheduler)


def test_betas_that_were_tuned_are_a_schedule_written_out(unet):
    betas = np.linspace(0.001, 0.02, 50)
    scheduler = diffusers.DDPMScheduler(50, trained_betas=betas.tolist())
    found = build_denoiser(described(config_of(unet), config_of(scheduler))).schedule
    np.testing.assert_allclose(found.alpha_bar, scheduler.alphas_cumprod, rtol=1e-5)


def test_a_folder_is_a_denoiser_that_estimates_what_its_pipeline_does(folder):
    pipeline = diffusers.DDIMPipeline.from_pretrained(folder)
    denoiser = hub_denoiser(folder)
    assert denoiser.size == 8
    images, noise = torch.rand(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    t, _, noise_sigma = denoiser.schedule.timestep(0.5, "authors")
    denoiser.timestep = "authors"
    pipeline.scheduler.set_timesteps(1000)
    with torch.inference_mode():
        x = pipeline.scheduler.add_noise(2 * images - 1, noise, torch.tensor([t, t]))
        out = pipeline.unet(x, t).sample
        theirs = pipeline.scheduler.step(out, t, x).pred_original_sample
        ours = 2 * denoiser.denoise(images + noise_sigma * noise, 0.5) - 1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (lambda weights: weights.pop("conv_out.bias"), r"1 names missing \(first: conv_out"),
        (
            lambda weights: weights.update({"conv_out.bias": torch.zeros(5)}),
            r"1 of another shape \(first: conv_out.bias\)$",
        ),
    ],
)
def test_weights_that_leave_some_of_a_network_random_are_refused(folder, changed, problem):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    changed(weights)
    save_file(weights, path)
    with pytest.raises(ValueError, match=f"{folder}: its weights do not fit .*: {problem}"):
        hub_denoiser(folder)


def test_a_folder_without_folders_in_it_will_do(unet, tmp_path):
    unet.save_pretrained(tmp_path)
    SCHEDULERS["edm"].save_pretrained(tmp_path)
    assert hub_denoiser(tmp_path).predicts == "edm"


def test_a_repository_may_be_named_as_that_of_a_classifier(folder, monkeypatch):
    (folder.parent / "owner").mkdir()
    folder.rename(folder.parent / "owner" / "name")  # libraries look here before the hub
    monkeypatch.chdir(folder.parent)
    assert hub_denoiser("hf:owner/name").predicts == "v"


def test_an_entry_with_the_copied_configuration_takes_the_weights(folder, unet):
    config = json.loads((folder / "unet" / "config.json").read_text())
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert config["_diffusers_version"]
    entry = described(config, scheduler) | {"arguments": config}
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    denoiser = load_denoiser(entry, weights)
    x, time = torch.randn(2, 3, 8, 8), torch.tensor([3.0, 700.0])
    with torch.inference_mode():
        denoiser.eval()
        torch.testing.assert_close(denoiser.network(x, time), unet(x, time).sample)
        noisy = torch.rand(2, 3, 8, 8)
        ours, theirs = denoiser.denoise(noisy, 0.25), hub_denoiser(folder).denoise(noisy, 0.25)
    torch.testing.assert_close(ours, theirs)


def test_a_network_runs_as_the_runner_runs_it():
    """As one program, without breaks, in the order of memory and the precision of a GPU."""
    arguments = SIZE | {"block_out_channels": [4], "attention_head_dim": 4}
    arguments |= {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
    arguments["layers_per_block"] = 1
    entry = {"network": "diffusers", "arguments": arguments, "schedule": {"name": "sigma"}}
    entry |= {"input": {"channels": 3, "size": 8}, "predicts": "edm"}
    denoiser = build_denoiser(entry).eval()
    noisy = torch.rand(2, 3, 8, 8)
    with torch.inference_mode():
        expected = denoiser.denoise(noisy, 0.5)
        convert_conv2d_weight_memory_format(denoiser, torch.channels_last)
        denoiser.network.compile(backend="eager", fullgraph=True, dynamic=False)
        torch.testing.assert_close(denoiser.denoise(noisy, 0.5), expected, rtol=0, atol=1e-5)
        undo_compilation(denoiser.network)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(denoiser.denoise(noisy, 0.5), expected, rtol=0, atol=0.05)


def test_names_of_earlier_versions_are_understood(unet, tmp_path):
    """The attention of google/ddpm-cifar10-32 is called as diffusers called it in 2022."""
    earlier = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for name, tensor in unet.state_dict().items():
        for now, before in earlier.items():
            name = name.replace(f".{now}.", f".{before}.")
        state[name] = tensor
    assert state.keys() != unet.state_dict().keys()
    torch.save(state, tmp_path / "unet.bin")
    entry = described(config_of(unet), config_of(SCHEDULERS["noise"]))
    network = build_denoiser(entry).network
    load_weights(network, tmp_path / "unet.bin")
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, unet.state_dict()[name])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"_class_name": "UNet3D"}, "diffusers has no network UNet3D"),
        ({"_class_name": "DDPMScheduler"}, "diffusers has no network DDPMScheduler"),
        ({"_class_name": "AutoencoderKL"}, "network AutoencoderKL is told no time"),
        ({"_class_name": "UNet2DConditionModel"}, "UNet2DConditionModel wants encoder_hidden_st"),
        ({"num_class_embeds": 1000}, "num_class_embeds: networks that are told a class or a text"),
        ({"block_channels": [8]}, "diffusers' UNet2DModel has no argument block_channels"),
        ({"block_out_channels": [8]}, "diffusers cannot build UNet2DModel: Must provide the same"),
        ({"in_channels": 4}, "arguments.in_channels is 4, but input.channels is 3"),
    ],
)
def test_a_network_that_cannot_be_is_refused_in_one_line(unet, arguments, reason):
    entry = described(config_of(unet), config_of(SCHEDULERS["noise"]))
    entry["arguments"] |= arguments
    with pytest.raises(ValueError, match=reason) as refused:
        build_denoiser(entry)
    assert "\n" not in str(refused.value)


def test_a_network_that_is_told_the_class_is_refused_in_one_line(tmp_path):
    unet = diffusers.UNet2DModel(**SIZE, **BLOCKS, num_class_embeds=10)
    diffusers.DDIMPipeline(unet, SCHEDULERS["v"]).save_pretrained(tmp_path)
    reason = rf"^{tmp_path}: .*num_class_embeds: networks that are told a class or a text"
    with pytest.raises(ValueError, match=reason) as refused:
        hub_denoiser(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["vae", "vqvae"])
def test_a_network_of_latents_is_refused_in_one_line(folder, name):
    index = folder / "model_index.json"
    pipeline = json.loads(index.read_text())
    index.write_text(json.dumps(pipeline | {name: [None, None]}))
    assert hub_denoiser(folder).predicts == "v"
    index.write_text(json.dumps(pipeline | {name: ["diffusers", "VQModel"]}))
    with pytest.raises(ValueError, match=f"^{folder}: its network works in the latent space of a"):
        hub_denoiser(folder)
    index.unlink()
    assert hub_denoiser(folder).predicts == "v"


def test_a_folder_that_is_none_is_said_in_one_line(folder, tmp_path):
    with pytest.raises(ValueError, match=r"^there is no folder /no/such/folder$"):
        hub_denoiser("/no/such/folder")
    (folder / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(ValueError, match=r"scheduler_config.json") as refused:
        hub_denoiser(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"predicts": "noise"}, "predicts: noise is published as v"),
        (
            {"schedule": {"name": "linear", "steps": 1000}},
            "schedule: .*linear.* is published as",
        ),
        (
            {"input": {"channels": 1, "size": 8}, "arguments": {}},
            "arguments.in_channels: 1 is published as 3",
        ),
    ],
)
def test_an_entry_unlike_what_is_published_is_found_out(unet, change, reason):
    published = config_of(unet), config_of(SCHEDULERS["v"])
    entry = described(*published)
    assert published_difference(*published, entry) is None
    found = published_difference(*published, entry | change)
    assert found is not None
    assert re.match(reason, found)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"layers_per_block": 2}, "layers_per_block: 2 is published as 1"),
        ({"layers_per_block": LEFT_OUT}, "layers_per_block: left out, but published as 1"),
        ({"attention_head_dim": LEFT_OUT}, "attention_head_dim: left out, but published as None"),
        ({"attention_head_dim": 8}, "attention_head_dim: 8 is published as None"),
        ({"freq_shift": 1}, "freq_shift: 1 is not published"),
        ({"freq_shift": 0, "act_fn": LEFT_OUT, "sample_size": LEFT_OUT}, None),
    ],
)
def test_arguments_that_are_left_out_are_compared_by_what_they_are_then(change, reason):
    config = SIZE | BLOCKS | {"_class_name": "UNet2DModel", "act_fn": "silu"}
    config = json.loads(json.dumps(config | {"attention_head_dim": None}))
    published = config, config_of(SCHEDULERS["v"])
    entry = described(*published)
    arguments = entry["arguments"] | change
    arguments = {name: value for name, value in arguments.items() if value is not LEFT_OUT}
    found = published_difference(*published, entry | {"arguments": arguments})
    assert found == (reason and f"arguments.{reason}")


def test_of_a_class_whose_defaults_are_not_known_every_argument_is_compared():
    config = {"_class_name": "DiTTransformer2DModel", "sample_size": 8, "activation_fn": "gelu"}
    published = config, config_of(SCHEDULERS["v"])
    entry = described(*published)
    assert published_difference(*published, entry) is None
    del entry["arguments"]["activation_fn"]
    found = published_difference(*published, entry)
    assert found == "arguments.activation_fn: left out, but published as 'gelu'"


def test_defaults_of_arguments_are_those_of_the_library():
    _, *parameters = inspect.signature(diffusers.UNet2DModel.__init__).parameters.values()
    defaults = {one.name: one.default for one in parameters}
    assert json.loads(json.dumps(defaults)) == hub._DEFAULTS["UNet2DModel"]


@pytest.mark.parametrize("name", ["cifar10_ddpm", "cats_consistency"])
def test_entries_of_the_registry_are_like_a_file_in_which_nothing_is_left_out(name):
    entry = yaml.safe_load((ROOT / "config/models.yaml").read_text())[name]
    config = hub._DEFAULTS["UNet2DModel"] | entry["arguments"]
    scheduler = SCHEDULERS["consistency"] if "predicts" in entry else diffusers.DDPMScheduler()
    entry = {"predicts": "noise"} | entry
    assert published_difference(config, config_of(scheduler), entry) is None
