"""Certified accuracy and what is derived from it, against counting by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from scipy.stats import binom, binomtest, multinomial, norm, ttest_1samp

from dds.statistics.accuracy import (
    as_decided,
    best_over_sigma,
    certified_accuracy,
    leaves_undecided,
    mean_interval,
    most_frequent_share,
    only_radii,
    paired_interval,
)


def certificates(radii, correct, sigma=0.5, classifier="c", **columns):
    always = {"sigma": sigma, "classifier": classifier, "label": 0}
    return pd.DataFrame(always | {"radius": radii, "correct": correct} | columns)


@given(
    st.lists(st.tuples(st.floats(0, 2), st.booleans()), min_size=1, max_size=60),
    st.lists(st.floats(0, 2), min_size=1, max_size=5),
)
def test_an_image_counts_where_it_is_right_and_reaches_the_radius(images, radii):
    frame = certificates([r for r, _ in images], [c for _, c in images])
    rows = certified_accuracy(frame, radii)
    for row in rows.itertuples():
        certified = sum(correct and radius >= row.radius for radius, correct in images)
        interval = binomtest(certified, len(images)).proportion_ci(0.95)
        assert row.certified == certified
        assert row.accuracy == pytest.approx(certified / len(images))
        assert (row.low, row.high) == pytest.approx((interval.low, interval.high))


@given(st.lists(st.tuples(st.floats(0, 2), st.booleans()), min_size=1, max_size=60))
def test_accuracy_never_rises_with_the_radius_and_lies_within_its_interval(images):
    frame = certificates([r for r, _ in images], [c for _, c in images])
    rows = certified_accuracy(frame, np.linspace(0, 2, 9))
    assert rows["accuracy"].is_monotonic_decreasing
    assert rows["accuracy"].between(rows["low"], rows["high"]).all()


def test_a_radius_just_below_the_mark_does_not_reach_it():
    rows = certified_accuracy(certificates([0.4996, 0.5], [True, True]), [0.5])
    assert rows["certified"].tolist() == [1]


def test_stopped_images_count_as_not_certified_and_small_radii_as_undecided():
    frame = certificates([np.nan, 0.3], [False, True], lowest_radius=0.25)
    rows = certified_accuracy(frame, [0.0, 0.25, 0.3])
    assert np.isnan(rows["accuracy"][0])
    assert rows["accuracy"][1:].tolist() == [0.5, 0.5]


def test_a_radius_that_is_asked_for_twice_is_taken_once_in_its_place():
    rows = certified_accuracy(certificates([0.3], [True]), [0.5, 0.25, 0.5, 0.25])
    assert rows["radius"].tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            type("Certificates", (), {"to_frame": None})(),
            r"must be a DataFrame, not Certificates; take their to_frame\(\)$",
        ),
        ([0.3], "must be a DataFrame, not list$"),
        (
            certificates([0.3], [True]).drop(columns="correct"),
            "lack the columns correct; they have",
        ),
        (certificates([0.3], [True]).drop(columns="sigma"), "lack the columns sigma"),
        (certificates([0.3, 0.2], pd.array([True, pd.NA], "boolean")), "correct is missing"),
    ],
)
def test_what_has_no_accuracy_is_refused_in_one_line(given, reason):
    with pytest.raises(ValueError, match=reason):
        certified_accuracy(given, [0.0])


def test_negative_radii_are_refused():
    with pytest.raises(ValueError, match="radii must be numbers of at least 0"):
        certified_accuracy(certificates([1.0], [True]), [-1])


def test_the_best_sigma_is_chosen_for_each_radius_and_brings_its_clean_accuracy():
    small = certificates([0.1, 0.1, 0.1, 0.0], [True, True, True, False], sigma=0.25)
    large = certificates([0.4, 0.4, 0.0, 0.0], [True, True, False, False], sigma=0.5)
    frame = pd.concat([small, large])
    best = best_over_sigma(
        certified_accuracy(frame, [0.1, 0.3, 0.9]), certified_accuracy(frame, [0.0])
    )
    assert best["sigma"].tolist() == [0.25, 0.5, 0.25]  # equals: more clean accuracy
    assert best["accuracy"].tolist() == [0.75, 0.5, 0]
    assert best["clean_accuracy"].tolist() == [0.75, 0.5, 0.75]


@given(
    st.lists(
        st.tuples(st.sampled_from([0.25, 0.5, 1.0]), st.floats(0, 2), st.booleans()), min_size=1
    )
)
def test_no_sigma_is_better_than_the_best(images):
    frame = pd.concat([certificates([r], [c], sigma=s) for s, r, c in images])
    accuracies = certified_accuracy(frame, [0.0, 0.5, 1.0])
    best = best_over_sigma(accuracies, certified_accuracy(frame, [0.0]))
    assert best["radius"].tolist() == [0.0, 0.5, 1.0]
    highest = accuracies.groupby("radius")["accuracy"].max()
    assert best["accuracy"].tolist() == highest.tolist()


@pytest.mark.parametrize(
    ("decided", "radii"), [([""], None), (["0.25 0.5"], [0.25, 0.5]), (["0.5", ""], [0.5])]
)
def test_the_only_radii_are_those_that_a_plan_decides(decided, radii):
    rows = pd.DataFrame({"lowest_radius": 0.0, "decided_radii": decided})
    found = only_radii(rows)
    assert (found if found is None else found.tolist()) == radii


def test_a_constant_classifier_is_unmasked():
    frame = pd.concat(
        [
            certificates(1.0, True, classifier="constant", selected=[3] * 10),
            certificates(1.0, True, classifier="varied", selected=list(range(10))),
        ]
    )
    shares = most_frequent_share(frame).set_index("classifier")
    assert shares.loc["constant", "most_frequent_share"] == 1.0
    assert shares["nearly_constant"].to_dict() == {"constant": True, "varied": False}


def test_abstentions_are_no_class():
    frame = certificates(0.0, False, prediction=[-1, -1, -1, 0, 1])
    assert most_frequent_share(frame)["most_frequent_share"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("computed", "share"),
    [([True] * 5, 0.5), ([False, *[True] * 4], 2 / 3), ([False] * 5, 0.8)],
)
def test_abstentions_are_left_out_and_images_that_were_stopped_early_are_not(computed, share):
    selected, prediction = [3, 3, 3, 3, 1], [-1, -1, -1, 3, 1]
    frame = certificates(
        0.0, False, selected=selected, prediction=prediction, computed=np.array(computed)
    )
    assert most_frequent_share(frame)["most_frequent_share"].tolist() == [pytest.approx(share)]


def test_a_classifier_that_only_abstains_has_no_favourite_class():
    (row,) = most_frequent_share(
        certificates(0.0, False, selected=[3, 3], prediction=[-1, -1])
    ).to_dict("records")
    assert np.isnan(row["most_frequent_share"])
    assert row["nearly_constant"] is False


@given(st.lists(st.integers(-100, 100), min_size=2, max_size=40, unique=True))
def test_mean_interval_is_students(values):
    values = np.array(values)
    interval = ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((values.mean(), interval.low, interval.high))


@pytest.mark.filterwarnings("error")
def test_one_value_leaves_its_mean_open():
    assert mean_interval([40.0]) == (40.0, -np.inf, np.inf)


def test_the_favourite_class_is_the_most_frequent_one_wherever_it_appears():
    frame = certificates(1.0, True, selected=[0, 3, 3, 1, 3])
    assert most_frequent_share(frame)["most_frequent_share"].tolist() == [0.6]


def test_a_classifier_that_answers_half_and_half_is_not_nearly_constant():
    frame = certificates(1.0, False, label=[1, 1, 0, 0], selected=[0, 0, 1, 1])
    shares = most_frequent_share(frame)
    assert shares["most_frequent_share"].tolist() == [0.5]
    assert shares["nearly_constant"].tolist() == [False]


@pytest.mark.parametrize(
    ("answers", "nearly_constant"),
    [
        ([1, 1, 1, 1, 1, 0, 0, 0], False),  # right on all, and most are of class 1
        ([1, 1, 1, 1, 1, 1, 0, 0], False),
        ([1, 1, 1, 1, 1, 1, 1, 0], True),
        ([1, 1, 1, 1, 1, -1, -1, -1], True),  # answers no image of another class
    ],
)
def test_where_most_images_are_of_one_class_the_others_tell(answers, nearly_constant):
    labels = [1, 1, 1, 1, 1, 0, 0, 0]
    shares = most_frequent_share(certificates(1.0, True, label=labels, prediction=answers))
    assert shares["most_frequent_share"].item() > 0.5
    assert shares["nearly_constant"].item() is nearly_constant


def test_images_of_one_class_alone_say_nothing_of_others():
    shares = most_frequent_share(certificates(1.0, True, label=1, prediction=[1, 1]))
    assert shares["nearly_constant"].tolist() == [False]


def test_a_missing_noise_level_is_a_noise_level():
    """As in published logs, of which some do not say it."""
    frame = pd.concat([certificates([1.0], [True], sigma=s) for s in (0.5, np.nan)])
    rows = certified_accuracy(frame, [0.0])
    assert rows["images"].tolist() == [1, 1]
    assert rows["sigma"].isna().tolist() == [False, True]


def test_an_accuracy_of_no_images_is_refused():
    with pytest.raises(ValueError, match="there are no certificates"):
        certified_accuracy(certificates([], []), [0.0])


@pytest.mark.parametrize("radius", [float("nan"), float("inf")])
def test_a_radius_that_is_no_number_is_refused(radius):
    with pytest.raises(ValueError, match="radii must be numbers of at least 0"):
        certified_accuracy(certificates([1.0], [True]), [0.5, radius])


def test_the_smallest_radius_of_all_images_that_any_is_undecided_below_counts():
    frame = certificates([0.3, 0.4], [True, True], lowest_radius=[0.1, 0.25])
    rows = certified_accuracy(frame, [0.2, 0.25])
    assert rows["accuracy"].isna().tolist() == [True, False]


def test_the_best_of_several_classifiers_are_numbered_by_classifier_and_radius():
    images = [("b", 0.5, 0.6), ("b", 0.25, 0.3), ("a", 0.5, 0.2), ("a", 0.25, 0.3)]
    frame = pd.concat(certificates([r], [True], sigma=s, classifier=c) for c, s, r in images)
    best = best_over_sigma(certified_accuracy(frame, [0.25, 0.5]), certified_accuracy(frame, [0.0]))
    assert best.index.tolist() == [0, 1, 2, 3]
    assert best["classifier"].tolist() == ["a", "a", "b", "b"]
    assert best["radius"].tolist() == [0.25, 0.5, 0.25, 0.5]
    assert best["accuracy"].tolist() == [1.0, 0.0, 1.0, 1.0]
    assert best["sigma"].tolist()[0] == 0.25
    assert best["sigma"].tolist()[3] == 0.5


def test_radii_that_the_plan_did_not_decide_are_not_computed():
    frame = certificates([0.3, 0.6], True, lowest_radius=0.25, decided_radii="0.25 0.5")
    rows = certified_accuracy(frame, [0.0, 0.25, 0.4, 0.5, 0.6])
    assert rows["accuracy"].tolist() == pytest.approx([np.nan, 1, np.nan, 0.5, np.nan], nan_ok=True)
    assert rows["low"].isna().tolist() == rows["accuracy"].isna().tolist()
    both = pd.concat([frame, frame.assign(decided_radii="0.25 0.4")])
    np.testing.assert_equal(as_decided(both, [0.25, 0.4, 0.5]), [0.25, np.nan, np.nan])


def test_a_radius_that_rounding_alone_tells_from_one_of_the_plan_is_that_one():
    written, reckoned = 0.7, np.arange(0, 1, 0.1)[7]
    assert reckoned > written
    for listed, asked in ((written, reckoned), (reckoned, written)):
        frame = certificates(
            [listed, 0.0], True, lowest_radius=listed, decided_radii=repr(float(listed))
        )
        rows = certified_accuracy(frame, [asked])
        assert rows[["radius", "accuracy"]].to_numpy().tolist() == [[asked, 0.5]]
    assert np.isnan(as_decided(frame, [0.700001, 0.699999])).all()  # more than rounding


def test_rows_that_do_not_say_what_their_plan_decided_decide_all_radii():
    said = certificates([0.3], True, lowest_radius=0.25, decided_radii="0.25 0.5")
    log = certificates([0.3, 0.1], True, classifier="log")
    rows = certified_accuracy(pd.concat([said, log]), [0.0, 0.25]).set_index("classifier")
    assert rows.loc["log", "accuracy"].tolist() == [1.0, 0.5]
    assert rows.loc["c", "accuracy"].tolist() == pytest.approx([np.nan, 1.0], nan_ok=True)
    mixed = pd.concat([said, log.assign(classifier="c")])
    np.testing.assert_equal(as_decided(mixed, [0.0, 0.25, 0.4]), [np.nan, 0.25, np.nan])
    assert leaves_undecided(mixed)
    all_decided = certificates([0.3], True, lowest_radius=0.0, decided_radii="")
    assert not leaves_undecided(pd.concat([all_decided, log]))


def test_rows_without_the_selected_class_have_their_prediction():
    frame = certificates(1.0, True, selected=[0, 1, 1], prediction=[0, 1, 1])
    log = certificates(1.0, True, classifier="log", prediction=[2, 2, 2, 1])
    shares = most_frequent_share(pd.concat([frame, log])).set_index("classifier")
    assert shares["most_frequent_share"].to_dict() == {"c": pytest.approx(2 / 3), "log": 0.75}


@pytest.mark.parametrize(
    ("columns", "leaves"),
    [
        ({}, False),
        ({"lowest_radius": 0.0}, False),
        ({"lowest_radius": 0.0, "decided_radii": ""}, False),
        ({"lowest_radius": 0.25, "decided_radii": ""}, True),
        ({"lowest_radius": 0.0, "decided_radii": "0.0 0.25"}, True),
    ],
)
def test_plans_that_leave_radii_undecided_are_told_from_those_that_do_not(columns, leaves):
    assert leaves_undecided(certificates([0.3], True, **columns)) == leaves


@pytest.mark.parametrize(("more", "fewer", "pairs"), [(12, 2, 50), (1, 7, 21), (3, 0, 100)])
def test_the_paired_interval_ends_where_the_score_is_the_normal_quantile(more, fewer, pairs):
    """Tango's score, with the constrained likelihood maximised by a search."""
    for delta, side in zip(paired_interval(more, fewer, pairs)[1:], (1, -1), strict=True):

        def unlikelihood(q, delta=delta):
            shares = np.array([q + delta, q, 1 - 2 * q - delta])
            return -xlogy([more, fewer, pairs - more - fewer], shares).sum()

        bounds = max(0.0, -delta) + 1e-12, (1 - delta) / 2 - 1e-12
        q = minimize_scalar(unlikelihood, bounds=bounds, options={"xatol": 1e-12}).x
        variance = pairs * (2 * q + delta - delta**2)
        score = (more - fewer - pairs * delta) / np.sqrt(variance)
        assert score == pytest.approx(side * norm.ppf(0.975), rel=1e-4)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_the_paired_interval_holds_the_difference_and_mirrors(more, fewer, same):
    pairs = max(more + fewer + same, 1)
    difference, low, high = paired_interval(more, fewer, pairs)
    assert difference == (more - fewer) / pairs
    assert -1 <= low <= difference <= high <= 1
    assert low < high
    assert paired_interval(fewer, more, pairs) == pytest.approx((-difference, -high, -low))


@pytest.mark.parametrize("true", [0.002, 0.005, 0.01, 0.03, 0.1])
def test_the_paired_interval_covers_where_hardly_any_image_differs(true):
    """Of 200 images that one method alone gets right with a small probability, exactly."""
    differing = np.arange(60)
    _, low, high = np.transpose([paired_interval(int(k), 0, 200) for k in differing])
    covered = (low <= true) & (true <= high)
    assert binom.pmf(differing, 200, true)[covered].sum() > 0.94


@pytest.mark.parametrize("shares", [(0.05, 0.03), (0.2, 0.1), (0.02, 0.02)])
def test_the_paired_interval_covers_where_both_methods_have_images_of_their_own(shares):
    pairs, true = 30, shares[0] - shares[1]
    covered = 0.0
    for more in range(pairs + 1):
        for fewer in range(pairs + 1 - more):
            counts = more, fewer, pairs - more - fewer
            weight = multinomial.pmf(counts, pairs, (*shares, 1 - sum(shares)))
            if weight > 1e-5:
                _, low, high = paired_interval(more, fewer, pairs)
                covered += weight * (low <= true <= high)
    assert covered > 0.93


@pytest.mark.parametrize("counts", [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_pairs_that_cannot_be_are_refused(counts):
    with pytest.raises(ValueError, match="cannot differ"):
        paired_interval(*counts)
