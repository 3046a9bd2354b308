"""Every kind of network, against formulas of its own and the schedulers of diffusers."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from dds.networks.denoisers import DiffusionDenoiser
from dds.networks.predictions import PREDICTIONS
from dds.networks.schedules import FlowSchedule, SigmaSchedule, build_schedule

SIGMAS = [0.05, 0.25, 1.0]
GRID = build_schedule("scaled_linear", 1000)
SIGMA, FLOW = SigmaSchedule(), FlowSchedule()
PAIRS = [
    ("noise", GRID), ("x0", GRID), ("v", GRID),
    ("noise", SIGMA), ("x0", SIGMA), ("edm", SIGMA), ("consistency", SIGMA),
    ("flow", FLOW), ("noise", FLOW), ("x0", FLOW),
]  # fmt: skip


class Waves(nn.Module):
    """Answers something that depends on every pixel and on the time; notes what it is given."""

    def forward(self, x, time):
        self.x, self.time = x, time
        return torch.sin(3 * x + time.view(-1, 1, 1, 1) / 100)


def by_hand(predicts, schedule, network, noisy, sigma):
    """Return the estimate in one shot, written out for each kind of network, in [0,1]."""
    y, s = 2 * noisy - 1, 2 * sigma  # the image in [-1,1] plus noise of twice the sigma

    def run(x, time):
        return network(x, torch.full((len(x),), time))

    if schedule is GRID:
        t = int(np.abs(np.log(np.array(GRID.sigmas) / sigma)).argmin())
        abar = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)[t]
        x = y * abar**0.5
        out = run(x, float(t))
        clean = {
            "noise": (x - (1 - abar) ** 0.5 * out) / abar**0.5,
            "x0": out,
            "v": abar**0.5 * x - (1 - abar) ** 0.5 * out,
        }[predicts]
    elif schedule is FLOW:
        t = s / (1 + s)  # (1 - t) (x_0 + s z) has noise t
        x = (1 - t) * y
        out = run(x, 1000 * t)
        clean = {"flow": x - t * out, "noise": (x - t * out) / (1 - t), "x0": out}[predicts]
    elif predicts in ("noise", "x0"):
        out = run(y, s)
        clean = y - s * out if predicts == "noise" else out
    else:
        scaled = y / (s**2 + 0.25) ** 0.5
        above = s - 0.002 if predicts == "consistency" else s
        out = run(scaled, 250 * math.log(s) if predicts == "consistency" else math.log(s) / 4)
        clean = 0.25 / (above**2 + 0.25) * y + 0.5 * above / (s**2 + 0.25) ** 0.5 * out
    return (clean.clamp(-1, 1) + 1) / 2


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize(("predicts", "schedule"), PAIRS)
def test_one_shot_is_the_formula_written_out(predicts, schedule, sigma):
    noisy = 0.5 + 0.5 * seeded(2, 3, 4, 4)
    found = DiffusionDenoiser(Waves(), schedule, predicts=predicts).denoise(noisy, sigma)
    expected = by_hand(predicts, schedule, Waves(), noisy, sigma)
    # The nearest timestep's scale, and abar multiplied up in another order.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


class Knows(nn.Module):
    """Answers what is right, as it was told the clean image x_0 in [-1,1]."""

    def __init__(self, predicts, schedule, clean):
        super().__init__()
        self.predicts, self.schedule, self.clean = predicts, schedule, 2 * clean - 1
        self.times = []

    def forward(self, x, time):
        time, x_0 = float(time[0]), self.clean
        self.times.append(time)
        if self.predicts in ("edm", "consistency"):
            s = math.exp(4 * time if self.predicts == "edm" else time / 250)
            y = x * (s**2 + 0.25) ** 0.5
            above = s - 0.002 if self.predicts == "consistency" else s
            c_skip, c_out = 0.25 / (above**2 + 0.25), 0.5 * above / (s**2 + 0.25) ** 0.5
            return (x_0 - c_skip * y) / c_out
        if self.schedule is GRID:
            abar = 1 / (1 + np.interp(time, np.arange(1000), 2 * np.array(GRID.sigmas)) ** 2)
            alpha, beta = abar**0.5, (1 - abar) ** 0.5
        else:
            alpha, beta = (1, time) if self.schedule is SIGMA else (1 - time / 1000, time / 1000)
        z = (x - alpha * x_0) / beta
        return {"noise": z, "x0": x_0, "v": alpha * z - beta * x_0, "flow": z - x_0}[self.predicts]


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize(("predicts", "schedule"), PAIRS)
def test_a_network_that_knows_the_image_gives_it_back(predicts, schedule, sigma, steps):
    clean = 0.1 + 0.8 * torch.rand(2, 1, 4, 4, dtype=torch.float64)
    network = Knows(predicts, schedule, clean)
    denoiser = DiffusionDenoiser(network, schedule, predicts=predicts, steps=steps)
    noisy = clean + denoiser.noise_sigma(sigma) * seeded(*clean.shape)
    found = denoiser.denoise(noisy, sigma, lambda step: seeded(*clean.shape, seed=step))
    torch.testing.assert_close(found, clean, rtol=0, atol=2e-3)
    assert len(network.times) == steps == denoiser.runs
    assert network.times == sorted(network.times, reverse=True)
    if schedule is not GRID:
        assert denoiser.noise_sigma(sigma) == sigma  # exactly: any noise level is met


@pytest.mark.parametrize(("predicts", "schedule"), PAIRS)
def test_a_chain_draws_each_level_from_the_posterior_and_consistency_from_its_estimate(
    predicts, schedule
):
    """At every level x is what it would be of the network's own estimate and fresh noise."""
    clean = torch.full((4000, 1, 1, 1), 0.7, dtype=torch.float64)
    network, seen = Knows(predicts, schedule, clean), []
    denoiser = DiffusionDenoiser(network, schedule, predicts=predicts, steps=3)
    network.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    noisy = clean + 0.5 * seeded(*clean.shape)
    denoiser.denoise(noisy, 0.5, lambda step: seeded(*clean.shape, seed=step))
    for x, level in zip(seen, schedule.chain(schedule.timestep(0.5), 3), strict=True):
        alpha, beta = schedule.scales(level.alpha_bar)
        if predicts in ("edm", "consistency"):
            scale = (beta**2 + 0.25) ** -0.5
            alpha, beta = alpha * scale, beta * scale
        assert float(x.mean()) == pytest.approx(alpha * 0.4, abs=0.06 * beta)
        assert float(x.std()) == pytest.approx(beta, rel=0.06)


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValueError, match="predicts v does not go with SigmaSchedule; allowed: noi"):
        DiffusionDenoiser(Waves(), SIGMA, predicts="v")
    with pytest.raises(ValueError, match="predicts edm does not go with Schedule; allowed: noise,"):
        DiffusionDenoiser(Waves(), GRID, predicts="edm")
    with pytest.raises(
        ValueError, match="the schedule is a ModuleDict; it must be one of dds's, s"
    ):
        DiffusionDenoiser(Waves(), nn.ModuleDict())
    with pytest.raises(ValueError, match="unknown prediction 'eps'; allowed: noise, x0, v, edm, c"):
        DiffusionDenoiser(Waves(), GRID, predicts="eps")
    for schedule, predicts in ((SIGMA, "edm"), (FLOW, "flow")):
        with pytest.raises(ValueError, match="steps: 0 is every timestep, and the schedule has no"):
            DiffusionDenoiser(Waves(), schedule, predicts=predicts, steps=0)
    assert {predicts for predicts, _ in PAIRS} == PREDICTIONS.keys()


@pytest.fixture(scope="module")
def diffusers():
    return pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def unet(diffusers):
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=8,
    ).eval()  # fmt: skip


class Unpacked(nn.Module):
    """A network of diffusers', called as ours are."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, time):
        return self.network(x, time).sample


THEIR_PREDICTION = {"noise": "epsilon", "x0": "sample", "v": "v_prediction"}


@pytest.mark.parametrize("scheduler", ["DDPMScheduler", "DDIMScheduler"])
@pytest.mark.parametrize(
    ("name", "theirs"),
    [("linear", "linear"), ("scaled_linear", "scaled_linear"), ("cosine", "squaredcos_cap_v2")],
)
@pytest.mark.parametrize("predicts", THEIR_PREDICTION)
@torch.inference_mode()
def test_estimates_are_those_of_diffusers_schedulers(
    diffusers, unet, scheduler, name, theirs, predicts
):
    betas = {} if name == "cosine" else {"beta_start": 0.0002, "beta_end": 0.015}
    schedule = build_schedule(name, 1000, **betas)
    process = getattr(diffusers, scheduler)(
        1000, beta_schedule=theirs, prediction_type=THEIR_PREDICTION[predicts], **betas
    )
    process.set_timesteps(1000)
    np.testing.assert_allclose(schedule.alpha_bar, process.alphas_cumprod, rtol=2e-4)
    given = build_schedule("alphas_cumprod", alphas_cumprod=process.alphas_cumprod.tolist())
    images = torch.rand(2, 3, 8, 8)
    for ours, tolerance in ((schedule, 1e-3), (given, 1e-5)):
        denoiser = DiffusionDenoiser(Unpacked(unet), ours, predicts=predicts, timestep="authors")
        t, _, noise_sigma = ours.timestep(0.5, "authors")
        noise = torch.randn_like(images)
        x = process.add_noise(2 * images - 1, noise, torch.tensor([t, t]))
        step = process.step(unet(x, t).sample, t, x)
        clean = denoiser.denoise(images + noise_sigma * noise, 0.5)
        torch.testing.assert_close(2 * clean - 1, step.pred_original_sample, rtol=0, atol=tolerance)


@pytest.mark.parametrize("sigma", SIGMAS)
@torch.inference_mode()
def test_edm_is_that_of_diffusers(diffusers, unet, sigma):
    process, s = diffusers.EDMEulerScheduler(), torch.tensor(2 * sigma)
    images, noise = torch.rand(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    y = 2 * images - 1 + s * noise
    out = unet(process.precondition_inputs(y, s), process.precondition_noise(s)).sample
    expected = process.precondition_outputs(y, out, s).clamp(-1, 1)
    denoiser = DiffusionDenoiser(Unpacked(unet), SIGMA, predicts="edm")
    ours = denoiser.denoise(images + sigma * noise, sigma)
    torch.testing.assert_close(2 * ours - 1, expected, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_a_flow_is_that_of_diffusers(diffusers, unet):
    process = diffusers.FlowMatchEulerDiscreteScheduler()
    process.set_timesteps(sigmas=[0.5])  # one step, to 0, where sigma / (1 - sigma) is 2 * 0.5
    images, noise = torch.rand(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    t = process.timesteps[0]
    x = process.scale_noise(2 * images - 1, t[None], noise)
    expected = process.step(unet(x, t).sample, t, x).prev_sample.clamp(-1, 1)
    denoiser = DiffusionDenoiser(Unpacked(unet), FLOW, predicts="flow")
    ours = denoiser.denoise(images + 0.5 * noise, 0.5)
    torch.testing.assert_close(2 * ours - 1, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("predicts", THEIR_PREDICTION)
@torch.inference_mode()
def test_a_pipeline_of_one_step_makes_the_image_that_ours_makes(diffusers, unet, predicts):
    process = diffusers.DDIMScheduler(
        1000, prediction_type=THEIR_PREDICTION[predicts], timestep_spacing="trailing"
    )
    pipeline = diffusers.DDIMPipeline(unet=unet, scheduler=process)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        2, torch.Generator().manual_seed(3), num_inference_steps=1, output_type="np"
    ).images
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    schedule = build_schedule("linear", 1000)
    denoiser = DiffusionDenoiser(Unpacked(unet), schedule, predicts=predicts)
    noisy = (x / schedule.alpha_bar[-1] ** 0.5 + 1) / 2
    ours = denoiser.denoise(noisy, schedule.sigmas[-1])
    np.testing.assert_allclose(ours.permute(0, 2, 3, 1).numpy(), theirs, rtol=0, atol=2e-4)


@pytest.mark.parametrize("steps", [1, 2])
@torch.inference_mode()
def test_a_consistency_pipeline_makes_the_image_that_ours_makes(diffusers, unet, steps):
    process = diffusers.CMStochasticIterativeScheduler()
    pipeline = diffusers.ConsistencyModelPipeline(unet=unet, scheduler=process)
    pipeline.set_progress_bar_config(disable=True)
    draws = torch.Generator().manual_seed(3)
    theirs = pipeline(2, num_inference_steps=steps, generator=draws, output_type="np").images
    levels = [float(s) for s in process.sigmas[:steps]]
    draws = torch.Generator().manual_seed(3)

    class Levels(SigmaSchedule):
        def chain(self, start, steps):
            return [self.timestep(s / 2) for s in levels]

    noise = [torch.randn(2, 3, 8, 8, generator=draws) for _ in range(steps)]
    denoiser = DiffusionDenoiser(Unpacked(unet), Levels(), predicts="consistency", steps=steps)
    noisy = (process.init_noise_sigma * noise[0] + 1) / 2
    ours = denoiser.denoise(noisy, levels[0] / 2, lambda step: noise[step])
    np.testing.assert_allclose(ours.permute(0, 2, 3, 1).numpy(), theirs, rtol=0, atol=2e-4)
