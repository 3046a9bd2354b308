"""The radius plan: its bounds hold at all looks together, and are nearly those of n samples."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from dds.statistics.bounds import certified_radius, clopper_pearson_lower
from dds.statistics.certificates import ABSTAIN, certify_counts
from dds.statistics.plans import simulate
from dds.statistics.plans.radius import Radius, _spending

SELECTION = np.array([0, 100])

PLANS = [
    (n, alpha, within)
    for n in (90, 500, 1_000)
    for alpha in (1e-4, 0.001, 0.05)
    for within in (0.02, 0.3)
]


def plan_of(n, alpha, within=0.05):
    return Radius(100, n, alpha=alpha, within=within)


@lru_cache
def bounds(plan, look, alpha=None):
    """Return the bound of 0, 1, ... successes at a look."""
    successes = np.arange(look + 1)
    return plan.lower_bound(successes, np.full(look + 1, look), alpha or plan.alpha)


def marks(plan, p):
    """Return the fewest successes at each look whose bound exceeds each p."""
    return {look: bounds(plan, look).searchsorted(p, "right") for look in plan.looks}


def reaching(marks, p):
    """Return how probably a mark is ever reached: sample by sample, whatever stops an image."""
    n, p = max(marks), p[:, None]
    going, reached = np.zeros((len(p), n + 1)), np.zeros(len(p))
    going[:, 0] = 1
    for drawn in range(1, n + 1):
        going[:, 1 : drawn + 1] += (going[:, :drawn] - going[:, 1 : drawn + 1]) * p
        going[:, :1] *= 1 - p
        if drawn in marks:
            passed = np.arange(n + 1) >= marks[drawn][:, None]
            reached += np.where(passed, going, 0).sum(axis=1)
            going[passed] = 0
    return reached


def hardest(plan, count):
    """Return probabilities just below a bound that is reached, where errors are largest."""
    edges = _spending(plan.looks, plan.within, plan.alpha).edges[1:-1]
    some = [bounds(plan, look) for look in plan.looks[:: max(1, len(plan.looks) // 3)]]
    found = np.concatenate([edges, *some])
    found = np.unique(found[(found > 0.5) & (found < 1)])
    return found[:: max(1, len(found) // count)] - 1e-12


@pytest.mark.parametrize("settings", PLANS, ids=str)
def test_the_bound_of_any_look_is_too_high_with_probability_alpha_at_most(settings):
    plan = plan_of(*settings)
    p = np.array([0.3, 0.5, *hardest(plan, 20), 1 - 1e-9])
    assert (reaching(marks(plan, p), p) <= plan.alpha * (1 + 1e-9)).all()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [(5_000, 0.001, 0.05), (3_000, 1e-4, 0.01)], ids=str)
def test_it_does_so_for_many_probabilities(settings):
    plan = plan_of(*settings)
    p = hardest(plan, 40)
    assert (reaching(marks(plan, p), p) <= plan.alpha * (1 + 1e-9)).all()


def test_most_of_alpha_is_used():
    """The checks above have teeth, and little is wasted on looks where no image stops."""
    plan = plan_of(1_000, 0.05)
    p = hardest(plan, 20)
    assert reaching(marks(plan, p), p).max() > 0.7 * plan.alpha
    lower = {look: mark - 1 for look, mark in marks(plan, p).items()}
    assert (reaching(lower, p) > plan.alpha).any()


@given(
    n=st.integers(1, 1_500),
    alpha=st.floats(1e-7, 0.6),
    within=st.floats(0.001, 0.9),
    other=st.floats(1e-9, 0.9),
)
@settings(max_examples=20)
def test_each_probability_is_tested_with_alpha_in_all(n, alpha, within, other):
    plan = plan_of(n, alpha, within)
    shares = _spending(plan.looks, within, alpha).shares
    assert (shares >= 0).all()
    assert shares.sum(axis=0) == pytest.approx(1)
    for look in plan.looks[:: max(1, len(plan.looks) // 3)]:
        found = bounds(plan, look, other)
        assert (np.diff(found) >= 0).all()  # more successes certify no less
        assert (found <= clopper_pearson_lower(np.arange(look + 1), look, other)).all()
        assert found[0] == 0


def test_one_look_has_the_bounds_of_clopper_and_pearson():
    plan = plan_of(99, 0.01)
    assert plan.looks == (99,)
    expected = clopper_pearson_lower(np.arange(100), 99, 0.01)
    assert bounds(plan, 99) == pytest.approx(expected)


def course(plan, p, seed):
    """Return where an image stops, with how many successes, and how many n samples have."""
    hits = np.random.default_rng(seed).random(plan.n) < p
    for look in plan.looks:
        successes = int(hits[:look].sum())
        if plan.goal(1, SELECTION, np.array([look - successes, successes])) == look:
            return look, successes, int(hits.sum())
    raise AssertionError


@pytest.mark.parametrize(("n", "within"), [(1_000, 0.2), (10_000, 0.05), (100_000, 0.05)])
def test_a_radius_is_nearly_that_of_n_samples(n, within):
    """But for a probability of 0.05; with p near 1/2 the radius of n samples itself is chance."""
    plan = plan_of(n, 0.001, within)
    short, drawn = [], []
    for seed, p in enumerate(np.tile([0.3, 0.7, 0.8, 0.9, 0.97, 0.99, 0.999, 1.0], 9)):
        look, successes, all_of_them = course(plan, p, seed)
        ours = certified_radius(plan.lower_bound(successes, look, plan.alpha), 1.0)
        theirs = certified_radius(clopper_pearson_lower(all_of_them, n, plan.alpha), 1.0)
        assert ours <= theirs * (1 + 3 * within)
        short.append(ours < (1 - within) * theirs)
        drawn.append(look)
    assert sum(short) <= binom.isf(1e-4, len(short), 0.05)
    assert np.mean(drawn) < 0.8 * n


@pytest.mark.parametrize(
    ("n", "within", "p", "samples"),
    [(10_000, 0.1, 0.9, 2_200), (10_000, 0.05, 0.9, 4_700), (100_000, 0.05, 0.99, 14_900)],
)
def test_it_draws_as_few_samples_as_documented(n, within, p, samples):
    """In docs/measurements.md, by simulation; these agree with an exact recursion within 1%."""
    plan, random = plan_of(n, 0.001, within), np.random.default_rng(0)
    drawn = np.mean([simulate(plan, 0, p, random) for _ in range(60)])
    assert drawn == pytest.approx(samples, rel=0.1)


def test_wider_is_cheaper():
    plans = [plan_of(10_000, 0.001, within) for within in (0.02, 0.05, 0.2)]
    drawn = [[course(plan, p, 1)[0] for p in (0.7, 0.9, 0.99)] for plan in plans]
    assert (np.diff(drawn, axis=0) < 0).all()


def test_an_image_that_cannot_be_certified_is_given_up_soon():
    plan = plan_of(100_000, 0.001)
    look, successes, _ = course(plan, 0.4, seed=1)
    assert look <= 1_000
    votes = np.array([[look - successes, successes]])
    rows = certify_counts(SELECTION[None], votes, 0.25, [1], plan, 0.001)
    assert (rows["computed"][0], rows["prediction"][0], rows["radius"][0]) == (True, ABSTAIN, 0)


def test_every_radius_can_be_asked_for():
    plan = plan_of(10_000, 0.001)
    assert plan.lowest_radius == 0
    assert not hasattr(plan, "decided_radii")
    found = np.unique(certified_radius(bounds(plan, plan.looks[-10]), 1.0))
    assert np.diff(found[found < 2]).max() < 0.05  # no grid


def test_all_hits_of_millions_of_samples_have_a_radius_within():
    plan = plan_of(26_214_400, 0.001)
    stop = next(k for k in plan.looks if plan.goal(1, SELECTION, np.array([0, k])) == k)
    radius = certified_radius(plan.lower_bound(stop, stop, 0.001), 1.0)
    assert radius >= 0.95 * certified_radius(clopper_pearson_lower(plan.n, plan.n, 0.001), 1.0)
    assert stop < plan.n


def test_a_share_that_is_none_is_refused():
    for within in (0.0, 1.0):
        with pytest.raises(ValueError, match="within must lie between 0 and 1"):
            plan_of(1_000, 0.001, within)
    with pytest.raises(ValueError, match="150 estimation samples is no stop of this plan"):
        plan_of(1_000, 0.001).lower_bound(np.array([150]), np.array([150]), 0.001)
