"""Certificates from class counts: of a few rows by hand, and their laws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from dds.statistics.certificates import ABSTAIN, certify_counts, compute_certificates
from dds.statistics.plans.curtailed import Curtailed
from dds.statistics.plans.fixed import Fixed
from dds.statistics.plans.union_sequential import UnionSequential


def certify(selection, estimation, label, plan=None, alpha=0.001):
    selection, estimation = np.array(selection), np.array(estimation)
    plan = plan or Fixed(int(selection[0].sum()), int(estimation[0].sum()))
    return certify_counts(selection, estimation, 0.5, np.array(label), plan, alpha)


def test_certificates_of_a_few_rows():
    rows = certify(
        selection=[[1, 8, 1], [4, 2, 4], [0, 0, 10], [9, 1, 0]],
        estimation=[[2, 995, 3], [998, 1, 1], [300, 200, 500], [0, 1000, 0]],
        label=[1, 0, 2, 1],
    )
    assert rows["selected"].tolist() == [1, 0, 2, 0]
    assert rows["successes"].tolist() == [995, 998, 500, 0]
    assert rows["prediction"].tolist() == [1, 0, ABSTAIN, ABSTAIN]
    assert rows["correct"].tolist() == [True, True, False, False]
    assert rows["radius"][2:].tolist() == [0.0, 0.0]
    oracle = binomtest(995, 1000, alternative="greater").proportion_ci(0.999).low
    assert rows["p_lower"][0] == pytest.approx(oracle)
    assert rows["radius"][0] == pytest.approx(0.5 * norm.ppf(oracle))
    assert rows["n0"].tolist() == [10] * 4
    assert rows["n"].tolist() == [1000] * 4
    assert rows["computed"].all()


def test_an_abstention_is_never_correct_even_where_the_label_is_unknown():
    assert not certify([[5, 5]], [[50, 50]], [ABSTAIN])["correct"].any()


@given(st.data())
def test_permuting_classes_permutes_predictions_alone(data):
    classes = data.draw(st.integers(2, 6))
    votes = data.draw(st.lists(st.integers(0, 300), min_size=classes, max_size=classes))
    selection = np.array(data.draw(st.permutations(range(classes)))) + 1  # without ties
    estimation = np.array(votes) + 1
    order = np.array(data.draw(st.permutations(range(classes))))
    label = data.draw(st.integers(0, classes - 1))

    before = certify([selection], [estimation], [label])
    after = certify([selection[order]], [estimation[order]], [np.flatnonzero(order == label)[0]])
    assert order[after["selected"][0]] == before["selected"][0]
    for column in ("successes", "p_lower", "radius", "correct"):
        assert after[column] == before[column]


def test_rows_that_the_plan_stopped_are_not_computed():
    plan = Curtailed(10, 1000, sigma=0.5, alpha=0.001)
    rows = certify([[0, 10]] * 2, [[0, 1000], [600, 0]], [1, 1], plan=plan)
    assert rows["computed"].tolist() == [True, False]
    assert np.isnan([rows["radius"][1], rows["p_lower"][1]]).all()
    assert rows["prediction"].tolist() == [1, ABSTAIN]
    assert rows["correct"].tolist() == [True, False]


def test_a_union_sequential_row_pays_the_alpha_of_its_look():
    plan = UnionSequential(10, 1000, radii=[0.5], sigma=0.5, alpha=0.01, looks=[500, 1000])
    rows = certify([[10, 0]] * 2, [[500, 0], [1000, 0]], [0, 0], plan=plan, alpha=0.01)
    assert rows["p_lower"] == pytest.approx([0.001 ** (1 / 500), 0.009 ** (1 / 1000)])


def test_misshapen_counts_are_refused():
    counts = np.ones((2, 3), dtype=int)
    with pytest.raises(ValueError, match=r"shape \(rows, classes\)"):
        certify_counts(counts, counts[:, :2], 0.25, np.zeros(2), Fixed(3, 3), 0.001)
    with pytest.raises(ValueError, match=r"label must have shape \(2,\)"):
        certify_counts(counts, counts, 0.25, np.zeros(3), Fixed(3, 3), 0.001)


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=1, max_size=8), st.data())
def test_a_row_is_certified_as_if_it_were_alone(votes, data):
    votes = np.array(votes)
    selection, estimation = votes + [0, 0, 1], votes * 50 + [0, 0, 1]
    selection[:, 0] += 28 - selection.sum(axis=1)
    estimation[:, 0] += 1_351 - estimation.sum(axis=1)
    labels = data.draw(st.lists(st.integers(0, 2), min_size=len(votes), max_size=len(votes)))
    together = certify(selection, estimation, labels)
    for row, label in enumerate(labels):
        alone = certify(selection[[row]], estimation[[row]], [label])
        for column, values in alone.items():
            assert together[column][row] == values[0]


# A table of counts. ----------------------------------------------------------------------

FIXED = {"plan": "fixed", "n0": 10, "n": 100}
CURTAILED = {"plan": "curtailed", "n0": 10, "n": 1000, "alpha": 0.01, "radii": [0.25]}
SEQUENTIAL = {"plan": "sequential", "n0": 10, "n": 1000, "alpha": 0.01, "radii": [0.25, 0.125],
              "looks": [500, 1000]}  # fmt: skip
COLUMNS = ["image", "label", "sigma", "classifier", "n0", "n", "prediction", "successes",
           "p_lower", "radius", "correct", "selected", "label_successes", "top", "top_successes",
           "runner_up_successes", "computed", "alpha", "lowest_radius",
           "decided_radii", "largest_radius"]  # fmt: skip


def frame(images, sigma=0.5, successes=90):
    return pd.DataFrame(
        {
            "image": images,
            "label": 1,
            "sigma": sigma,
            "classifier": "c",
            "selection": [[1, 9, 0]] * len(images),
            "estimation": [[100 - successes, successes, 0]] * len(images),
        }
    )


def test_certificates_agree_with_scipy():
    certificates = compute_certificates(frame([0, 1]), FIXED, 0.01)
    low = binomtest(90, 100, alternative="greater").proportion_ci(confidence_level=0.99).low
    np.testing.assert_allclose(certificates["p_lower"], low)
    np.testing.assert_allclose(certificates["radius"], 0.5 * norm.ppf(low))
    assert certificates["correct"].all()
    assert (certificates["prediction"] == 1).all()


def test_the_class_comes_from_the_selection_samples_alone():
    rows = frame([0]).assign(selection=[[9, 1, 0]])
    (certificate,) = compute_certificates(rows, FIXED, 0.01).to_dict("records")
    assert (certificate["n0"], certificate["n"]) == (10, 100)
    assert (certificate["selected"], certificate["successes"]) == (0, 10)
    assert certificate["prediction"] == ABSTAIN


@pytest.mark.parametrize(
    ("plan", "lowest", "only"),
    [(FIXED, 0.0, ""), (CURTAILED, 0.25, ""), (SEQUENTIAL, 0.125, "0.125 0.25")],
)
def test_certificates_say_at_which_radii_they_are_decided(plan, lowest, only):
    rows = frame([0]).assign(estimation=[[plan["n"] // 10, plan["n"] - plan["n"] // 10, 0]])
    certificates = compute_certificates(rows, plan, 0.01)
    assert certificates["lowest_radius"].tolist() == [lowest]
    assert certificates["decided_radii"].tolist() == [only]


def test_certificates_say_how_far_all_samples_of_the_plan_reach():
    rows = frame([0]).assign(estimation=[[9, 0, 0]])  # given up early
    plan = CURTAILED | {"n0": 10}
    certificates = compute_certificates(rows, plan, 0.01)
    assert certificates["computed"].tolist() == [False]
    np.testing.assert_allclose(certificates["largest_radius"], 0.5 * norm.ppf(0.01 ** (1 / 1000)))
    few = compute_certificates(frame([0]).assign(estimation=[[0, 6, 0]]), FIXED | {"n": 6}, 0.01)
    assert few["largest_radius"].tolist() == [0]


def test_every_noise_level_has_certificates_of_its_own_in_one_table():
    rows = pd.concat([frame([3, 5], sigma=0.5), frame([3, 5], sigma=0.25, successes=80)])
    certificates = compute_certificates(rows, FIXED, 0.01)
    assert certificates.columns.tolist() == COLUMNS
    assert certificates.index.tolist() == [0, 1, 2, 3]
    assert certificates["image"].tolist() == [3, 5, 3, 5]
    assert certificates["sigma"].tolist() == [0.25, 0.25, 0.5, 0.5]
    alone = [compute_certificates(part, FIXED, 0.01) for _, part in rows.groupby("sigma")]
    pd.testing.assert_frame_equal(
        certificates, pd.concat(alone, ignore_index=True), check_exact=True
    )


def test_a_bound_of_exactly_one_half_abstains():
    rows = certify([[0, 1]], [[0, 1]], [1], alpha=0.5)
    assert rows["p_lower"].tolist() == [0.5]
    assert rows["prediction"].tolist() == [ABSTAIN]
    assert not rows["correct"].any()


def test_the_label_has_its_successes_counted_and_none_where_it_is_no_class():
    estimation = [[700, 200, 100]] * 5
    rows = certify([[1, 8, 1]] * 5, estimation, [0, 1, 2, -1, 3])
    assert rows["label_successes"].tolist() == [700, 200, 100, 0, 0]


def test_the_leading_classes_are_those_of_the_estimation_samples():
    rows = certify([[1, 8, 1]] * 3, [[700, 200, 100], [0, 500, 500], [0, 0, 1000]], [0, 1, 2])
    assert rows["top"].tolist() == [0, 1, 2]
    assert rows["top_successes"].tolist() == [700, 500, 1000]
    assert rows["runner_up_successes"].tolist() == [200, 500, 0]
