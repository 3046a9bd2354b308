"""The mark "differs from the published value" means something: equal pairs seldom bear it."""

import numpy as np
import pandas as pd
import pytest

from paper.tables._published import compare

RUNS = 20_000


def marked(ours, n, theirs, m, digits):
    """Return how often tables mark accuracies of `n` and `m` images as different."""
    table = pd.DataFrame(
        {
            "accuracy_percent": 100 * ours / n,
            "images": n,
            "published_percent": np.round(100 * theirs / m, digits),
            "published_images": float(m),
            "published_rounding": 0.5 / 10**digits,
        }
    )
    return compare(table)["published_outside_interval"].mean()


@pytest.mark.parametrize("digits", [0, 1])
@pytest.mark.parametrize(("n", "m"), [(500, 500), (2_500, 10_000), (10_000, 500), (10_000, 10_000)])
@pytest.mark.parametrize("accuracy", [0.055, 0.486, 0.767])
def test_equal_accuracies_on_independent_images_are_marked_once_in_twenty(accuracy, n, m, digits):
    rng = np.random.default_rng(n + m)
    ours, theirs = rng.binomial(n, accuracy, RUNS), rng.binomial(m, accuracy, RUNS)
    assert marked(ours, n, theirs, m, digits) < 0.055  # 0.05 and three standard errors


@pytest.mark.parametrize(("n", "m"), [(500, 10_000), (10_000, 500)])
def test_the_best_of_three_noise_levels_is_marked_no_more_often(n, m):
    """Where all three are equally good, which is worst, as chance alone then chooses."""
    rng = np.random.default_rng(n)
    ours, theirs = (rng.binomial(k, 0.55, (3, RUNS)).max(axis=0) for k in (n, m))
    assert marked(ours, n, theirs, m, 1) < 0.06


def test_what_differs_is_marked():
    rng = np.random.default_rng(0)
    ours, theirs = rng.binomial(2_500, 0.767, RUNS), rng.binomial(10_000, 0.70, RUNS)
    assert marked(ours, 2_500, theirs, 10_000, 1) > 0.99
