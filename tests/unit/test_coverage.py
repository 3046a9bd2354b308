"""Certificates of base classifiers with known probabilities hold as often as they claim."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import binom, norm

from dds.certificates import certified_radius, certify_counts
from dds.plans import Fixed, Sequential

SIGMA, ALPHA, N0, N = 0.5, 0.05, 20, 2_000
RADII = (0.0, 0.25, 0.5, 0.75, 1.0)
REPETITIONS = 4_000

#: Probabilities of the top class: each pass mark of the grid, just below and above
#: it, where a false certificate is likeliest; and a few far from any.
PASS_MARKS = norm.cdf(np.array(RADII) / SIGMA)
PROBABILITIES = np.unique([*PASS_MARKS, *PASS_MARKS - 0.004, *PASS_MARKS + 0.004, 0.3, 0.65, 0.9])


@dataclass(frozen=True)
class Peeking:
    """Cohen's certificate, looked at after every block until it reaches a radius: unsound."""

    n0: int
    n: int
    radius: float

    def goal(self, label, selection, estimation):
        drawn = int(estimation.sum())
        row = certify_counts(selection[None], estimation[None], SIGMA, [label], self, ALPHA)
        satisfied = drawn > 0 and row["radius"][0] >= self.radius
        return drawn if satisfied or drawn == self.n else drawn + 100

    def computed(self, drawn):
        return drawn > 0

    def alpha_at(self, drawn, alpha):
        return np.full(drawn.shape, alpha)


PLANS = {
    "fixed": Fixed(N0, N),
    "curtailed": Fixed(N0, N, curtail=True, sigma=SIGMA, alpha=ALPHA),
    "curtailed at 0.5": Fixed(N0, N, curtail=True, lowest_radius=0.5, sigma=SIGMA, alpha=ALPHA),
    "sequential": Sequential(N0, N, radii=RADII, sigma=SIGMA, alpha=ALPHA),
    "sequential, many looks": Sequential(
        N0, N, radii=RADII, sigma=SIGMA, alpha=ALPHA, looks=range(100, N + 1, 100), last_share=0.05
    ),
}


def follow(plan, probabilities, repetitions, seed):
    """Draw by `plan` from three classes of which the second is true.

    Every image of one probability and goal moves together, so the plan is asked
    once for each distinct state.

    Returns the certificates and the true probability of the class that each selected.
    """
    generator = np.random.default_rng(seed)
    top = np.repeat(probabilities, repetitions)
    chances = np.stack([(1 - top) * 0.7, top, (1 - top) * 0.3], axis=1)
    selection = generator.multinomial(plan.n0, chances)
    estimation = np.zeros_like(selection)
    waiting = np.arange(len(top))
    while waiting.size:
        drawn = estimation[waiting].sum(axis=1)
        more = ask(plan, selection[waiting], estimation[waiting]) - drawn
        waiting, more = waiting[more > 0], more[more > 0]
        estimation[waiting] += generator.multinomial(more, chances[waiting])
    rows = certify_counts(selection, estimation, SIGMA, np.ones(len(top), int), plan, ALPHA)
    return rows, chances[np.arange(len(top)), rows["selected"]]


def ask(plan, selection, estimation):
    """Return the plan's goal for each row, asking once for each distinct state."""
    selected = selection.argmax(axis=1)
    successes = np.take_along_axis(estimation, selected[:, None], axis=1)[:, 0]
    states = np.stack([selected, successes, estimation.sum(axis=1)], axis=1)
    _, first, inverse = np.unique(states, axis=0, return_index=True, return_inverse=True)
    goals = [plan.goal(1, selection[row], estimation[row]) for row in first]
    return np.array(goals)[inverse]


def excess_failures(plan, probabilities=PROBABILITIES, repetitions=REPETITIONS, seed=1):
    """Return the probabilities at which certificates fail more often than alpha allows.

    A certificate fails when its radius exceeds the radius of the selected class's
    true probability. A sound plan fails at rate alpha at most; the limit is what
    such a plan stays within, at all probabilities together, but once in a million.
    """
    rows, truth = follow(plan, probabilities, repetitions, seed)
    claimed = np.nan_to_num(rows["radius"])
    false = (rows["prediction"] >= 0) & (claimed > 0) & (claimed > certified_radius(truth, SIGMA))
    failures = false.reshape(len(probabilities), repetitions).sum(axis=1)
    limit = binom.isf(1e-6 / len(probabilities), repetitions, ALPHA)
    return probabilities[failures > limit]


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_certificates_hold_at_level_alpha(plan):
    assert excess_failures(plan).size == 0


def test_twice_the_failure_rate_would_be_noticed():
    limit = binom.isf(1e-6 / len(PROBABILITIES), REPETITIONS, ALPHA)
    assert binom.sf(limit, REPETITIONS, 2 * ALPHA) > 0.999999


def test_fixed_certificates_fail_nearly_as_often_as_alpha_allows():
    """Near its limit the check has teeth: a bound at twice alpha does not pass it."""

    class TwiceAlpha(Fixed):
        def alpha_at(self, drawn, alpha):
            return super().alpha_at(drawn, 2 * alpha)

    assert excess_failures(TwiceAlpha(N0, N)).size > 0


@pytest.mark.parametrize("radius", [0.0001, 0.5])
def test_peeking_at_a_fixed_alpha_is_caught(radius):
    assert excess_failures(Peeking(N0, N, radius), repetitions=1_000).size > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_certificates_hold_at_level_alpha_over_many_seeds(plan, seed):
    everywhere = np.linspace(0.45, 0.995, 40)
    assert excess_failures(plan, everywhere, 10_000, seed=100 + seed).size == 0
