"""Methods beside each other on the same images: differences are of pairs, with their interval."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from paper_samples import (
    CERTIFICATES,
    COMPARISON,
    PLANS,
    RECORDS,
    certificates,
    table,
    texts,
)
from scipy.stats import ttest_ind, ttest_rel

from paper.tables import build_table, comparison, lay_out, read_table, sampling_plans


def test_methods_are_compared_on_the_same_images():
    entry = table(COMPARISON)
    numbers = build_table(entry, CERTIFICATES)
    (sheet,) = lay_out(entry, numbers)
    assert texts(sheet)[:3] == [
        ["CNN", "σ = 0.25", "one-shot", "82.5", "50.0"],
        ["", "", "multi-step", "65.0", "25.0"],
        ["", "", "difference", "−17.5 [−73.2, +38.2]", "−25.0 [−69.9, +36.2]"],
    ]
    certified = numbers[numbers["quantity"] == "certified"]
    assert certified[["ci_low_percent", "ci_high_percent"]].stack().between(0, 100).all()


@pytest.fixture(scope="module")
def noisy():
    """Two methods on images of very different difficulty, the second a little worse, by chance."""
    generator = np.random.default_rng(3)
    easy = generator.integers(20, 95, 40)
    worse = easy - generator.integers(0, 12, 40)
    return {
        name: certificates(successes / 200, label_successes=successes, correct=True)
        for name, successes in (("e", easy), ("other", worse))
    }


def test_the_interval_of_a_difference_is_that_of_pairs(noisy):
    numbers = build_table(table(COMPARISON), noisy)
    ours, theirs = (noisy[name]["label_successes"] for name in ("e", "other"))
    first, second = numbers[numbers["quantity"] == "samples correct"].to_dict("records")
    assert first["difference_points"] == first["difference_ci_low"] == 0
    ends = second["difference_ci_low"], second["difference_ci_high"]
    assert ends == pytest.approx(ttest_rel(theirs, ours).confidence_interval(0.95))
    unpaired = ttest_ind(theirs, ours).confidence_interval(0.95)
    assert unpaired.high - unpaired.low > 5 * (ends[1] - ends[0])


def test_a_difference_is_that_of_the_numbers_shown_with_its_interval(noisy):
    numbers = build_table(table(COMPARISON), noisy)
    (sheet,) = lay_out("comparison", numbers)
    above, below, difference = (float(row[3].split()[0].replace("−", "-")) for row in texts(sheet))
    assert difference == pytest.approx(below - above)
    ours, theirs = (noisy[name]["label_successes"] for name in ("e", "other"))
    low, high = ttest_rel(theirs, ours).confidence_interval(0.95)
    assert texts(sheet)[-1][3].split(" ", 1)[1] == f"[{low:+.1f}, {high:+.1f}]".replace("-", "−")


def test_no_difference_on_200_images_still_has_an_interval():
    same = {name: certificates([0.3] * 150 + [0.0] * 50) for name in ("e", "other")}
    (sheet,) = lay_out("comparison", build_table(table(COMPARISON), same))
    assert texts(sheet)[-1][3:] == ["+0.0 [−1.9, +1.9]"] * 2


@pytest.mark.filterwarnings("error")
def test_one_image_says_next_to_nothing():
    rows = {
        name: certificates([0.3], label_successes=hits) for name, hits in (("e", 97), ("other", 90))
    }
    entry = table(COMPARISON, intervals=True)
    (sheet,) = lay_out(entry, build_table(entry, rows))
    assert [row[3] for row in texts(sheet)] == ["97.0", "90.0", "−7.0 [−100.0, +100.0]"]
    assert [row[3].interval for row in sheet.rows[:2]] == ["[0.0, 100.0]"] * 2


def test_what_no_image_can_reach_is_no_difference():
    entry = table(COMPARISON, radii=[0.25, 0.4])
    (sheet,) = lay_out(entry, build_table(entry, CERTIFICATES, records=RECORDS))
    assert [row[-1] for row in texts(sheet)[:3]] == ["n/a", "n/a", ""]
    assert any(note.startswith("n/a: n is too small") for note in sheet.notes)


@pytest.mark.parametrize("keys", [COMPARISON, PLANS], ids=lambda keys: keys["kind"])
@pytest.mark.parametrize(
    "other",
    [
        certificates([0.3] * 4, image=[0, 1, 2, 4]),
        certificates([0.3] * 4, label=[1, 1, 1, 2]),
        certificates([0.3] * 3),
        certificates([0.3] * 4, sigma=0.5),
    ],
    ids=["images", "labels", "fewer", "sigmas"],
)
def test_methods_over_different_images_are_refused(keys, other):
    methods = [{"label": name, "experiment": name} for name in ("e", "other")]
    data = {"e": certificates([0.3] * 4), "other": other}
    with pytest.raises(ValueError, match="other and e by cnn are not of the same images"):
        build_table(table(keys, methods=methods), data)


def test_images_that_stopped_early_are_refused():
    methods = [{"label": "one-shot", "experiment": "e"}, {"label": "x", "experiment": "early"}]
    with pytest.raises(ValueError, match="draws n samples of every image"):
        build_table(table(COMPARISON, methods=methods), CERTIFICATES)


def test_methods_and_classifiers_of_one_name_are_told_apart(tmp_path):
    methods = [{"label": "5", "experiment": name} for name in ("e", "other")]
    entry = table(COMPARISON, classifiers={"cnn": "7", "vit": "7"}, methods=methods)
    other = [CERTIFICATES["other"], CERTIFICATES["e"].query("classifier == 'vit'")]
    data = CERTIFICATES | {"other": pd.concat(other)}
    build_table(entry, data).to_csv(tmp_path / "t.csv", index=False)
    (sheet,) = lay_out(entry, read_table(tmp_path / "t.csv"))
    assert [row[:4] for row in texts(sheet)][::3] == [
        ["7", "σ = 0.25", "5", "82.5"],
        ["7", "σ = 0.5", "5", "47.5"],
        ["7", "σ = 0.25", "5", "100.0"],
        ["7", "σ = 0.5", "5", "47.5"],
    ]
    assert [row[2] for row in texts(sheet)] == ["5", "5", "difference"] * 4


SETTINGS = {
    "dataset": "digits",
    "split": "test",
    "classifiers": ["cnn", "vit"],
    "sigmas": [0.25],
    "n0": 10,
    "n": 100,
    "alpha": 0.001,
    "images": 4,
    "plan": "fixed",
}


def study(**changes):
    """Return a study of which experiment ``other`` has other settings than ``e``."""
    experiments = {"e": SETTINGS, "other": SETTINGS | changes}
    return SimpleNamespace(
        experiments={name: SimpleNamespace(**keys) for name, keys in experiments.items()}
    )


@pytest.mark.parametrize("kind", [comparison, sampling_plans])
class TestCompared:
    """What both kinds of table ask of the experiments that they compare."""

    @pytest.mark.parametrize(
        "changes",
        [
            {"dataset": "cifar10"},
            {"split": "validation"},
            {"classifiers": ["cnn"]},
            {"sigmas": [0.25, 0.5]},
            {"n0": 20},
            {"n": 200},
            {"alpha": 0.01},
            {"images": 5},
        ],
        ids=str,
    )
    def test_experiments_must_share_what_decides_a_number(self, kind, changes):
        (key,) = changes
        entry = table(COMPARISON)
        assert list(kind.check(entry, study())) == []
        assert list(kind.check(entry, study(**changes))) == [
            (
                ("methods", 1, "experiment"),
                f"other and e have different {key}; compared experiments must share dataset, "
                "split, classifiers, sigmas, n0, n, alpha, images",
            )
        ]

    def test_classifiers_must_be_the_experiments(self, kind):
        entry = table(COMPARISON, classifiers={"vit": "ViT", "bit": "BiT"})
        assert list(kind.check(entry, study())) == [
            (("classifiers",), "bit is no classifier of experiment e; allowed: cnn, vit")
        ]
