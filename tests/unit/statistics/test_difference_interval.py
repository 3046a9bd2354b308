"""The interval of a difference holds what the images of both sides left to chance."""

import numpy as np
import pandas as pd
import pytest

from dds.statistics.accuracy import difference_interval, shared_correlation

RUNS = 10_000


def marked(k, n, other, m, correlation=0.0):
    """Return how often the interval leaves out 0."""
    low, high = difference_interval(k / n, n, other / m, m, correlation=correlation)
    return np.mean((low > 0) | (high < 0))


@pytest.mark.parametrize("accuracy", [0.3, 0.767, 0.95])
@pytest.mark.parametrize("m", [500, 1_000, 10_000])
def test_equals_on_independent_images_differ_once_in_twenty(accuracy, m):
    rng = np.random.default_rng(m)
    k, other = rng.binomial(10_000, accuracy, RUNS), rng.binomial(m, accuracy, RUNS)
    assert 0.04 < marked(k, 10_000, other, m) < 0.06


@pytest.mark.parametrize("accuracy", [0.3, 0.767, 0.95])
@pytest.mark.parametrize("m", [500, 1_000])
def test_equals_on_some_of_our_images_differ_no_more_often(accuracy, m):
    """And exactly so often where it is known image by image what the others got right."""
    rng = np.random.default_rng(m)
    k = rng.binomial(10_000, accuracy, RUNS)
    other = rng.hypergeometric(k, 10_000 - k, m)
    assert 0.02 < marked(k, 10_000, other, m) < 0.05
    assert 0.04 < marked(k, 10_000, other, m, np.sqrt(m / 10_000)) < 0.06


@pytest.mark.parametrize("common", [0.0, 0.5, 0.9])
def test_equals_on_all_of_our_images_differ_as_they_are_correlated(common):
    """A share of the images is right or wrong for both; the others are drawn twice."""
    rng, n = np.random.default_rng(1), 1_000
    both = rng.binomial(n, common, RUNS)
    shared = rng.binomial(both, 0.7)
    k, other = (shared + rng.binomial(n - both, 0.7) for _ in range(2))
    assert 0.04 < marked(k, n, other, n, correlation=common) < 0.06
    assert marked(k, n, other, n) < 0.06


def test_what_is_the_same_on_the_same_images_does_not_differ():
    low, high = difference_interval(0.767, 10_000, 0.767, 10_000, correlation=1.0)
    assert -0.001 < low <= 0 <= high < 0.001
    assert np.isnan(difference_interval(0.7, 100, np.nan, 100)).all()
    assert np.isnan(difference_interval(0.7, 100, 0.7, np.nan)).all()


@pytest.mark.parametrize(("k", "m"), [(0, 500), (10_000, 500), (0, 10_000)])
def test_none_and_all_have_a_width(k, m):
    low, high = difference_interval(k / 10_000, 10_000, k / 10_000, m)
    assert low < 0 < high


def test_the_correlation_of_accuracies_is_that_of_simulated_ones():
    rng = np.random.default_rng(2)
    draws = rng.random((20_000, 60)) < 0.6
    theirs = np.where(rng.random(draws.shape) < 0.5, draws, rng.random(draws.shape) < 0.6)
    ours = draws[:, :50].mean(axis=1)  # of images 0 to 49
    other = theirs[:, 20:60].mean(axis=1)  # of images 20 to 59
    expected = np.corrcoef(ours, other)[0, 1]
    image = np.arange(draws.size).reshape(draws.shape)  # as if all were of one dataset
    one, two = (
        pd.Series(values[:2_000, part].ravel(), image[:2_000, part].ravel())
        for values, part in [(draws, slice(0, 50)), (theirs, slice(20, 60))]
    )
    assert shared_correlation(one, two) == pytest.approx(expected, abs=0.03)


def test_nothing_is_known_of_other_images():
    ours = pd.Series([True, False, True, False])
    assert shared_correlation(ours, ours.set_axis([4, 5, 6, 7])) == 0.0
    assert shared_correlation(ours, pd.Series([True] * 4)) == 0.0
    assert shared_correlation(ours, ours) == pytest.approx(1.0)
    assert shared_correlation(ours, ~ours) == pytest.approx(-1.0)
