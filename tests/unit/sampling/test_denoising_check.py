"""A denoiser that is read in a wrong way is refused before any work, and a sound one never is."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dds.networks.denoisers import DiffusionDenoiser, NoDenoiser
from dds.networks.schedules import SigmaSchedule, build_schedule
from dds.sampling.denoising_check import (
    SAMPLES,
    Denoising,
    _judge,
    _Tried,
    check_denoising,
    few,
)
from dds.sampling.smoothing import SmoothedClassifier
from dds.statistics.plans import make_plan

SIZE = 16
SCHEDULE = build_schedule("cosine", 4000, rescale_timesteps=True)
SIGMAS = [0.125, 0.25, 0.5, 1.0]


def _cosines():
    """Return the orthonormal cosine transform, and the variance of each wave in smooth images."""
    n = np.arange(SIZE)
    waves = np.sqrt(2 / SIZE) * np.cos(np.pi * np.outer(n, n + 0.5) / SIZE)
    waves[0] /= np.sqrt(2)
    variance = 30 / (1 + n[:, None] ** 2 + n[None] ** 2) ** 1.5
    variance[0, 0] = 5
    return torch.tensor(waves, dtype=torch.float32), torch.tensor(variance, dtype=torch.float32)


WAVES, VARIANCE = _cosines()
#: How bright images are, in [-1,1].
MEAN = -0.6


def smooth_images(count, seed=0):
    """Draw dark images from a Gaussian, whose best denoiser is known; in [0,1]."""
    normal = torch.randn(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    x = MEAN + WAVES.T @ (VARIANCE.sqrt() * normal) @ WAVES
    return ((x.clamp(-1, 1) + 1) / 2).numpy()


def best(y, s):
    """Return the posterior mean of an image in [-1,1] given y = image + s * noise."""
    waves = WAVES @ (y - MEAN) @ WAVES.T
    return MEAN + WAVES.T @ (waves * VARIANCE / (VARIANCE + s**2)) @ WAVES


class Best(nn.Module):
    """Predicts what the best denoiser of the smooth images does, at the times of a schedule."""

    def __init__(self, predicts="noise", schedule=SCHEDULE):
        super().__init__()
        self.predicts = predicts
        self.times = schedule.network_time(np.arange(schedule.steps))
        self.sigmas = 2 * np.array(schedule.sigmas)

    def forward(self, x, time):
        s = float(np.interp(float(time[0]), self.times, self.sigmas))
        alpha, beta = 1 / (1 + s**2) ** 0.5, s / (1 + s**2) ** 0.5
        clean = best(x / alpha, s)
        noise = (x - alpha * clean) / beta
        return {"noise": noise, "x0": clean, "v": alpha * noise - beta * clean}[self.predicts]


def check(denoiser, sigma, images=None, **running):
    plan = make_plan({"plan": "fixed", "n0": 10, "n": 10}, sigma)
    smoothed = SmoothedClassifier({}, denoiser, sigma, plan, seed=1, **running)
    return check_denoising(smoothed, smooth_images(20) if images is None else images)


class Own:
    """A denoiser of the user's own, which tells its network some multiple of sigma."""

    networks, runs = (), 1

    def __init__(self, factor):
        self.factor = factor

    def noise_sigma(self, sigma):
        return sigma

    def denoise(self, noisy, sigma, normal=None):
        return (best(2 * noisy - 1, self.factor * sigma) + 1) / 2


@pytest.mark.parametrize("sigma", [0.002, 0.03, *SIGMAS])
@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("rule", ["nearest", "authors"])
def test_a_sound_denoiser_is_never_refused(sigma, steps, rule):
    denoiser = DiffusionDenoiser(Best(), SCHEDULE, timestep=rule, steps=steps)
    found = check(denoiser, sigma)
    assert found.psnr_denoised >= found.psnr_noisy
    assert found.psnr_noisy == pytest.approx(-20 * np.log10(denoiser.noise_sigma(sigma)), abs=0.2)
    assert found.samples == SAMPLES


def told_on_another_scale(network):
    """Return a denoiser whose schedule does not say what its network is told."""
    wrong = replace(SCHEDULE, rescale_timesteps=not SCHEDULE.rescale_timesteps)
    return DiffusionDenoiser(network, wrong)


class InUnitRange(nn.Module):
    """A network for images in [0,1], which is given them in [-1,1]."""

    def forward(self, x, time):
        s = float(np.interp(float(time[0]), Best().times, Best().sigmas))
        y = x * (1 + s**2) ** 0.5
        clean = (best(2 * y - 1, 2 * s) + 1) / 2
        return (y - clean) / s


def readings():
    """Yield networks that are read in a wrong way, how, and the noise levels where it shows."""
    yield told_on_another_scale(Best()), r"rescale_timesteps: true", SIGMAS
    for told in ("noise", "x0", "v"):
        for predicts in {"noise", "x0", "v"} - {told}:
            # Near the image there is little between them.
            shows = [sigma for sigma in SIGMAS if sigma > 0.2 or "x0" in (told, predicts)]
            denoiser = DiffusionDenoiser(Best(predicts), SCHEDULE, predicts=told)
            yield denoiser, f"it predicts {predicts}; it is read as predicts: {told}", shows
    yield DiffusionDenoiser(InUnitRange(), SCHEDULE), r"images in \[0,1\]; .*", SIGMAS[1:]


@pytest.mark.parametrize(
    ("denoiser", "cause", "sigma"),
    [(denoiser, cause, sigma) for denoiser, cause, sigmas in readings() for sigma in sigmas],
)
def test_a_network_that_is_read_in_a_wrong_way_is_refused(denoiser, cause, sigma):
    line = rf"^denoiser DiffusionDenoiser: .*at sigma {sigma:g} a PSNR of .* dB more if .*{cause}$"
    with pytest.raises(ValueError, match=line):
        check(denoiser, sigma)


class Preconditioned(nn.Module):
    """The best denoiser as Karras et al. (2022) scale it, told some multiple of the level."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor

    def forward(self, x, time):
        s = float(torch.exp(4 * time[0]))
        y = x * (s**2 + 0.25) ** 0.5
        clean = best(y, self.factor * s)
        return (clean - 0.25 / (s**2 + 0.25) * y) / (0.5 * s / (s**2 + 0.25) ** 0.5)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_networks_without_timesteps_are_checked_alike(sigma, caplog):
    for factor, level in ((1.0, "INFO"), (0.5, "WARNING")):
        denoiser = DiffusionDenoiser(Preconditioned(factor), SigmaSchedule(), predicts="edm")
        with caplog.at_level(logging.INFO):
            check(denoiser, sigma)
        assert caplog.records[-1].levelname == level
    assert "if it is told twice the sigma" in caplog.text
    wrong = DiffusionDenoiser(Preconditioned(), SigmaSchedule(), predicts="x0")
    with pytest.raises(ValueError, match="if it predicts edm; it is read as predicts: x0"):
        check(wrong, sigma)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_sigma_in_another_unit_is_told_of_the_users_own_denoiser(sigma, caplog):
    with caplog.at_level(logging.INFO):
        check(Own(2), sigma)
        assert [record.levelname for record in caplog.records] == ["INFO"]
        check(Own(1), sigma)
    assert caplog.records[-1].levelname == "WARNING"
    assert "dB more if it is told twice the sigma; sigma is in [0,1] pixel units" in caplog.text


@pytest.mark.parametrize("sigma", SIGMAS)
def test_worse_than_the_noisy_images_is_an_error_for_any_denoiser(sigma):
    class Worse(Own):
        def denoise(self, noisy, sigma, normal=None):
            return noisy + 2 * sigma * (noisy - super().denoise(noisy, sigma))

    with pytest.raises(ValueError, match=r"^denoiser Worse: denoised images are worse than noisy"):
        check(Worse(2), sigma)


def test_a_wrong_unit_is_named_where_it_does_harm():
    class WantsBytes(Own):
        def denoise(self, noisy, sigma, normal=None):
            wanted = super().denoise(noisy, sigma / 255)
            return wanted if sigma > 10 else noisy + 1

    with pytest.raises(ValueError, match="worse than noisy .* told 255 times the sigma"):
        check(WantsBytes(2), 0.25)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_no_image(value):
    class Broken(Own):
        def denoise(self, noisy, sigma, normal=None):
            return torch.full_like(noisy, value)

    with pytest.raises(ValueError, match="worse than noisy ones: at sigma 0.25 a PSNR of -inf dB"):
        check(Broken(2), 0.25)


def test_no_denoiser_is_exempt_and_a_weak_one_is_a_warning(caplog):
    assert check(NoDenoiser(), 0.25) is None
    assert not caplog.records

    class Weak(Own):
        def denoise(self, noisy, sigma, normal=None):
            return 0.9 * noisy + 0.1 * super().denoise(noisy, sigma)

    check(Weak(2), 1.0)
    assert "a PSNR of 1.0 dB, of the noisy images 0.1 dB, and mixed with grey" in caplog.text


def test_a_network_that_returns_one_shade_is_no_network_of_another_kind():
    """Read as if for images in [0,1], mid grey is black, and near to dark images."""

    class Shade(nn.Module):
        def forward(self, x, time):
            return torch.zeros_like(x)

    dark, denoiser = 0.2 * smooth_images(20), DiffusionDenoiser(Shade(), SCHEDULE, predicts="x0")
    with pytest.raises(ValueError, match="worse than noisy ones.*; it may be told time"):
        check(denoiser, 0.125, images=dark)


def test_one_image_will_do_and_the_samples_noise_is_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    denoiser = DiffusionDenoiser(Best(), SCHEDULE)
    assert check(denoiser, 0.25, smooth_images(1)) == check(denoiser, 0.25, smooth_images(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert few(1).tolist() == [0] * SAMPLES
    assert (few(500)[0], few(500)[-1], len(set(few(500)))) == (0, 499, SAMPLES)


def test_a_batch_is_no_larger_than_that_of_the_samples():
    class Counts(Own):
        def denoise(self, noisy, sigma, normal=None):
            assert len(noisy) <= 3
            return super().denoise(noisy, sigma)

    whole = check(Own(2), 0.25)
    assert check(Counts(2), 0.25, batch_size=3).psnr_denoised == pytest.approx(
        whole.psnr_denoised, abs=0.1
    )


def test_memory_that_is_used_up_halves_the_batches():
    class Greedy(Own):
        def denoise(self, noisy, sigma, normal=None):
            if len(noisy) > self.most:
                raise torch.OutOfMemoryError
            return super().denoise(noisy, sigma)

    greedy = Greedy(2)
    for greedy.most in (8, 1):
        assert check(greedy, 0.25).psnr_denoised == check(Own(2), 0.25).psnr_denoised
    greedy.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        check(greedy, 0.25)


@pytest.mark.parametrize("raised", [RuntimeError, IndexError, AssertionError])
def test_a_denoiser_that_fails_is_told_in_one_line(raised):
    class Fails(Own):
        def denoise(self, noisy, sigma, normal=None):
            raise raised("too small\nand more")

    line = r"^denoiser Fails fails on images of shape \(1, 16, 16\): too small; give images of .*$"
    with pytest.raises(ValueError, match=line):
        check(Fails(2), 0.25)


def test_a_denoiser_may_write_over_what_it_returned_before():
    class Buffered(Own):
        buffer = torch.empty(16, 1, SIZE, SIZE)

        def denoise(self, noisy, sigma, normal=None):
            return self.buffer[: len(noisy)].copy_(super().denoise(noisy, sigma))

    assert check(Buffered(2), 0.25, batch_size=4) == check(Own(2), 0.25, batch_size=4)


@pytest.mark.parametrize(
    ("gain", "is_sure", "is_said"),
    [(0.3, True, False), (0.6, True, True), (0.6, False, False), (1.2, False, True)],
)
def test_a_reading_that_gains_a_little_is_a_warning(caplog, gain, is_sure, is_said):
    found = Denoising(0.25, psnr_noisy=12.0, psnr_denoised=20.0, samples=16)
    reading = _Tried(20.0 + gain, "time is unscaled", "scale it", is_sure)
    with caplog.at_level("WARNING"):
        _judge(NoDenoiser(), found, 10.0, [reading])
    assert ("dB more if time is unscaled; scale it" in caplog.text) == is_said
