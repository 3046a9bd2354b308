"""The denoiser undoes its own noise, agrees with guided_diffusion, and takes any sigma."""

import numpy as np
import pytest
import torch
from torch import nn

from dds.networks.denoisers import DiffusionDenoiser, NoDenoiser, guided_diffusion_unet
from dds.networks.schedules import build_schedule

SCHEDULE = build_schedule("cosine", 1000, rescale_timesteps=True)


class KnowsTheImage(nn.Module):
    """Predicts the noise exactly, because it was told the clean image."""

    def __init__(self, clean, schedule):
        super().__init__()
        self.x0, self.schedule = 2 * clean - 1, schedule
        self.times = []

    def forward(self, x, time):
        t = float(time[0]) * self.schedule.steps / 1000
        self.times.append(t)
        sigma = np.interp(t, np.arange(self.schedule.steps), 2 * np.array(self.schedule.sigmas))
        alpha_bar = 1 / (1 + sigma**2)
        return (x - np.sqrt(alpha_bar) * self.x0) / np.sqrt(1 - alpha_bar)


class Silent(nn.Module):
    """Predicts that there is no noise, and some variances nobody asked for."""

    def forward(self, x, time):
        return torch.zeros(len(x), 2 * x.shape[1], *x.shape[2:])


@pytest.mark.parametrize("steps", [1, 5, 0])
@pytest.mark.parametrize("rule", ["nearest", "exact", "authors"])
def test_perfect_network_gives_back_the_clean_image(steps, rule):
    torch.manual_seed(0)
    clean = torch.rand(3, 1, 4, 4)
    network = KnowsTheImage(clean, SCHEDULE)
    denoiser = DiffusionDenoiser(network, SCHEDULE, timestep=rule, steps=steps)
    noisy = clean + denoiser.noise_sigma(0.25) * torch.randn_like(clean)
    torch.testing.assert_close(denoiser.denoise(noisy, 0.25), clean, atol=2e-3, rtol=0)
    start = SCHEDULE.timestep(0.25, rule).t
    assert network.times[0] == pytest.approx(start, abs=1e-3)
    assert network.times == sorted(network.times, reverse=True)
    assert len(network.times) == (steps or int(start) + 1)


def test_output_lies_in_the_unit_range_and_ignores_variances():
    noisy = 5 * torch.randn(2, 3, 4, 4)
    clean = DiffusionDenoiser(Silent(), SCHEDULE).denoise(noisy, 0.5)
    torch.testing.assert_close(clean, noisy.clamp(0, 1))


def test_agrees_with_guided_diffusion():
    respace = pytest.importorskip("guided_diffusion.respace")
    diffusion = pytest.importorskip("guided_diffusion.gaussian_diffusion")
    torch.manual_seed(0)
    unet = guided_diffusion_unet(
        image_size=8, in_channels=3, out_channels=6, model_channels=32, num_res_blocks=1,
        attention_resolutions=[4], channel_mult=[1, 2],
    ).eval()  # fmt: skip
    for parameter in unet.parameters():  # its last layers start at zero
        nn.init.normal_(parameter, std=0.05)
    theirs = respace.SpacedDiffusion(
        use_timesteps=range(1000),
        betas=diffusion.get_named_beta_schedule("cosine", 1000),
        model_mean_type=diffusion.ModelMeanType.EPSILON,
        model_var_type=diffusion.ModelVarType.LEARNED_RANGE,
        loss_type=diffusion.LossType.MSE,
        rescale_timesteps=True,
    )
    denoiser = DiffusionDenoiser(unet, SCHEDULE, timestep="authors")
    images = torch.rand(2, 3, 8, 8)
    noise = torch.randn_like(images)
    t = int(SCHEDULE.timestep(0.5, "authors").t)
    with torch.inference_mode():
        x_t = theirs.q_sample(2 * images - 1, torch.tensor([t, t]), noise=noise)
        expected = theirs.p_mean_variance(unet, x_t, torch.tensor([t, t]))["pred_xstart"]
        noisy = images + denoiser.noise_sigma(0.5) * noise
        torch.testing.assert_close(2 * denoiser.denoise(noisy, 0.5) - 1, expected)


def test_reverse_steps_use_the_noise_they_are_given():
    noisy = torch.rand(2, 1, 4, 4)
    denoiser = DiffusionDenoiser(Silent(), SCHEDULE, steps=4)
    asked = []

    def normal(step):
        asked.append(step)
        return torch.full_like(noisy, step)

    first = denoiser.denoise(noisy, 0.5, normal)
    assert asked == [1, 2, 3]
    torch.testing.assert_close(first, denoiser.denoise(noisy, 0.5, normal), rtol=0, atol=0)


def test_no_denoiser_hands_the_image_on():
    noisy = torch.randn(1, 1, 2, 2)
    assert NoDenoiser().denoise(noisy, 0.5) is noisy
    assert NoDenoiser().noise_sigma(0.5) == 0.5


def test_patches_keep_the_image_shape():
    unet = guided_diffusion_unet(
        image_size=8, in_channels=1, out_channels=1, model_channels=32, num_res_blocks=1,
        attention_resolutions=[], channel_mult=[1], patch_size=2,
    )  # fmt: skip
    assert unet(torch.rand(2, 1, 8, 8), torch.zeros(2)).shape == (2, 1, 8, 8)


def test_negative_steps_are_refused():
    with pytest.raises(ValueError, match="steps must be 0"):
        DiffusionDenoiser(Silent(), SCHEDULE, steps=-1)


def test_group_norm_in_bfloat16_rounds_once():
    """Without the copies to float32 that the published network makes."""
    unet = guided_diffusion_unet(
        image_size=8, in_channels=1, out_channels=1, model_channels=32, num_res_blocks=1,
        attention_resolutions=[], channel_mult=[1],
    )  # fmt: skip
    norm = next(module for module in unet.modules() if isinstance(module, torch.nn.GroupNorm))
    torch.nn.init.normal_(norm.weight)
    x = 3 + torch.randn(4, norm.num_channels, 8, 8, generator=torch.Generator().manual_seed(0))
    x = x.bfloat16()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        ours = norm(x)
    exact = norm(x.float().detach()).double()
    assert ours.dtype == torch.bfloat16
    assert ((ours - exact).abs() <= 2**-8 * exact.abs() + 1e-5).all()
