"""PREDICT: the leader of a sample is named where a binomial test says so."""

import numpy as np
import pytest
from scipy.stats import binomtest

from dds.seeds import MOST_SAMPLES
from dds.statistics.certificates import ABSTAIN
from dds.statistics.plans._predict import Predict
from dds.statistics.predictions import predict_counts
from dds.statistics.reach import check_enough


def test_p_values_are_those_of_an_independent_binomial_test():
    random = np.random.default_rng(0)
    counts = [[0, 0], [1, 0], [5, 5], [0, 100, 0], *random.multinomial(60, [0.5, 0.3, 0.2], 40)]
    for row in counts:
        (prediction,), (p_value,) = predict_counts([row], alpha=0.05)
        second, first = sorted(row)[-2:]
        wanted = binomtest(first, first + second).pvalue if first else 1.0
        assert p_value == pytest.approx(wanted, rel=1e-10)
        assert prediction == (int(np.argmax(row)) if wanted <= 0.05 else ABSTAIN)


@pytest.mark.parametrize("p", [[0.5, 0.5], [0.34, 0.33, 0.33], [0.1] * 10, [0.45, 0.44, 0.11]])
@pytest.mark.parametrize("alpha", [0.2, 0.01])
def test_the_wrong_class_is_named_with_probability_alpha_at_most(p, alpha):
    random = np.random.default_rng(1)
    prediction, _ = predict_counts(random.multinomial(200, p, 20_000), alpha)
    # Where two classes are equal the smoothed classifier's answer may be taken to be either.
    wrong = (prediction != ABSTAIN) & (prediction != 0)
    assert binomtest(int(wrong.sum()), len(wrong), alpha, "greater").pvalue > 1e-4


@pytest.mark.parametrize("alpha", [0.5, 0.25, 0.1, 0.001, 2.0**-20])
def test_so_many_samples_as_are_let_pass_can_name_a_class_and_fewer_cannot(alpha):
    enough = next(n for n in range(1, 99) if predict_counts([[n, 0]], alpha)[0] != ABSTAIN)
    check_enough(enough, alpha)
    with pytest.raises(ValueError, match=f"take n = {enough} or more"):
        check_enough(enough - 1, alpha)


def test_a_clear_leader_is_named():
    prediction, p_value = predict_counts([[900, 60, 40], [500, 495, 5]], alpha=0.001)
    assert prediction.tolist() == [0, ABSTAIN]
    assert p_value[0] < 1e-100


@pytest.mark.parametrize(
    ("counts", "alpha", "problem"),
    [
        ([1, 2], 0.1, r"must have shape \(rows, 2 classes or more\), not \(2,\)"),
        ([[1], [2]], 0.1, r"not \(2, 1\)"),
        ([[1, 2]], 1.0, "alpha must lie between 0 and 1"),
    ],
)
def test_bad_input_is_refused(counts, alpha, problem):
    with pytest.raises(ValueError, match=problem):
        predict_counts(counts, alpha)


def test_its_plan_draws_one_kind_of_samples_and_is_told_as_in_files_that_are_there():
    selects, judges = Predict(n0=100), Predict(n=100)
    nothing = np.zeros(3, int)
    assert [plan.goal(1, nothing, nothing) for plan in (selects, judges)] == [0, 100]
    assert not selects.computed(np.array([0, 100])).any()
    assert selects.to_dict() == {"plan": "only_selection", "n0": 100}  # as `save_to` keeps it
    with pytest.raises(ValueError, match=f"n must be whole, .*, not {MOST_SAMPLES + 1}"):
        Predict(n0=MOST_SAMPLES + 1)
