"""The sequential plan's error over many settings, by a recursion that shares nothing with it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import fftconvolve
from scipy.stats import binom, norm

from dds.statistics.bounds import probability_needed
from dds.statistics.certificates import certify_counts
from dds.statistics.plans import simulate
from dds.statistics.plans.sequential import Sequential, _marks

#: Grids of radii with their sigma: usual ones, one radius, out of reach, close together, and
#: one whose probability is 1 - 1e-9.
GRIDS = [
    ([0.0, 0.25, 0.5, 0.75], 0.25),
    ([0.0, 0.5, 1.0, 1.5, 2.0], 1.0),
    ([0.25], 0.25),
    ([0.0], 0.5),
    ([0.5, 5.0, 100.0], 0.25),
    ([0.25, 0.2501, 0.26], 0.5),
    ([0.125, 0.12 * norm.isf(1e-9)], 0.12),
]
ALPHAS = [1e-4, 0.001, 0.05]

FAST = [
    (n, alpha, *GRIDS[grid], bool(grid % 2))
    for n in (90, 500, 1_000, 5_000)
    for alpha in ALPHAS
    for grid in range(len(GRIDS))
]
SLOW = [
    (n, alpha, *GRIDS[grid], alpha == 0.05)
    for n, grids in ((10_000, range(len(GRIDS))), (100_000, (0, 3, 5)))
    for alpha in ALPHAS
    for grid in grids
]


def plan_of(n, alpha, radii, sigma, frugal=False):
    return Sequential(100, n, radii=radii, sigma=sigma, alpha=alpha, frugal=frugal)


def reached(plan, p, needed):
    """Return how probably an image ever has successes whose bound is at least what is needed.

    The probabilities of all counts that have not, from 0 on, by Fourier transforms: none is left
    out, and rounding is about 1e-16 each.
    """
    chances, total, drawn = np.ones(1), 0.0, 0
    for look in plan.looks:
        step = binom.pmf(np.arange(look - drawn + 1), look - drawn, p)
        chances, drawn = fftconvolve(chances, step), look
        counts = np.arange(look + 1)
        bounds = plan.lower_bound(counts, np.full(look + 1, look), plan.alpha)
        mark = int(np.count_nonzero(bounds < needed))
        total += chances[mark:].sum()
        chances[mark:] = 0
    return total


def check(plan):
    for p in probability_needed(plan.decided_radii, plan.sigma):
        assert reached(plan, p, p) <= plan.alpha + 1e-12


@pytest.mark.parametrize("settings", FAST, ids=str)
def test_no_false_radius_is_reached_with_a_probability_above_alpha(settings):
    check(plan_of(*settings))


@pytest.mark.slow
@pytest.mark.parametrize("settings", SLOW, ids=str)
def test_nor_is_one_of_many_samples(settings):
    check(plan_of(*settings))


def test_the_check_has_teeth():
    plan = plan_of(1_000, 0.05, [0.25], 0.25)
    p = probability_needed(0.25, 0.25)
    assert 0.9 * 0.05 < reached(plan, p, p) <= 0.05
    assert reached(plan, p + 0.003, p) > 0.05


@pytest.mark.parametrize(("p", "most"), [(0.9, 2.0), (0.95, 2.0), (0.99, 2.5)])
def test_it_draws_little_more_than_any_test_must(p, most):
    """Wald: to reject p_0 at level alpha takes log(1 / alpha) / KL(p, p_0) samples on average."""
    plan = plan_of(100_000, 0.001, [0.25], 0.25)
    p_0, random = norm.cdf(1.0), np.random.default_rng(0)
    information = p * np.log(p / p_0) + (1 - p) * np.log((1 - p) / (1 - p_0))
    limit = np.log(1 / plan.alpha) / information
    drawn = np.mean([simulate(plan, 0, p, random) for _ in range(200)])
    assert limit < drawn < most * limit + 100


# Extremes. -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"n": 1, "n0": 1},
        {"n": 99},
        {"n": 100, "n0": 100},
        {"n": 1_000, "n0": 1_000},
        {"n": 500, "radii": [0.0]},
        {"n": 500, "radii": [0.25 * norm.isf(1e-9)]},
        {"n": 500, "radii": [1e6]},
        {"n": 500, "alpha": 1e-9},
        {"n": 500, "alpha": 1 - 1e-9},
        {"n": 500, "frugal": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("p", [0.0, 0.5, 1 - 1e-9])
def test_extremes_stop_at_a_look_with_a_certificate_or_none(settings, p):
    given = {"n0": 100, "radii": [0.0, 0.25], "sigma": 0.25, "alpha": 0.001} | settings
    plan = Sequential(**given)
    drawn = simulate(plan, 0, p, np.random.default_rng(0))
    assert drawn in plan.looks
    hits = round(p * drawn)
    votes = np.array([[hits, drawn - hits]])
    selection = np.array([[plan.n0, 0]])
    rows = certify_counts(selection, votes, plan.sigma, [0], plan, plan.alpha)
    assert rows["computed"].all()
    assert rows["radius"][0] == pytest.approx(0) or rows["prediction"][0] == 0
    if p == 0:
        assert not rows["correct"].any()


def test_marks_are_computed_once():
    plan = plan_of(100_000, 0.00123, [0.0, 0.25, 0.5, 0.75, 1.0], 0.5)
    before = _marks.cache_info()
    for _ in range(3):
        plan.lower_bound(np.array([90_000]), np.array([100_000]), plan.alpha)
    after = _marks.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 2)
