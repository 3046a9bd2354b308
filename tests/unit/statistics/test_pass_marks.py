"""The pass marks of the sequential plan, exact by a recursion sample by sample, and its course.

That no false radius is reached too often is tested in test_sequential_error.py.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from dds.statistics.bounds import certified_radius, largest_radius, probability_needed
from dds.statistics.certificates import ABSTAIN, certify_counts
from dds.statistics.pass_marks import pass_marks
from dds.statistics.plans import simulate
from dds.statistics.plans.sequential import Sequential
from dds.statistics.plans.union_sequential import UnionSequential


def passing(looks, marks, p):
    """Return the probability to have reached a mark by each look, in exact fractions.

    Counts sequences of hits and misses one sample at a time: those that have reached no mark,
    by their hits.
    """
    p, open_ones, reached, by_look = Fraction(p), {0: 1}, Fraction(0), []
    marks = dict(zip(looks, marks, strict=True))
    for drawn in range(1, looks[-1] + 1):
        more = {}
        for hits, sequences in open_ones.items():
            for hit in (0, 1):
                more[hits + hit] = more.get(hits + hit, 0) + sequences
        if drawn in marks:
            for hits in [hits for hits in more if hits >= marks[drawn]]:
                reached += more.pop(hits) * p**hits * (1 - p) ** (drawn - hits)
            by_look.append(reached)
        open_ones = more
    return by_look


@given(
    steps=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    p=st.floats(0.02, 0.98),
    shares=st.lists(st.floats(0.01, 1), min_size=4, max_size=4),
    alpha=st.floats(1e-6, 0.4),
)
def test_marks_are_the_lowest_that_spend_no_more_than_allowed(steps, p, shares, alpha):
    looks = np.cumsum(steps).tolist()
    error = alpha * np.cumsum(shares[: len(looks)]) / 4
    marks = pass_marks(looks, p, error).tolist()
    for at, spent in enumerate(passing(looks, marks, p)):
        assert spent <= error[at] * (1 + 1e-9)
        lower = [*marks[:at], marks[at] - 1]
        assert passing(looks[: at + 1], lower, p)[-1] > error[at] * (1 - 1e-9)


@pytest.mark.parametrize(("p", "marks"), [(0.0, [1, 1]), (1.0, [11, 21])])
def test_what_is_certain_passes_never_or_always_by_luck(p, marks):
    assert pass_marks([10, 20], p, [0.001, 0.002]).tolist() == marks


def test_marks_of_one_look_are_those_of_clopper_and_pearson():
    from dds.statistics.bounds import successes_needed

    radii, alpha = np.array([0.1, 0.5, 1.0]), 0.001
    marks = [pass_marks([5_000], p, [alpha])[0] for p in norm.cdf(radii / 0.5)]
    assert marks == successes_needed(radii, 0.5, 5_000, alpha).tolist()


def test_millions_of_samples_have_marks():
    """Those of a test by the normal distribution, about, and no look costs all of its counts."""
    (mark,) = pass_marks([20_000_000], 0.5, [0.001])
    assert mark == pytest.approx(10_000_000 + norm.isf(0.001) * 20_000_000**0.5 / 2, abs=2)


# Of a plan. ------------------------------------------------------------------------------


def plan_of(n, radii, sigma, alpha, frugal=False):
    return Sequential(100, n, radii=radii, sigma=sigma, alpha=alpha, frugal=frugal)


def certificates(plan, successes, drawn, alpha=None):
    """Return the certificates of images of class 1 that were selected as such."""
    successes = np.asarray(successes)
    estimation = np.stack([drawn - successes, successes], axis=1)
    selection = np.tile([0, plan.n0], (len(successes), 1))
    labels = np.ones(len(successes), int)
    alpha = plan.alpha if alpha is None else alpha
    return certify_counts(selection, estimation, plan.sigma, labels, plan, alpha)


def certified(plan, drawn, alpha=None):
    """Return which radii are certified by 0, 1, ... successes: (counts, radii)."""
    rows = certificates(plan, np.arange(drawn + 1), drawn, alpha)
    right = rows["correct"][:, None]
    return right & (rows["radius"][:, None] >= np.array(plan.decided_radii))


@given(
    n=st.integers(1, 3_000),
    radii=st.lists(st.floats(0, 2), min_size=1, max_size=5),
    sigma=st.sampled_from([0.12, 0.25, 1.0]),
    alpha=st.floats(1e-7, 0.6),
    frugal=st.booleans(),
)
@settings(max_examples=30)
def test_more_successes_certify_no_less_and_radii_are_certified_from_below(
    n, radii, sigma, alpha, frugal
):
    plan = plan_of(n, radii, sigma, alpha, frugal)
    for look in plan.looks[:: max(1, len(plan.looks) // 4)]:
        table = certified(plan, look)
        assert (np.diff(table.astype(int), axis=0) >= 0).all()
        assert (np.diff(table.astype(int), axis=1) <= 0).all()


@given(st.floats(0, 3), st.sampled_from([0.12, 0.25, 0.5, 1.0]))
def test_a_radius_needs_the_probability_that_certifies_it(radius, sigma):
    p = probability_needed(radius, sigma)
    assert p > 0.5
    assert certified_radius(p, sigma) >= radius
    assert p == pytest.approx(norm.cdf(radius / sigma), rel=1e-14)


def test_an_image_stops_with_a_radius_of_the_grid_and_what_is_not_certified_abstains():
    plan = plan_of(1_000, [0.0, 0.25], 0.25, 0.001)
    rows = certificates(plan, [500, 600, 1_000], 1_000)
    assert rows["prediction"].tolist() == [ABSTAIN, 1, 1]
    assert rows["p_lower"] == pytest.approx([0, 0.5, norm.cdf(1)])
    assert rows["radius"] == pytest.approx([0, 0, 0.25])
    assert (rows["radius"] >= [0.0, 0.0, 0.25]).all()


def test_a_radius_out_of_reach_is_given_up_and_costs_the_others_nothing():
    near, far = (plan_of(500, [0.25, *more], 0.25, 0.001) for more in ([], [1.0, 100.0]))
    for look in near.looks:
        assert (certified(near, look)[:, 0] == certified(far, look)[:, 0]).all()
        assert not certified(far, look)[:, 1:].any()
    selection = np.array([0, 100])
    assert far.goal(1, selection, np.array([0, 400])) == 400
    hopeless = plan_of(500, [1.0], 0.25, 0.001)
    assert hopeless.goal(1, selection, np.array([0, 100])) == 100


@given(n=st.integers(100, 2_000), share=st.floats(0.9, 1), frugal=st.booleans())
@settings(max_examples=30)
def test_an_image_of_hits_alone_gets_what_the_last_look_certifies(n, share, frugal):
    """It is not given up, not even where the last look needs every sample to be a hit."""
    alpha, sigma = 0.001, 0.25
    plan = plan_of(n, [share * float(largest_radius(n, alpha, sigma))], sigma, alpha, frugal)
    drawn = simulate(plan, 0, 1.0, np.random.default_rng(0))
    assert certified(plan, drawn)[-1, 0] == certified(plan, n)[-1, 0]


def test_another_alpha_has_marks_of_its_own():
    plan, other = plan_of(1_000, [0.25], 0.25, 0.01), plan_of(1_000, [0.25], 0.25, 0.0001)
    assert (certified(plan, 500, alpha=0.0001) == certified(other, 500)).all()
    assert certified(plan, 500).sum() > certified(other, 500).sum()
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
        certified(plan, 500, alpha=0.0)


def test_a_count_that_is_no_look_is_refused():
    with pytest.raises(ValueError, match="150 estimation samples is no stop of this plan"):
        certified(plan_of(1_000, [0.25], 0.25, 0.01), 150)


def test_each_sigma_decides_its_own_radii():
    radii = {"0.25": [0.5, 0], "1.0": [1.0]}
    plans = [plan_of(500, radii, sigma, 0.01) for sigma in (0.25, 1.0)]
    assert [plan.decided_radii for plan in plans] == [(0.0, 0.5), (1.0,)]
    assert [plan.lowest_radius for plan in plans] == [0.0, 1.0]
    # So that shards of all noise levels have one plan.
    assert plans[0].to_dict() == plans[1].to_dict()


def stopping(plan, p):
    """Return how probably an image of class 1 stops after so many samples with so many hits."""
    going, found, drawn = np.ones(1), {}, 0
    for look in plan.looks:
        for _ in range(look - drawn):
            going = np.append(going * (1 - p), 0) + np.append(0, going * p)
        drawn, hits = look, np.arange(look + 1)
        stops = np.array(
            [
                plan.goal(1, np.array([0, plan.n0]), np.array([look - hit, hit])) == look
                for hit in hits
            ]
        )
        found[look] = np.where(stops, going, 0)
        going = np.where(stops, 0, going)
    assert sum(one.sum() for one in found.values()) == pytest.approx(1)
    return found


@pytest.mark.parametrize("frugal", [False, True])
def test_it_draws_fewer_samples_than_by_a_union_bound(frugal):
    radii, n, alpha = [0.0, 0.25, 0.5], 2_000, 0.001
    group = plan_of(n, radii, 0.25, alpha, frugal)
    union = UnionSequential(100, n, radii=radii, sigma=0.25, alpha=alpha)
    means = np.array([
        [sum(look * one.sum() for look, one in stopping(plan, p).items()) for p in
         (0.3, 0.55, 0.6, 0.75, 0.9, 0.95, 0.995)]
        for plan in (group, union)
    ])  # fmt: skip
    assert (means[0] < 1.02 * means[1]).all()
    assert means[0].mean() < means[1].mean() / 1.1


@pytest.mark.parametrize("frugal", [False, True])
def test_giving_up_loses_about_what_was_agreed_and_no_more(frugal):
    """Of images that have just the rate that the last look needs, and so the most of any."""
    plan = plan_of(2_000, [0.25], 0.25, 0.001, frugal)
    needed = np.flatnonzero(certified(plan, plan.n)[:, 0])[0]
    found = stopping(plan, needed / plan.n)
    lost = sum(
        one[~certified(plan, look)[:, 0]].sum() for look, one in found.items() if look < plan.n
    )
    agreed = 0.3 if frugal else 0.1
    assert 0.8 * agreed < lost <= agreed  # and hardly less, which would take more samples
