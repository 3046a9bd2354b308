"""Timesteps against the authors' values, guided_diffusion and root finding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from dds.networks.schedules import Schedule, build_schedule, cosine_schedule, linear_schedule

CIFAR = build_schedule("cosine", 4000, rescale_timesteps=True)
IMAGENET = build_schedule("linear", 1000)


@pytest.mark.parametrize(
    ("schedule", "sigma", "t", "noise_sigma"),
    [
        (CIFAR, 0.25, 1158, 0.250119),
        (CIFAR, 0.5, 1984, 0.500312),
        (CIFAR, 1.0, 2809, 1.000014),
        (IMAGENET, 0.25, 145, 0.251581),
        (IMAGENET, 0.5, 259, 0.502392),
        (IMAGENET, 1.0, 396, 1.000241),
    ],
)
def test_authors_timesteps(schedule, sigma, t, noise_sigma):
    step = schedule.timestep(sigma, "authors")
    assert step.t == t
    assert step.noise_sigma == pytest.approx(noise_sigma, abs=1e-6)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_alpha_bar_equals_guided_diffusion(name):
    diffusion = pytest.importorskip("guided_diffusion.gaussian_diffusion")
    betas = diffusion.get_named_beta_schedule(name, 1000)
    np.testing.assert_allclose(build_schedule(name, 1000).alpha_bar, np.cumprod(1 - betas))


@given(st.floats(0.02, 5.0))
def test_exact_timestep_agrees_with_root_finding(sigma):
    steps, s = 4000, 0.008

    def excess(t):
        f = np.cos(((t + 1) / steps + s) / (1 + s) * np.pi / 2) ** 2
        f /= np.cos(s / (1 + s) * np.pi / 2) ** 2
        return f - 1 / (1 + (2 * sigma) ** 2)

    root = brentq(excess, 0, steps - 2)
    assert CIFAR.timestep(sigma, "exact").t == pytest.approx(root, abs=2e-3)


@given(st.floats(0.02, 5.0), st.sampled_from([CIFAR, IMAGENET]))
def test_rules_bracket_sigma(sigma, schedule):
    nearest, exact, authors = (
        schedule.timestep(sigma, rule) for rule in ("nearest", "exact", "authors")
    )
    assert nearest.noise_sigma == exact.noise_sigma == sigma <= authors.noise_sigma
    assert abs(nearest.t - exact.t) <= 0.5
    assert 0 <= authors.t - exact.t < 1
    assert exact.alpha_bar == pytest.approx(1 / (1 + 4 * sigma**2))


def test_network_is_told_rescaled_time():
    assert CIFAR.network_time(1158) == pytest.approx(289.5)
    assert IMAGENET.network_time(145) == 145


@pytest.mark.parametrize("sigma", [0.0, 1e-6, 1e6])
def test_sigma_off_the_schedule_is_refused(sigma):
    with pytest.raises(ValueError, match="outside what the noise schedule covers"):
        IMAGENET.timestep(sigma)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="allowed: linear, cosine, scaled_linear, al"):
        build_schedule("quadratic", 10)
    with pytest.raises(ValueError, match="allowed: nearest, exact, authors"):
        CIFAR.timestep(0.5, "closest")


def test_too_few_linear_steps_are_refused():
    assert build_schedule("linear", 21).steps == 21
    with pytest.raises(ValueError, match="a linear noise schedule needs at least 21 steps, not 20"):
        build_schedule("linear", 20)


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule((0.9, 0.5)),
        linear_schedule(50),
        cosine_schedule(50),
        build_schedule("linear", 50),
        build_schedule("cosine", 50),
    ],
)
def test_a_network_is_told_its_own_timesteps_unless_it_was_trained_with_rescaled_ones(schedule):
    assert schedule.network_time(1) == 1


@pytest.mark.parametrize("schedule", [CIFAR, IMAGENET])
@pytest.mark.parametrize("rule", ["nearest", "exact", "authors"])
def test_a_noise_level_of_the_schedule_has_its_own_timestep(schedule, rule):
    for t in (0, 1, 500, schedule.steps - 2, schedule.steps - 1):
        step = schedule.timestep(schedule.sigmas[t], rule)
        assert step.t == t
        assert step.noise_sigma == schedule.sigmas[t]
        assert step.alpha_bar == pytest.approx(schedule.alpha_bar[t])


@pytest.mark.parametrize("schedule", [CIFAR, IMAGENET])
def test_a_noise_level_just_off_the_schedule_is_refused_with_the_range_it_has(schedule):
    low, high = schedule.sigmas[0], schedule.sigmas[-1]
    for sigma in (low * (1 - 1e-9), high * (1 + 1e-9)):
        with pytest.raises(ValueError, match=f"covers: {low:.3g} to {high:.3g}$".replace("+", ".")):
            schedule.timestep(sigma)
