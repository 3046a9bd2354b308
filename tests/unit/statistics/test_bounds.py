"""Bounds and radii, against SciPy, the paper's numbers and their own laws."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm

from dds.statistics.bounds import (
    binomial_interval,
    certified_radius,
    clopper_pearson_lower,
    clopper_pearson_upper,
    largest_radius,
    successes_needed,
)

alphas = st.floats(1e-6, 0.5)
sigmas = st.floats(0.01, 10.0)


@st.composite
def successes_of_n(draw, most=100_000):
    n = draw(st.integers(1, most))
    return draw(st.integers(0, n)), n


@given(successes_of_n(most=5_000), alphas)
def test_lower_bound_agrees_with_binomtest(counts, alpha):
    test = binomtest(*counts, alternative="greater")
    oracle = test.proportion_ci(confidence_level=1 - alpha, method="exact").low
    assert clopper_pearson_lower(*counts, alpha) == pytest.approx(oracle, rel=1e-8, abs=1e-12)


@given(successes_of_n(most=5_000), alphas)
def test_upper_bound_agrees_with_binomtest(counts, alpha):
    test = binomtest(*counts, alternative="less")
    oracle = test.proportion_ci(confidence_level=1 - alpha, method="exact").high
    assert clopper_pearson_upper(*counts, alpha) == pytest.approx(oracle, rel=1e-8, abs=1e-12)


def at_least(successes, n, p):
    """Return the probability of so many successes or more, in exact arithmetic."""
    p = Fraction(p)
    terms = (math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(successes, n + 1))
    return sum(terms)


@pytest.mark.parametrize("alpha", [1e-3, 1e-7, 1e-12])
@pytest.mark.parametrize(
    ("successes", "n"), [(1, 9), (9, 9), (1, 400), (211, 400), (399, 400), (400, 400)]
)
def test_the_lower_bound_solves_its_equation_exactly(successes, n, alpha):
    bound = float(clopper_pearson_lower(successes, n, alpha))
    below, above = (at_least(successes, n, bound * (1 + off)) for off in (-1e-9, 1e-9))
    assert below < Fraction(alpha) < above


@pytest.mark.parametrize(
    ("n", "alpha"),
    [(1000, 1e-7 / 2), (499, 0.001 / 500 / 2), (500, 0.001 / 501 / 2), (1000, 0.001 / 1001 / 2),
     (100_000, 1e-11 / 2), (100_000, 0.001), (10, 1e-15)],
)  # fmt: skip
def test_bounds_without_a_success_or_a_failure_have_their_closed_form(n, alpha):
    """The first four are those that issues 9141 and 9549 of statsmodels are about."""
    root = (Decimal(alpha).ln() / n).exp()
    assert clopper_pearson_upper(0, n, alpha) == pytest.approx(float(1 - root), rel=1e-9)
    assert clopper_pearson_lower(n, n, alpha) == pytest.approx(float(root), rel=1e-12)
    assert (clopper_pearson_lower(0, n, alpha), clopper_pearson_upper(n, n, alpha)) == (0, 1)


@given(st.integers(1, 300), st.floats(0.01, 0.99), alphas)
def test_the_lower_bound_is_wrong_no_more_often_than_alpha(n, p, alpha):
    successes = np.arange(n + 1)
    wrong = clopper_pearson_lower(successes, n, alpha) > p
    assert binom.pmf(successes, n, p)[wrong].sum() <= alpha * (1 + 1e-9)


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (13, 20), (20, 20), (9_312, 10_000)])
def test_interval_agrees_with_binomtest(successes, n):
    oracle = binomtest(successes, n).proportion_ci(confidence_level=0.95, method="exact")
    assert binomial_interval(successes, n) == pytest.approx((oracle.low, oracle.high))


def test_bounds_without_samples_say_nothing():
    assert clopper_pearson_lower(0, 0, 0.001) == 0
    assert clopper_pearson_upper(0, 0, 0.001) == 1


@given(successes_of_n(), alphas)
def test_bounds_enclose_the_observed_share(counts, alpha):
    successes, n = counts
    low, high = clopper_pearson_lower(*counts, alpha), clopper_pearson_upper(*counts, alpha)
    assert 0 <= low <= successes / n <= high <= 1


@given(st.integers(1, 100_000), st.data(), alphas, alphas)
def test_lower_bound_rises_with_successes_and_alpha(n, data, alpha, other_alpha):
    fewer, more = sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2)))
    strict, loose = sorted((alpha, other_alpha))
    assert clopper_pearson_lower(fewer, n, alpha) <= clopper_pearson_lower(more, n, alpha)
    assert clopper_pearson_lower(fewer, n, strict) <= clopper_pearson_lower(fewer, n, loose)


@given(st.floats(0, 0.5), sigmas)
def test_no_radius_without_a_majority(p_lower, sigma):
    assert certified_radius(p_lower, sigma) == 0


@given(st.floats(0.5, 0.999999, exclude_min=True), st.floats(0.5, 0.999999), sigmas)
def test_radius_rises_with_probability_and_scales_with_sigma(p_lower, other, sigma):
    radius = certified_radius(p_lower, sigma)
    assert radius == pytest.approx(sigma * norm.ppf(p_lower))
    assert (radius <= certified_radius(other, sigma)) or other < p_lower
    assert certified_radius(p_lower, 2 * sigma) == pytest.approx(2 * radius)


def test_largest_radius_is_the_published_limit():
    limits = largest_radius(np.array([10_000, 100_000]), 0.001, 1.0)
    assert limits == pytest.approx([3.1986, 3.8115], abs=5e-5)


@given(successes_of_n(), alphas, sigmas)
def test_nothing_is_certified_beyond_the_largest_radius(counts, alpha, sigma):
    radius = certified_radius(clopper_pearson_lower(*counts, alpha), sigma)
    assert radius <= largest_radius(counts[1], alpha, sigma)


def test_successes_needed_at_the_papers_sample_counts():
    radii = np.array([0.25, 0.5, 0.75, 1, 1.5, 2, 3])
    assert successes_needed(radii, 1.0, 100_000, 0.001).tolist() == [
        60_350, 69_598, 77_747, 84_492, 93_563, 97_870, 99_900,
    ]  # fmt: skip
    assert successes_needed(radii, 1.0, 10_000, 0.001).tolist() == [
        6_139, 7_058, 7_863, 8_526, 9_409, 9_818, 9_997,
    ]  # fmt: skip


@given(st.floats(0, 4), sigmas, st.integers(0, 20_000), alphas)
def test_successes_needed_is_where_certification_starts(radius, sigma, n, alpha):
    needed = int(successes_needed(radius, sigma, n, alpha))

    def certifies(successes):
        p_lower = clopper_pearson_lower(successes, n, alpha)
        return p_lower > 0.5 and certified_radius(p_lower, sigma) >= radius

    assert needed == n + 1 or certifies(needed)
    assert not certifies(needed - 1)


@given(successes_of_n(), sigmas, alphas)
def test_a_radius_counts_as_certified_where_it_is_reached_exactly(counts, sigma, alpha):
    successes, n = counts
    radius = certified_radius(clopper_pearson_lower(successes, n, alpha), sigma)
    if radius > 0:
        assert successes_needed(radius, sigma, n, alpha) <= successes


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: clopper_pearson_lower(11, 10, 0.001), "successes must lie between 0 and n"),
        (lambda: clopper_pearson_lower(-1, 10, 0.001), "successes must lie between 0 and n"),
        (lambda: clopper_pearson_lower(0.5, 10, 0.001), "successes must be whole"),
        (lambda: clopper_pearson_lower(5, 10, 1.0), "alpha must lie between 0 and 1"),
        (lambda: clopper_pearson_lower(5, 10, float("nan")), "alpha must lie between 0 and 1"),
        (lambda: binomial_interval(5, 10, level=95), "level must lie between 0 and 1"),
        (lambda: certified_radius(1.1, 0.25), r"p_lower must lie in \[0, 1\]"),
        (lambda: certified_radius(0.9, 0.0), "sigma must be above 0"),
        (lambda: successes_needed(-0.1, 0.25, 10, 0.001), "radius must be at least 0"),
    ],
)
def test_arguments_out_of_range_are_refused(call, reason):
    with pytest.raises(ValueError, match=reason):
        call()


@pytest.mark.parametrize("p_lower", [-0.1, 1.1, float("nan")])
def test_a_probability_outside_the_unit_interval_has_no_radius(p_lower):
    with pytest.raises(ValueError, match=r"p_lower must lie in \[0, 1\]"):
        certified_radius(p_lower, 0.25)


@pytest.mark.parametrize("endless", [float("inf"), float("nan")])
def test_endless_counts_are_refused(endless):
    with pytest.raises(ValueError, match="n must be whole"):
        clopper_pearson_lower(5, endless, 0.001)


def test_a_bound_of_exactly_one_half_is_no_majority():
    assert clopper_pearson_lower(1, 1, 0.5) == 0.5
    assert successes_needed(0.0, 0.25, 1, 0.5) == 2


def test_certain_and_impossible_classes_have_radii():
    assert certified_radius([0.0, 1.0], 0.25).tolist() == [0.0, np.inf]
