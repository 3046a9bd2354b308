"""The cascade's certificates: their laws, and how often they fail, computed exactly.

Base classifiers on a line answer class 0 below an edge, and above it class 1, or so many classes
in turn that none of them ever passes. So the cascade of exact probabilities is known everywhere,
and with it the true radius. The probability that a certificate exceeds it is summed over all counts
of all noise levels: nothing is drawn, so an excess of any size over alpha is seen.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from dds.statistics import cascade
from dds.statistics.accuracy import certified_accuracy, most_frequent_share
from dds.statistics.bounds import clopper_pearson_lower, clopper_pearson_upper
from dds.statistics.cascade import certify_cascade, compute_cascade
from dds.statistics.certificates import ABSTAIN, certify_counts, compute_certificates
from dds.statistics.plans import make_plan
from dds.statistics.plans.fixed import Fixed

SIGMAS, ALPHA, N = (1.0, 0.5, 0.25), 0.05, 24
LEVELS = len(SIGMAS)

#: Votes for class 0 at each level: every triple of counts, each as an image.
COUNTS = np.array(list(product(range(N + 1), repeat=LEVELS))).T
#: Which class the selection samples pick at each level, the threshold, and whether many classes
#: share what class 0 does not get.
CASES = {
    "one class": ((0, 0, 0), 0.5, False),
    "one class, others scattered": ((0, 0, 0), 0.5, True),
    "one class, threshold": ((0, 0, 0), 0.7, False),
    "two classes, threshold": ((0, 1, 0), 0.7, False),
}


def scenarios(p0):
    """Yield probabilities of class 0 at each level: those where certificates fail most often.

    There a radius is just smaller than what some count shows, and at each level class 0 or class
    1 passes, or is silent, up to that radius; or one of them does so far beyond it.
    """
    reach, sigmas = norm.ppf(p0), np.array(SIGMAS)
    shown = norm.ppf(clopper_pearson_lower(np.arange(16, N + 1, 4), N, ALPHA / LEVELS))
    radii = (sigmas[:, None] * (shown - reach)).ravel()
    for radius in radii[radii > 0] - 1e-9:
        one = np.array([radius / sigmas + reach, radius / sigmas - reach])
        choices = np.concatenate([norm.cdf([*one, *-one]), np.full((2, LEVELS), [[0.02], [0.98]])])
        for at in product(*(np.unique(column.round(12)) for column in choices.T)):
            yield np.array(at)


def answers(edges, where, p0, scattered=False):
    """Return the exact cascade's answers, of base classifiers with these edges."""
    found = np.full(len(where), ABSTAIN)
    for sigma, edge in sorted(zip(SIGMAS, edges, strict=True)):  # larger levels overrule
        for answer in (0,) if scattered else (0, 1):
            p = norm.cdf((1 - 2 * answer) * (edge - where) / sigma)
            found[p > p0] = answer
    return found


def true_radius(probabilities, answer, p0, scattered=False):
    """Return how far from 0 the exact cascade has one answer, 0 if not even there."""
    edges = norm.ppf(probabilities) * SIGMAS
    reach = norm.ppf(p0) * np.array(SIGMAS)
    changes = np.unique([*(edges - reach), *(edges + reach)])
    places = np.sort([0.0, *(changes - 1e-12), *(changes + 1e-12)])
    wrong = np.abs(places[answers(edges, places, p0, scattered) != answer])
    return max(wrong.min(initial=np.inf) - 2e-12, 0.0)


def claims(selected, p0, scattered, alpha=ALPHA):
    """Return what is certified of every triple of counts."""
    others = (N - COUNTS)[..., None]
    if scattered:
        others = others > np.arange(N)  # a vote each
    estimation = np.concatenate([COUNTS[..., None], others], axis=-1)
    selection = np.zeros(estimation.shape, int)
    selection[np.arange(LEVELS), :, selected] = 1
    return certify_cascade(selection, estimation, SIGMAS, alpha, p0)


def worst_failure(selected, p0, scattered, found):
    """Return the largest probability of a false certificate, over all scenarios."""
    by_answer = {}
    for answer in set(selected):
        claimed = np.where(found["prediction"] == answer, found["radius"], 0)
        order = np.argsort(claimed)
        by_answer[answer] = claimed[order], COUNTS[:, order]
    worst = 0.0
    for probabilities in scenarios(p0):
        likely = binom.pmf(np.arange(N + 1), N, probabilities[:, None])
        failed = 0.0
        for answer, (claimed, counts) in by_answer.items():
            radius = true_radius(probabilities, answer, p0, scattered)
            false = counts[:, np.searchsorted(claimed, radius, side="right") :]
            failed += np.prod([p[k] for p, k in zip(likely, false, strict=True)], axis=0).sum()
        worst = max(worst, failed)
    return worst


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_certificates_fail_no_more_often_than_alpha(case):
    assert 0.3 * ALPHA < worst_failure(*case, claims(*case)) <= ALPHA


def test_bounds_that_do_not_share_alpha_are_caught():
    case = CASES["one class, others scattered"]
    assert worst_failure(*case, claims(*case, LEVELS * ALPHA)) > 1.5 * ALPHA


def test_leaving_out_the_bounds_from_above_is_caught(monkeypatch):
    monkeypatch.setattr(cascade, "clopper_pearson_upper", lambda k, n, alpha: np.zeros(k.shape))
    case = CASES["one class"]
    assert worst_failure(*case, claims(*case)) > 10 * ALPHA


def test_the_exact_cascade_of_half_lines_is_what_it_should_be():
    edges = np.array([1.0, -0.5, 2.0])
    where = np.array([0.9, 1.1, 0.2, -3.0])
    assert answers(edges, where, 0.5).tolist() == [0, 1, 0, 0]
    # Around 1 no class passes at sigma 1; at 0.5 class 1 does.
    assert answers(edges, where, 0.7).tolist() == [1, 1, 0, 0]
    assert true_radius(norm.cdf(edges / SIGMAS), 0, 0.5) == pytest.approx(1.0)
    assert true_radius(norm.cdf(edges / SIGMAS), 0, 0.7) == pytest.approx(1 - norm.ppf(0.7))
    assert true_radius(norm.cdf(edges / SIGMAS), 1, 0.5) == 0


# Single certificates. ----------------------------------------------------------------------

ONE = {"alpha": 0.001, "sigmas": [0.5, 0.25]}


def lower(k, n=1000, alpha=0.0005):
    return norm.ppf(clopper_pearson_lower(k, n, alpha))


def upper(k, n=1000, alpha=0.0005):
    return norm.ppf(clopper_pearson_upper(k, n, alpha))


@pytest.mark.parametrize(
    ("large", "small", "prediction", "radius", "level"),
    [
        # The largest level passes, and certifies more than the next one.
        ([0, 990, 10], [0, 990, 10], 1, 0.5 * lower(990), 0.5),
        # It passes by a hair, but no other class comes near: the next level certifies.
        ([200, 560, 240], [0, 1000, 0], 1, min(0.25 * lower(1000), -0.5 * upper(240)), 0.25),
        # It does not pass, another class being the likeliest there.
        ([400, 300, 300], [5, 995, 0], 1, min(0.25 * lower(995), -0.5 * upper(400)), 0.25),
        # Another class may pass there: nothing is certified.
        ([470, 300, 230], [0, 1000, 0], ABSTAIN, 0.0, np.nan),
        ([100, 600, 300], [500, 100, 400], 1, 0.5 * lower(600), 0.5),
        ([400, 300, 300], [500, 100, 400], ABSTAIN, 0.0, np.nan),
    ],
)
def test_the_best_level_that_others_leave_room_for_certifies(
    large, small, prediction, radius, level
):
    votes = np.array([[large], [small]])
    found = certify_cascade(votes, votes, **ONE)
    assert found["prediction"].tolist() == [prediction]
    assert found["radius"] == pytest.approx([radius])
    np.testing.assert_equal(found["certified_at"], [level])


def test_a_threshold_above_one_half_hands_images_on_and_makes_radii_smaller():
    votes = np.array([[[350, 650]], [[0, 1000]]])
    edge = norm.ppf(0.7)
    found = certify_cascade(votes, votes, p0=0.7, **ONE)
    room = min(0.25 * (lower(1000) - edge), 0.5 * (edge - upper(350)))
    assert (found["radius"], found["certified_at"]) == (pytest.approx([room]), [0.25])


@given(st.lists(st.tuples(*[st.integers(0, 300)] * 3), min_size=1, max_size=9))
def test_one_level_has_the_certificates_of_cohen(votes):
    votes = np.array(votes)
    votes[:, 0] += 900 - votes.sum(axis=1)
    found = certify_cascade(votes[None], votes[None], [0.5], 0.001)
    labels = np.zeros(len(votes), int)
    rows = certify_counts(votes, votes, 0.5, labels, Fixed(900, 900), 0.001)
    for column in ("prediction", "radius"):
        assert found[column].tolist() == rows[column].tolist()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"p0": 0.4}, "p0 must be at least 1/2 and below 1, not 0.4"),
        ({"p0": 1.0}, "p0 must be at least 1/2"),
        ({"p0": np.nan}, "p0 must be at least 1/2"),
        ({"alpha": 0.0}, "alpha must lie between 0 and 1"),
        ({"sigmas": [0.5, 0.5]}, "each noise level must come once"),
        ({"sigmas": [0.5, -1]}, "sigma must be above 0"),
        ({"sigmas": [0.5]}, r"shape \(sigmas, images, classes\)"),
        ({"selection": np.ones((2, 1, 3), int)}, r"shape \(sigmas, images, classes\)"),
    ],
)
def test_what_does_not_fit_is_refused(changes, reason):
    votes = np.array([[[2, 8]], [[0, 10]]])
    with pytest.raises(ValueError, match=reason):
        certify_cascade(**{"selection": votes, "estimation": votes} | ONE | changes)


# A table of certificates. --------------------------------------------------------------------

FIXED = {"plan": "fixed", "n0": 10, "n": 1000}


def certificates(plan=FIXED, images=12, sigmas=(0.25, 0.5)):
    generator = np.random.default_rng(1)
    counts = pd.DataFrame(
        [(i, i % 3, s, c) for c in ("cnn", "vit") for s in sigmas for i in range(images)],
        columns=["image", "label", "sigma", "classifier"],
    )
    p = generator.dirichlet([0.3] * 3, len(counts))
    counts["selection"] = list(generator.multinomial(10, p))
    counts["estimation"] = list(generator.multinomial(1000, p))
    return counts, compute_certificates(counts, plan, 0.001)


def test_the_cascade_of_certificates_is_that_of_their_counts():
    counts, rows = certificates()
    found = compute_cascade(rows.sample(frac=1, random_state=0), p0=0.6)
    for classifier, part in found.groupby("classifier"):
        votes = [
            [np.stack(level[kind]) for _, level in counts.query(query).groupby("sigma")]
            for query in [f"classifier == '{classifier}'"]
            for kind in ("selection", "estimation")
        ]
        expected = certify_cascade(*votes, [0.25, 0.5], 0.001, 0.6)
        for column, values in expected.items():
            np.testing.assert_array_equal(part.sort_values("image")[column], values)
    assert (found["prediction"] != ABSTAIN).any()
    assert found["correct"].equals(found["prediction"] == found["label"])


def test_a_table_of_one_noise_level_is_its_own_cascade():
    rows = certificates(sigmas=[0.25])[1]
    own = ["image", "label", "classifier", "prediction", "radius", "correct"]
    pd.testing.assert_frame_equal(compute_cascade(rows)[own], rows[own])


def test_accuracies_of_a_cascade_are_those_of_one_classifier():
    cascade = compute_cascade(certificates()[1])
    accuracy = certified_accuracy(cascade, [0.0, 0.2])
    assert accuracy["images"].tolist() == [12] * 4
    assert accuracy["sigma"].isna().all()
    assert most_frequent_share(cascade)["most_frequent_share"].notna().all()


def test_an_abstention_is_never_correct_even_where_the_label_is_unknown():
    cascade = compute_cascade(certificates()[1].assign(label=ABSTAIN))
    assert (cascade["prediction"] == ABSTAIN).any()
    assert not cascade["correct"].any()


def test_without_classes_nothing_is_correct_or_wrong():
    unknown = pd.array([pd.NA] * 48, dtype="Int64")
    cascade = compute_cascade(certificates()[1].assign(label=unknown))
    assert (cascade["prediction"] == ABSTAIN).any()
    assert cascade["correct"].isna().all()


def test_a_smaller_alpha_certifies_less():
    rows = certificates()[1]
    cautious, bold = (compute_cascade(rows, alpha=alpha)["radius"] for alpha in (1e-6, None))
    assert (cautious <= bold).all()
    assert (cautious < bold).any()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows.drop(columns=["top", "alpha"]), "lack top, alpha, which the cascade"),
        (lambda rows: rows[:0], "there are no certificates"),
        (lambda rows: rows[1:], "every image, and its label, at each noise level"),
        (lambda rows: pd.concat([rows, rows[:1]]), "every image once at each noise level"),
        (lambda rows: rows.drop(columns="label"), "lack the columns label; they have image"),
        (lambda rows: rows.assign(top=[np.nan, *rows["top"][1:]]), "lack top, which the cascade"),
        (
            lambda rows: rows.query("(classifier == 'cnn') == (sigma == 0.5)"),
            "classifiers vit, cnn have no noise level in common; .* give them one name",
        ),
        (lambda rows: rows.assign(n=[400, *rows["n"][1:]]), "votes of the fixed plan"),
        (lambda rows: rows.assign(decided_radii="0.25"), "votes of the fixed plan"),
        (lambda rows: rows.assign(alpha=[0.01, *rows["alpha"][1:]]), "several alphas, .*give one"),
    ],
)
def test_certificates_that_make_no_cascade_are_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        compute_cascade(change(certificates()[1]))


@pytest.mark.parametrize(
    ("plan", "votes"),
    [
        ({"plan": "radius", "within": 0.1}, [0, 1]),
        ({"plan": "sequential", "radii": [0.1]}, [0, 1]),
        ({"plan": "curtailed", "radii": [0.1]}, [1, 0]),
    ],
)
def test_votes_that_all_stopped_after_as_many_samples_are_refused_too(plan, votes):
    plan = plan | {"n0": 100, "n": 10_000, "alpha": 0.001}
    selection, rows = np.array([0, 100]), []
    for sigma in (0.25, 0.5):
        drawn, drawn_by = 0, make_plan(plan, sigma)
        while (goal := drawn_by.goal(1, selection, drawn * np.array(votes))) > drawn:
            drawn = goal
        assert drawn < 10_000
        rows.append((0, 1, sigma, "cnn", selection, drawn * np.array(votes)))
    columns = ["image", "label", "sigma", "classifier", "selection", "estimation"]
    stopped = compute_certificates(pd.DataFrame(rows, columns=columns), plan, 0.001)
    with pytest.raises(ValueError, match="votes of the fixed plan"):
        compute_cascade(stopped)
