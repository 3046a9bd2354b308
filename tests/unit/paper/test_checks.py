"""Checks pass on sound results, and each of them notices what it is there for."""

import numpy as np
import pandas as pd
import pytest

from dds.statistics.certificates import compute_certificates
from paper.checks import (
    check_comparison,
    check_curtailment,
    check_experiment,
    check_table,
    failures,
)
from paper.sheets import to_markdown
from paper.tables import build_table, lay_out

METADATA = {
    "n0": 10, "n": 100, "num_classes": 3,
    "plan": {"plan": "fixed", "n0": 10, "n": 100, "curtail": False},
}  # fmt: skip
TABLE = {
    "kind": "per_sigma", "caption": "x", "radii": [0.0, 0.1, 0.3],
    "panels": [{"title": "C", "experiment": "e", "classifier": "c"}],
}  # fmt: skip


def counts(images=12, right=95):
    estimation = np.zeros((images, 3), int)
    estimation[np.arange(images), np.arange(images) % 3] = right
    estimation[np.arange(images), (np.arange(images) + 1) % 3] = 100 - right
    return pd.DataFrame(
        {
            "image": range(images), "label": np.arange(images) % 3, "sigma": 0.5, "classifier": "c",
            "selection": list(10 * np.eye(3, dtype=int)[np.arange(images) % 3]),
            "estimation": list(estimation),
        }
    )  # fmt: skip


def experiment(frame, stored=None, images=12):
    certificates = compute_certificates(frame, METADATA["plan"], 0.01) if stored is None else stored
    return failures(check_experiment("e", frame, METADATA, certificates, images=images, alpha=0.01))


def test_sound_results_pass():
    assert not experiment(counts())


def test_missing_and_double_images_are_noticed():
    assert "every image of e is there once" in experiment(counts(11))
    double = pd.concat([counts(), counts(1)], ignore_index=True)
    assert "was counted twice" in experiment(double)


def test_lost_samples_are_noticed():
    frame = counts()
    frame["selection"] = [row - row // 10 for row in frame["selection"]]
    assert "has 9 selection samples" in experiment(frame)


def test_altered_certificates_are_noticed():
    stored = compute_certificates(counts(), METADATA["plan"], 0.01)
    stored.loc[3, "radius"] = 1.5
    failed = experiment(counts(), stored)
    assert "certificates of e follow" in failed
    assert "no radius of e exceeds" in failed


@pytest.fixture
def certificates():
    return {"e": compute_certificates(counts(), METADATA["plan"], 0.01)}


def table_and_text(certificates):
    table = build_table(TABLE, certificates)
    return table, to_markdown(lay_out("per_sigma", table), "x")


def test_a_sound_table_passes(certificates):
    assert not failures(check_table("t", *table_and_text(certificates), certificates))


def test_a_rising_curve_is_noticed(certificates):
    table, text = table_and_text(certificates)
    table.loc[table["radius"] == 0.3, "accuracy_percent"] = 101
    assert "t: certified accuracy never rises" in failures(
        check_table("t", table, text, certificates)
    )


def test_an_unmarked_constant_classifier_is_noticed(certificates):
    certificates["e"]["selected"] = 1
    table, text = table_and_text(certificates)
    assert not failures(check_table("t", table, text, certificates))
    assert "are marked" in failures(check_table("t", table, text.replace("†", ""), certificates))
    table["nearly_constant"] = False
    assert "are marked" in failures(check_table("t", table, text, certificates))


@pytest.mark.parametrize(
    ("kind", "ours", "theirs", "passes"),
    [
        ("better", 95, 30, True), ("better", 95, 95, False), ("better", 30, 95, False),
        ("not_worse", 95, 30, True), ("not_worse", 95, 95, True), ("not_worse", 30, 95, False),
    ],
)  # fmt: skip
def test_comparisons_need_more_than_chance(kind, ours, theirs, passes):
    frames = {
        name: compute_certificates(counts(right=right), METADATA["plan"], 0.01)
        for name, right in (("a", ours), ("b", theirs))
    }
    entry = {"kind": kind, "experiment": "a", "classifier": "c", "sigmas": [0.5], "radius": 0.1,
             "than": {"experiment": "b", "classifier": "c"}}  # fmt: skip
    (check,) = check_comparison(entry, frames)
    assert check.passed == passes


PLANS = {"methods": [{"experiment": "fixed"}, {"experiment": "early"}, {"experiment": "looks"}]}
EXPERIMENTS = {
    "fixed": {"deterministic": True, "curtail": False},
    "early": {"deterministic": True, "curtail": True},
    "looks": {"deterministic": True, "curtail": False},
}


def certificates_of_plans(**changes):
    fixed = pd.DataFrame(
        {"image": range(4), "sigma": 0.5, "classifier": "c", "radius": [0.4, 0.3, 0.1, 0.5],
         "correct": [True, True, True, False], "lowest_radius": 0.25}
    )  # fmt: skip
    stopped = fixed["image"] >= 2
    early = fixed.assign(radius=fixed["radius"].mask(stopped), correct=~stopped)
    return {"fixed": fixed, "early": early.assign(**changes), "looks": fixed.assign(radius=9.0)}


def test_a_curtailed_plan_must_certify_what_the_fixed_one_does():
    (check,) = check_curtailment(PLANS, EXPERIMENTS, certificates_of_plans())
    assert check.passed
    assert check.detail == "2 equal radii"
    for wrong in ([0.4, np.nan, np.nan, np.nan], [0.4, 0.31, np.nan, np.nan]):
        (check,) = check_curtailment(PLANS, EXPERIMENTS, certificates_of_plans(radius=wrong))
        assert not check.passed
        assert check.detail == "not at sigma 0.5 by c on image 1"


def test_curtailed_plans_are_not_compared_where_samples_need_not_repeat():
    loose = EXPERIMENTS | {"early": {"deterministic": False, "curtail": True}}
    assert check_curtailment(PLANS, loose, certificates_of_plans()) == []
