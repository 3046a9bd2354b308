"""The denoiser undoes its own noise, agrees with guided_diffusion, and takes any sigma."""

import numpy as np
import pytest
import torch
from torch import nn

from dds.networks.denoisers import DiffusionDenoiser, NoDenoiser, _posterior_sample
from dds.networks.schedules import build_schedule
from dds.networks.unet import guided_diffusion_unet

SCHEDULE = build_schedule("cosine", 1000, rescale_timesteps=True)
SMALL = {
    "image_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "model_channels": 32,
    "num_res_blocks": 1,
}


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


def test_there_are_no_more_steps_than_timesteps():
    there = SCHEDULE.most_steps(0.25)
    images = torch.rand(1, 1, 4, 4)
    network = KnowsTheImage(images, SCHEDULE)
    full = DiffusionDenoiser(network, SCHEDULE, steps=there)
    assert torch.isfinite(full.denoise(images, 0.25)).all()
    assert network.times[-1] == pytest.approx(0, abs=1e-3)
    for steps in (there + 1, 2 * there + 3, 8000):
        denoiser = DiffusionDenoiser(network, SCHEDULE, steps=steps)
        problem = f"{steps} steps are more than the {there} timesteps up to sigma 0.25; .* at most"
        for use in (denoiser.noise_sigma, lambda sigma, it=denoiser: it.denoise(images, sigma)):
            with pytest.raises(ValueError, match=problem):
                use(0.25)


@pytest.mark.parametrize("steps", [-1, 2.5, float("nan"), 10**9])
def test_steps_that_cannot_be_are_refused(steps):
    with pytest.raises(ValueError, match=r"steps must be whole, from 0 .* to 8,192, not"):
        DiffusionDenoiser(Silent(), SCHEDULE, steps=steps)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (lambda x: x[:, :1], r"\(2, 1, 4, 4\)"),
        (lambda x: x[:1], r"\(1, 3, 4, 4\)"),
        (lambda x: x[..., :1], r"\(2, 3, 4, 1\)"),
        (lambda x: x.flatten(1), r"\(2, 48\)"),
        (lambda x: (x,), "tuple"),
    ],
)
def test_noise_of_another_shape_is_refused(answer, found):
    class Mine(nn.Module):
        def forward(self, x, time):
            return answer(x)

    problem = rf"network returned {found} for images of shape \(2, 3, 4, 4\)"
    with pytest.raises(ValueError, match=problem):
        DiffusionDenoiser(Mine(), SCHEDULE).denoise(torch.rand(2, 3, 4, 4), 0.5)


def test_networks_of_diffusers_are_taken_as_they_are():
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    blocks = {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
    network = UNet2DModel(block_out_channels=[8], norm_num_groups=4, layers_per_block=1, **blocks)

    class Tensors(nn.Module):
        def forward(self, x, time):
            return network(x, time, return_dict=False)[0]

    noisy = torch.rand(2, 3, 4, 4)
    with torch.no_grad():
        clean, expected = (
            DiffusionDenoiser(one, SCHEDULE).denoise(noisy, 0.5) for one in (network, Tensors())
        )
    assert torch.equal(clean, expected)


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


def guided_diffusion(name, steps, timesteps=None, *, variance="FIXED_SMALL"):
    """Return guided_diffusion's own process over some timesteps; all by default."""
    respace = pytest.importorskip("guided_diffusion.respace")
    diffusion = pytest.importorskip("guided_diffusion.gaussian_diffusion")
    return respace.SpacedDiffusion(
        use_timesteps=range(steps) if timesteps is None else timesteps,
        betas=diffusion.get_named_beta_schedule(name, steps),
        model_mean_type=diffusion.ModelMeanType.EPSILON,
        model_var_type=diffusion.ModelVarType[variance],
        loss_type=diffusion.LossType.MSE,
        rescale_timesteps=True,
    )


def test_agrees_with_guided_diffusion():
    torch.manual_seed(0)
    unet = guided_diffusion_unet(
        **SMALL | {"in_channels": 3, "out_channels": 6},
        attention_resolutions=[4],
        channel_mult=[1, 2],
    ).eval()
    for parameter in unet.parameters():  # its last layers start at zero
        nn.init.normal_(parameter, std=0.05)
    theirs = guided_diffusion("cosine", 1000, variance="LEARNED_RANGE")
    denoiser = DiffusionDenoiser(unet, SCHEDULE, timestep="authors")
    images = torch.rand(2, 3, 8, 8)
    noise = torch.randn_like(images)
    t = int(SCHEDULE.timestep(0.5, "authors").t)
    with torch.inference_mode():
        x_t = theirs.q_sample(2 * images - 1, torch.tensor([t, t]), noise=noise)
        expected = theirs.p_mean_variance(unet, x_t, torch.tensor([t, t]))["pred_xstart"]
        noisy = images + denoiser.noise_sigma(0.5) * noise
        torch.testing.assert_close(2 * denoiser.denoise(noisy, 0.5) - 1, expected)


def normal_of(like):
    """Return a function that gives the noise of a step and notes which steps asked."""

    def normal(step):
        normal.asked.append(step)
        generator = torch.Generator().manual_seed(step)
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    normal.asked = []
    return normal


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("t", [1, 2, 50, 500, 998, 999])
def test_a_reverse_step_is_guided_diffusions(name, t):
    theirs, schedule = guided_diffusion(name, 1000), build_schedule(name, 1000)
    torch.manual_seed(t)
    times, x_0 = torch.full((2,), t), 2 * torch.rand(2, 3, 8, 8) - 1
    predicted = torch.randn_like(x_0)
    x_t = theirs.q_sample(x_0, times, noise=predicted)
    wanted = theirs.p_mean_variance(lambda x, time: predicted, x_t, times)
    state = torch.get_rng_state()
    sample = theirs.p_sample(lambda x, time: predicted, x_t, times)["sample"]
    torch.set_rng_state(state)
    noise = torch.randn_like(x_t)

    def step(noise):
        alpha_bars = schedule.alpha_bar[t], schedule.alpha_bar[t - 1]
        return _posterior_sample(x_t, wanted["pred_xstart"], *alpha_bars, noise)

    torch.testing.assert_close(step(noise), sample)
    torch.testing.assert_close(step(torch.zeros_like(x_t)), wanted["mean"])
    torch.testing.assert_close(step(noise) - wanted["mean"], wanted["variance"].sqrt() * noise)


class Waves(nn.Module):
    """Predicts something that depends on every pixel and on the time, which it notes."""

    def __init__(self):
        super().__init__()
        self.times = []

    def forward(self, x, time):
        self.times.append(float(time[0]))
        assert (time == time[0]).all()
        return torch.sin(3 * x + time.view(-1, 1, 1, 1) / 100)


@pytest.mark.parametrize("steps", [2, 7, 0])
def test_a_chain_of_reverse_steps_is_guided_diffusions(steps):
    network, schedule = Waves(), build_schedule("cosine", 400, rescale_timesteps=True)
    denoiser = DiffusionDenoiser(network, schedule, timestep="authors", steps=steps)
    noisy = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    normal = normal_of(noisy)
    denoised = denoiser.denoise(noisy, 0.5, normal)
    times, network.times = network.times, []

    theirs = guided_diffusion("cosine", 400, {round(time * 400 / 1000) for time in times})
    alpha_bar = schedule.timestep(0.5, "authors").alpha_bar
    x = alpha_bar**0.5 * (2 * noisy - 1)
    for step, index in enumerate(reversed(range(len(times))), start=1):
        out = theirs.p_mean_variance(network, x, torch.tensor([index, index]))
        x = out["mean"] + (index > 0) * out["variance"].sqrt() * normal(step)
    assert network.times == pytest.approx(times)
    torch.testing.assert_close(2 * denoised - 1, x, rtol=0, atol=2e-5)


def reverse_chain(network, schedule, noisy, start, times, normal):
    """Denoise by Bayes' rule for Gaussians, one timestep after another, in float64."""
    x, abar = start.alpha_bar**0.5 * (2 * noisy - 1), start.alpha_bar
    for step, t in enumerate(times, start=1):
        told = torch.full((len(x),), t * 1000 / schedule.steps)
        clean = ((x - (1 - abar) ** 0.5 * network(x, told)) / abar**0.5).clamp(-1, 1)
        if step == len(times):
            return (clean + 1) / 2
        lower = schedule.alpha_bar[int(times[step])]
        alpha = (
            abar / lower
        )  # x is N(sqrt(alpha) y, 1 - alpha), y is N(sqrt(lower) clean, 1 - lower)
        variance = 1 / (1 / (1 - lower) + alpha / (1 - alpha))
        mean = variance * (lower**0.5 * clean / (1 - lower) + alpha**0.5 * x / (1 - alpha))
        x, abar = mean + variance**0.5 * normal(step), lower
    raise AssertionError("no timesteps")


@pytest.mark.parametrize("rule", ["nearest", "exact", "authors"])
@pytest.mark.parametrize("steps", [1, 2, 5, 0])
def test_denoising_is_a_chain_of_gaussian_posteriors(rule, steps):
    network, schedule = Waves(), build_schedule("cosine", 400, rescale_timesteps=True)
    denoiser = DiffusionDenoiser(network, schedule, timestep=rule, steps=steps)
    start = schedule.timestep(0.5, rule)
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(2, 1, 4, 4, generator=generator, dtype=torch.float64)
    normal = normal_of(noisy)
    denoised = denoiser.denoise(noisy, 0.5, normal)

    times = [time * schedule.steps / 1000 for time in network.times]
    assert len(times) == (steps or int(start.t) + 1)
    assert times[0] == pytest.approx(start.t)
    gaps = -np.diff([*times, -1])
    assert gaps.min() > 0
    assert gaps.max() - gaps.min() <= 2  # evenly, but for rounding
    assert normal.asked == list(range(1, len(times)))  # the last step adds none

    times = [start.t, *(round(t) for t in times[1:])]
    expected = reverse_chain(network, schedule, noisy, start, times, normal_of(noisy))
    torch.testing.assert_close(denoised, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("silent", [1, 2, 3])
def test_every_reverse_step_uses_the_noise_it_is_given(silent):
    denoiser = DiffusionDenoiser(Waves(), SCHEDULE, steps=4)
    noisy = torch.rand(2, 1, 4, 4)
    normal = normal_of(noisy)
    with_noise = denoiser.denoise(noisy, 0.5, normal)
    without = denoiser.denoise(noisy, 0.5, lambda step: normal(step) * (step != silent))
    assert (with_noise - without).abs().max() > 1e-3


def test_reverse_steps_draw_fresh_noise_by_default():
    denoiser = DiffusionDenoiser(Waves(), SCHEDULE, steps=4)
    noisy = torch.rand(2, 1, 4, 4)
    torch.manual_seed(1)
    by_default = denoiser.denoise(noisy, 0.5)
    torch.manual_seed(1)
    given = denoiser.denoise(noisy, 0.5, lambda step: torch.randn_like(noisy))
    torch.testing.assert_close(by_default, given, rtol=0, atol=0)
    assert not torch.equal(denoiser.denoise(noisy, 0.5), by_default)


def test_no_denoiser_hands_the_image_on():
    noisy = torch.randn(1, 1, 2, 2)
    assert NoDenoiser().denoise(noisy, 0.5) is noisy
    assert NoDenoiser().noise_sigma(0.5) == 0.5


def test_patches_keep_the_image_shape():
    unet = guided_diffusion_unet(**SMALL, attention_resolutions=[], channel_mult=[1], patch_size=2)
    assert unet(torch.rand(2, 1, 8, 8), torch.zeros(2)).shape == (2, 1, 8, 8)


def test_group_norm_in_bfloat16_rounds_once():
    """Without the copies to float32 that the published network makes."""
    unet = guided_diffusion_unet(**SMALL, attention_resolutions=[], channel_mult=[1])
    norm = next(module for module in unet.modules() if isinstance(module, torch.nn.GroupNorm))
    torch.nn.init.normal_(norm.weight)
    x = 3 + torch.randn(4, norm.num_channels, 8, 8, generator=torch.Generator().manual_seed(0))
    x = x.bfloat16()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        ours = norm(x)
    exact = norm(x.float().detach()).double()
    assert ours.dtype == torch.bfloat16
    assert ((ours - exact).abs() <= 2**-8 * exact.abs() + 1e-5).all()


@pytest.mark.parametrize("steps", [1, 5, 0])
def test_a_denoiser_says_which_networks_it_runs_and_how_often_at_most(steps):
    network = Waves()
    denoiser = DiffusionDenoiser(network, SCHEDULE, steps=steps)
    assert denoiser.networks == (network,)
    assert denoiser.runs == (steps or 1_000)
    for sigma in (0.25, SCHEDULE.sigmas[-1]):
        network.times.clear()
        denoiser.denoise(torch.rand(1, 1, 4, 4), sigma)
        assert len(network.times) <= denoiser.runs
    assert len(network.times) == denoiser.runs


def test_no_denoiser_runs_no_network_and_needs_one_step():
    assert (NoDenoiser().networks, NoDenoiser().runs) == ((), 1)
