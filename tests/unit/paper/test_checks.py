"""Checks pass on sound results, and each of them notices what it is there for."""

from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from paper_samples import table

from dds.statistics.accuracy import paired_interval
from dds.statistics.certificates import compute_certificates
from paper.checks import (
    check_attack,
    check_comparison,
    check_curtailment,
    check_experiment,
    check_published,
    check_table,
    failures,
)
from paper.tables import build_table

METADATA = {
    "n0": 10,
    "n": 100,
    "num_classes": 3,
    "plan": {"plan": "fixed", "n0": 10, "n": 100},
}
PANEL = {"title": "C", "experiment": "e", "classifier": "c"}
TABLE = {"kind": "per_sigma", "caption": "x", "radii": [0.0, 0.1, 0.3], "panels": [PANEL]}


def counts(images=12, right=95, n=100):
    estimation = np.zeros((images, 3), int)
    estimation[np.arange(images), np.arange(images) % 3] = right
    estimation[np.arange(images), (np.arange(images) + 1) % 3] = n - right
    return pd.DataFrame(
        {
            "image": range(images),
            "label": np.arange(images) % 3,
            "sigma": 0.5,
            "classifier": "c",
            "selection": list(10 * np.eye(3, dtype=int)[np.arange(images) % 3]),
            "estimation": list(estimation),
        }
    )


def metadata_of(n):
    return METADATA | {"n": n, "plan": METADATA["plan"] | {"n": n}}


def experiment(frame, stored=None, images=12, n=100, alpha=0.01):
    metadata = metadata_of(n)
    certificates = (
        compute_certificates(frame, metadata["plan"], alpha) if stored is None else stored
    )
    checks = check_experiment("e", frame, metadata, certificates, images=images, alpha=alpha)
    return failures(checks)


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
    assert (
        "no radius of e exceeds what its samples allow (it does at sigma 0.5 by c on im" in failed
    )


def test_samples_too_few_to_certify_anything_are_no_fault():
    frame = counts(right=9, n=9)
    assert not experiment(frame, n=9, alpha=0.001)
    stored = compute_certificates(frame, metadata_of(9)["plan"], 0.001)
    (check,) = (
        check
        for check in check_experiment("e", frame, metadata_of(9), stored, images=12, alpha=0.001)
        if "exceeds" in check.name
    )
    assert check.detail == "the largest is 0.0000 of the limit"
    stored.loc[3, "radius"] = 0.1
    assert "it does at sigma 0.5 by c on image 3" in experiment(frame, stored, n=9, alpha=0.001)


@pytest.fixture
def certificates():
    return {"e": compute_certificates(counts(), METADATA["plan"], 0.01)}


def test_a_sound_table_passes(certificates):
    (check,) = check_table("t", "per_sigma", build_table(table(TABLE), certificates))
    assert check.passed
    assert check.detail == "3 numbers"


def test_a_rising_curve_is_noticed(certificates):
    numbers = build_table(table(TABLE), certificates)
    numbers.loc[numbers["radius"] == 0.3, "accuracy_percent"] = 101
    (check,) = check_table("t", "per_sigma", numbers)
    assert not check.passed
    assert check.name == "t: certified accuracy never rises with the radius"
    assert check.detail == "it does in part 0, classifier c, sigma 0.5"


def test_panels_of_one_title_are_curves_of_their_own(certificates):
    certificates["worse"] = certificates["e"].assign(correct=False)
    panels = [PANEL | {"experiment": "worse"}, PANEL]
    numbers = build_table(table(TABLE, panels=panels), certificates)
    assert not failures(check_table("t", "per_sigma", numbers))


def test_a_table_of_other_numbers_is_not_checked():
    assert check_table("t", "costs", pd.DataFrame({"hours": [1.0]})) == []


OWN_KIND = """
from paper.parts import Captioned

class Keys(Captioned):
    'Numbers.'
"""


@pytest.mark.parametrize(
    ("curves", "numbers", "passed"),
    [
        ("", {"experiment": ["e"]}, None),
        ("", {"experiment": ["e1", "e2"], "classifier": "f", "radius": [0.0, 0.5]}, None),
        ("CURVE = ('experiment',)", {"experiment": ["a", "b"], "radius": [0.0, 0.5]}, True),
        ("CURVE = ('experiment',)", {"experiment": ["a", "a"], "radius": [0.0, 0.5]}, False),
    ],
)
def test_a_kind_of_ones_own_is_checked_by_the_curves_that_it_names(
    tmp_path, curves, numbers, passed
):
    path = tmp_path / "mine.py"
    path.write_text(OWN_KIND + curves)
    numbers |= {"accuracy_percent": [10.0, 90.0][: len(numbers["experiment"])]}
    checks = check_table("t", str(path), pd.DataFrame(numbers))
    assert [check.passed for check in checks] == ([] if passed is None else [passed])


def test_a_kind_that_names_curves_by_what_it_lacks_is_told(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN_KIND + "CURVE = ('sigma',)")
    with pytest.raises(ValueError, match="names curves by sigma, no column of its table"):
        check_table("t", str(path), pd.DataFrame({"radius": [0.0], "accuracy_percent": [90.0]}))


BEST_ROW = {"label": "X", "off_the_shelf": "none", "experiment": "e", "classifier": "c"}


@pytest.mark.parametrize(("chosen_on", "checked"), [(None, 3), ({"experiment": "v"}, 0)])
def test_where_sigma_is_chosen_on_other_images_a_row_may_rise(certificates, chosen_on, checked):
    entry = TABLE | {"kind": "best_over_sigma", "rows": [BEST_ROW | {"chosen_on": chosen_on}]}
    del entry["panels"]
    numbers = build_table(table(entry), certificates | {"v": certificates["e"]})
    (check,) = check_table("t", "best_over_sigma", numbers)
    assert check.detail == f"{checked} numbers"
    numbers.loc[numbers["radius"] == 0.3, "accuracy_percent"] = 101
    (check,) = check_table("t", "best_over_sigma", numbers)
    assert check.passed == (chosen_on is not None)


def test_a_rising_cascade_is_noticed(certificates):
    rows = certificates["e"]
    entry = TABLE | {"kind": "cascade"}
    numbers = build_table(table(entry), {"e": pd.concat([rows, rows.assign(sigma=0.25)])})
    assert not failures(check_table("t", "cascade", numbers))
    numbers.loc[
        (numbers["method"] == "cascade") & (numbers["radius"] == 0.1), "accuracy_percent"
    ] = -1
    (check,) = check_table("t", "cascade", numbers)
    assert check.detail == "it does in part 0, classifier c, method cascade"


def certified(ours, theirs):
    """Return the certificates of two experiments, given how many samples of each are right."""
    return {
        name: compute_certificates(counts(right=right), METADATA["plan"], 0.01)
        for name, right in (("a", ours), ("b", theirs))
    }


def compared(kind):
    """Return a check of the first of them against the second."""
    return SimpleNamespace(
        kind=kind,
        experiment="a",
        classifier="c",
        than=SimpleNamespace(experiment="b", classifier="c"),
        sigmas=[0.5],
        radius=0.1,
    )


@pytest.mark.parametrize(
    ("kind", "ours", "theirs", "passes"),
    [
        ("better", 95, 30, True),
        ("better", 95, 95, False),
        ("better", 30, 95, False),
        ("not_worse", 95, 30, True),
        ("not_worse", 95, 95, True),
        ("not_worse", 30, 95, False),
    ],
)
def test_comparisons_need_more_than_chance(kind, ours, theirs, passes):
    (check,) = check_comparison(compared(kind), certified(ours, theirs))
    assert check.passed == passes


def test_what_not_worse_lets_pass_is_told():
    frames = certified(95, 95)
    frames["b"].loc[:3, "correct"] = False
    (check,) = check_comparison(compared("not_worse"), frames)
    _, low, high = (100 * part for part in paired_interval(4, 0, 12))
    assert check.detail == (
        f"+33.3 points, 95% interval {low:+.1f} to {high:+.1f}, 12 images; "
        f"up to {100 / 3 - low:.1f} points worse would pass"
    )


def test_where_no_image_differs_some_might_still_be_worse():
    (check,) = check_comparison(compared("not_worse"), certified(95, 95))
    assert check.detail.startswith(
        "+0.0 points, 95% interval -24.2 to +24.2, 12 images; up to 24.2"
    )


AGAINST = SimpleNamespace(
    experiment="e", classifier="c", than=SimpleNamespace(table="3", rows=["Lee [15]"])
)


def ahead(certified, printed, *, images=1000, theirs=500.0, **columns):
    """Return the check of `certified` of our images against a printed percentage."""
    ours = pd.DataFrame(
        {
            "image": range(images),
            "sigma": 0.5,
            "classifier": "c",
            "radius": 0.6,
            "correct": np.arange(images) < certified,
        }
        | columns
    )
    published = pd.DataFrame(
        {
            "table": "3",
            "row": "Lee [15]",
            "radius": [0.25, 0.5, 1.0],
            "certified_accuracy": [printed / 2, printed, np.nan],
            "images": theirs,
            "status": ["printed", "printed", "not_reported"],
            "rounding": 0.5,
        }
    )
    (check,) = check_published(AGAINST, {"e": ours}, published)
    return check


@pytest.mark.parametrize(
    ("certified", "printed", "theirs", "passes"),
    [
        (600, 40.0, 500.0, True),
        (440, 40.0, 500.0, False),  # within what chance does on both sides
        (440, 40.0, np.nan, True),  # above what chance does on ours
        (420, 40.0, np.nan, False),
        (300, 40.0, 500.0, False),
        (1000, 40.0, 500.0, True),
    ],
)
def test_better_than_published_needs_more_than_chance_at_every_radius(
    certified, printed, theirs, passes
):
    check = ahead(certified, printed, theirs=theirs)
    assert check.passed == passes
    assert check.name == "e (c) is better than Lee [15] of Table 3 at every radius (0.25, 0.5)"
    assert check.detail.startswith(f"least at radius 0.5: {certified / 10 - printed:+.1f} points")


def test_a_radius_that_is_not_decided_is_not_better_than_published():
    check = ahead(1000, 40.0, lowest_radius=0.3)
    assert not check.passed
    assert check.detail == "not computed at radius 0.25"


PLANS = {
    "kind": "sampling_plans",
    "caption": "x",
    "radii": [0.25],
    "classifiers": {"c": "C"},
    "methods": [{"label": name, "experiment": name} for name in ("fixed", "early", "looks")],
}
EXPERIMENTS = {
    "fixed": SimpleNamespace(deterministic=True, plan="fixed"),
    "early": SimpleNamespace(deterministic=True, plan="curtailed"),
    "looks": SimpleNamespace(deterministic=True, plan="sequential"),
}


def certificates_of_plans(**changes):
    fixed = pd.DataFrame(
        {
            "image": range(4),
            "sigma": 0.5,
            "classifier": "c",
            "radius": [0.4, 0.3, 0.1, 0.5],
            "correct": [True, True, True, False],
            "lowest_radius": 0.25,
        }
    )
    stopped = fixed["image"] >= 2
    early = fixed.assign(radius=fixed["radius"].mask(stopped), correct=~stopped)
    return {"fixed": fixed, "early": early.assign(**changes), "looks": fixed.assign(radius=9.0)}


@pytest.mark.parametrize(
    "order",
    list(permutations(PLANS["methods"])),
    ids=lambda order: "-".join(method["label"] for method in order),
)
def test_a_curtailed_plan_must_certify_what_the_fixed_one_does(order):
    entry = table(PLANS, methods=list(order))
    (check,) = check_curtailment(entry, EXPERIMENTS, certificates_of_plans())
    assert check.passed
    assert check.name == "early certifies what fixed does from radius 0.25 on"
    assert check.detail == "2 equal radii"
    for wrong in ([0.4, np.nan, np.nan, np.nan], [0.4, 0.31, np.nan, np.nan]):
        (check,) = check_curtailment(entry, EXPERIMENTS, certificates_of_plans(radius=wrong))
        assert not check.passed
        assert check.detail == "not at sigma 0.5 by c on image 1"


def test_a_curtailed_plan_without_a_fixed_one_is_not_compared():
    entry = table(PLANS, methods=PLANS["methods"][1:])
    assert check_curtailment(entry, EXPERIMENTS, certificates_of_plans()) == []


def test_curtailed_plans_are_not_compared_where_samples_need_not_repeat():
    loose = EXPERIMENTS | {"early": SimpleNamespace(deterministic=False, plan="curtailed")}
    assert check_curtailment(table(PLANS), loose, certificates_of_plans()) == []


CERTIFIED = pd.DataFrame(
    {
        "image": [0, 1, 2],
        "sigma": 0.25,
        "classifier": "c",
        "prediction": [3, 4, -1],
        "radius": [0.4, 0.2, 0.0],
    }
)


def attacked(**changes):
    """Return an attack that fails on the first image and succeeds on the others, farther out."""
    columns = {
        "image": [0, 0, 1, 2],
        "label": [3, 3, 4, 5],
        "sigma": 0.25,
        "classifier": "c",
        "radius": [0.0, 0.3, 0.3, 0.3],
        "norm": [0.0, 0.3, 0.3, 0.3],
        "prediction": [3, 3, 9, 9],
    }
    return failures(check_attack("a", pd.DataFrame(columns | changes), CERTIFIED))


def test_an_attack_may_succeed_where_nothing_is_certified():
    assert attacked() == ""
    assert attacked(prediction=[-1, -1, 9, 9]) == ""  # to abstain is no other class
    assert attacked(norm=[0.0, 0.3, 0.2, 0.3]) == ""  # the theorem leaves the edge open


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prediction": [3, 9, 9, 9]},
         "class 9 instead of 3, certified within 0.4000, at a distance of 0.3000, on image 0 at "
         "sigma 0.25 and radius 0.3 by c"),
        ({"norm": [0.0, 0.3, 0.19, 0.3]}, "class 9 instead of 4, certified within 0.2000"),
        ({"norm": [0.0, 0.3000001, 0.3, 0.3]}, "longer than its radius (image 0 at sigma 0.25"),
        ({"norm": [0.0, np.nan, 0.3, 0.3]}, "longer than its radius (image 0 at sigma 0.25"),
        ({"image": [0, 0, 1, 7]}, "no certificate for image 7 at sigma 0.25 and radius 0.3 by c"),
        ({"sigma": 0.5}, "no certificate for image 0 at sigma 0.5"),
    ],
)  # fmt: skip
def test_an_attack_within_a_certified_radius_refutes_the_certificate(changes, reason):
    assert reason in attacked(**changes)
