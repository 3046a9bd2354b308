"""What samples can reach, by the standard library, is what the bounds say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dds.seeds import MOST_SAMPLES
from dds.statistics import bounds, reach

alphas = st.floats(1e-6, 0.5)
sigmas = st.sampled_from([0.05, 0.125, 0.25, 0.5, 1.0, 2.0])


@given(st.integers(1, 100_000), alphas, sigmas)
def test_the_largest_radius_is_that_of_the_bounds(n, alpha, sigma):
    found, wanted = reach.largest_radius(n, alpha, sigma), bounds.largest_radius(n, alpha, sigma)
    if found is None:
        assert wanted == 0
    else:
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@given(st.floats(0, 4), alphas, sigmas)
def test_so_many_samples_are_needed_and_no_fewer(radius, alpha, sigma):
    needed = reach.samples_needed(radius, alpha, sigma)
    if needed is None:
        fewest = bounds.successes_needed(radius, sigma, MOST_SAMPLES, alpha)
        assert fewest > MOST_SAMPLES
        return
    assert reach.largest_radius(needed, alpha, sigma) >= radius
    fewer = reach.largest_radius(needed - 1, alpha, sigma) if needed > 1 else None
    assert fewer is None or fewer < radius


@pytest.mark.parametrize(
    ("radius", "needed"), [(0.0, 10), (0.25, 40), (0.5, 301), (1.0, 218_105), (2.0, None)]
)
def test_samples_for_the_papers_radii_at_sigma_a_quarter(radius, needed):
    assert reach.samples_needed(radius, 0.001, 0.25) == needed
