"""Counts survive the disk, and merge only where they fit."""

import pandas as pd
import pytest

from dds.sampling.counts import (
    check_counts,
    counts_differ,
    merge_counts,
    read_counts,
    write_counts,
)
from dds.statistics.certificates import compute_certificates

METADATA = {
    "protocol": 1, "study": "s", "experiment": "e", "dataset": "d", "sigma": 0.5, "seed": 1,
    "n0": 10, "n": 100, "plan": {"plan": "fixed", "n0": 10, "n": 100, "curtail": False},
    "precision": "float32", "backend": "cpu", "num_classes": 3, "models": {"c": "abc"},
}  # fmt: skip


def frame(images, sigma=0.5, successes=90):
    return pd.DataFrame(
        {
            "image": images, "label": 1, "sigma": sigma, "classifier": "c",
            "selection": [[1, 9, 0]] * len(images),
            "estimation": [[100 - successes, successes, 0]] * len(images),
        }
    )  # fmt: skip


def write(folder, name, counts, **changes):
    write_counts(folder / name, counts, METADATA | changes)
    return folder / name


def test_round_trip(tmp_path):
    counts, metadata = read_counts(write(tmp_path, "a.parquet", frame([0, 1])))
    assert metadata == METADATA
    assert counts["image"].tolist() == [0, 1]
    assert counts["estimation"][0].tolist() == [10, 90, 0]


def test_merge_sorts_and_keeps_what_is_shared(tmp_path):
    paths = [write(tmp_path, "b.parquet", frame([2, 3])), write(tmp_path, "a.parquet", frame([0])),
             write(tmp_path, "c.parquet", frame([0, 2, 3], 0.25), sigma=0.25)]  # fmt: skip
    counts, metadata = merge_counts(paths)
    assert counts["image"].tolist() == [0, 2, 3, 0, 2, 3]
    assert metadata["plan"] == METADATA["plan"]
    assert "sigma" not in metadata


def test_no_row_is_lost_where_shards_are_many(tmp_path, monkeypatch):
    monkeypatch.setattr("dds.sampling.counts._TABLES_AT_ONCE", 2)
    paths = [write(tmp_path, f"{image}.parquet", frame([image], successes=90 + image))
             for image in range(5)]  # fmt: skip
    counts, _ = merge_counts(paths)
    assert counts["image"].tolist() == [0, 1, 2, 3, 4]
    assert [votes[1] for votes in counts["estimation"]] == [90, 91, 92, 93, 94]


@pytest.mark.parametrize(
    ("key", "value"),
    [("protocol", 2), ("seed", 2), ("precision", "bfloat16"), ("backend", "cuda"),
     ("models", {"c": "other"}), ("plan", {"plan": "sequential"})],
)  # fmt: skip
def test_what_differs_does_not_merge(tmp_path, key, value):
    paths = [write(tmp_path, "a.parquet", frame([0])),
             write(tmp_path, "b.parquet", frame([1]), **{key: value})]  # fmt: skip
    with pytest.raises(ValueError, match=f"b.parquet .*a.parquet cannot be merged: {key}"):
        merge_counts(paths)


def test_double_missing_and_wrong_sums_are_refused(tmp_path):
    first = write(tmp_path, "a.parquet", frame([0, 1]))
    with pytest.raises(ValueError, match="image 1 at sigma 0.5 by c was counted twice"):
        merge_counts([first, write(tmp_path, "b.parquet", frame([1]))])
    with pytest.raises(ValueError, match="image 1 at sigma 0.25 by c is missing"):
        merge_counts([first, write(tmp_path, "b.parquet", frame([0], 0.25), sigma=0.25)])
    wrong = frame([0]).assign(selection=[[1, 8, 0]])
    with pytest.raises(ValueError, match="image 0 .* has 9 selection samples, the plan 10"):
        merge_counts([write(tmp_path, "b.parquet", wrong)])
    more = frame([0]).assign(estimation=[[11, 90, 0]])
    with pytest.raises(ValueError, match="has 101 estimation samples, the plan 100"):
        merge_counts([write(tmp_path, "b.parquet", more)])


SEQUENTIAL = {"plan": "sequential", "n0": 10, "n": 1000, "alpha": 0.01, "radii": [0.25],
              "looks": [500, 1000]}  # fmt: skip
CURTAILED = {"plan": "fixed", "n0": 10, "n": 1000, "curtail": True, "alpha": 0.01,
             "radii": [0.25]}  # fmt: skip


@pytest.mark.parametrize(
    ("plan", "label", "estimation", "problem"),
    [
        (SEQUENTIAL, 1, [0, 500, 0], None),  # clear at the first look
        (
            SEQUENTIAL,
            1,
            [150, 350, 0],
            "stops after 500 estimation samples, the plan asks for 1000",
        ),
        (SEQUENTIAL, 1, [0, 300, 0], "stops after 300 estimation samples, the plan asks for 500"),
        (SEQUENTIAL, 0, [0, 0, 0], None),  # its selected class is wrong
        (SEQUENTIAL, 0, [0, 500, 0], "stops after 500 estimation samples, the plan asks for 0"),
        (CURTAILED, 1, [400, 0, 0], None),
        (CURTAILED, 1, [100, 400, 0], "stops after 500 estimation samples, the plan asks for"),
        ({"plan": "fixed", "n0": 10, "n": 1000}, 1, [0, 900, 0], "the plan asks for 1000"),
    ],
)
def test_rows_stop_where_the_plan_does(plan, label, estimation, problem):
    rows = frame([0]).assign(label=label, estimation=[estimation])
    metadata = METADATA | {"n": 1000, "plan": plan}
    if problem is None:
        check_counts(rows, metadata)
    else:
        with pytest.raises(ValueError, match=f"image 0 at sigma 0.5 by c .*{problem}"):
            check_counts(rows, metadata)


def test_foreign_files_are_refused(tmp_path):
    write_counts(tmp_path / "whole.parquet", frame([0]), METADATA)
    whole = (tmp_path / "whole.parquet").read_bytes()
    for content in (
        b"nothing of the kind",
        b"",
        whole[:-50],
        whole[:30] + bytes(200) + whole[230:],
    ):
        (tmp_path / "a.parquet").write_bytes(content)
        with pytest.raises(ValueError, match="a.parquet is not a counts file: it is damaged, or"):
            read_counts(tmp_path / "a.parquet")
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="b.parquet is not a counts file: it holds other columns"):
        read_counts(tmp_path / "b.parquet")
    with pytest.raises(FileNotFoundError, match=r"^\[Errno 2\] No such file .*c.parquet'$"):
        read_counts(tmp_path / "c.parquet")


MODEL = {"network": "wide_resnet", "input": {"mean": [0.3], "std": [0.4]}}
DEPENDS = {
    "protocol": 1, "seed": 1, "dataset": "d", "split": "test", "denoiser": "none", "steps": 1,
    "timestep": "nearest", "classifiers": ["c"], "n0": 10, "n": 100, "plan": "fixed",
    "noise": "float", "precision": "float32", "deterministic": False,
    "models": {"c": {"description": MODEL, "layout": {}}},
}  # fmt: skip
PLAN = {"plan": "fixed", "n0": 10, "n": 100}
#: As version 0.1 wrote it.
SETTINGS = {
    "dataset": "d", "split": "test", "denoiser": "none", "method": "none", "steps": 1,
    "timestep": "nearest", "classifiers": ["c"], "n0": 10, "n": 100, "plan": "fixed",
    "noise": "float", "precision": "float32", "deterministic": False, "batch_size": 100,
}  # fmt: skip
TODAY = METADATA | {"plan": PLAN, "depends": DEPENDS}
EARLIER = METADATA | {"settings": SETTINGS}


def with_mean(mean):
    model = {"description": MODEL | {"input": {"mean": mean, "std": [0.4]}}, "layout": {}}
    return DEPENDS | {"models": {"c": model}}


def test_counts_made_under_two_descriptions_are_not_merged(tmp_path):
    one = write(tmp_path, "a.parquet", frame([0]), depends=DEPENDS)
    other = write(tmp_path, "b.parquet", frame([1]), depends=with_mean([0.5]))
    with pytest.raises(
        ValueError,
        match=r"b.parquet and .*a.parquet cannot be merged: "
        r"depends.models.c.description.input.mean is \[0.5\] in one, \[0.3\] in the other",
    ):
        merge_counts([one, other])


def test_counts_that_are_not_what_is_expected_are_refused(tmp_path):
    path = write(tmp_path, "a.parquet", frame([0]), depends=DEPENDS)
    merge_counts([path], expected=DEPENDS)
    with pytest.raises(
        ValueError,
        match=r"a.parquet was counted with another models.c.description.input.mean: "
        r"\[0.3\], not \[0.5\]; remove it and run again",
    ):
        merge_counts([path], expected=with_mean([0.5]))


@pytest.mark.parametrize(
    ("found", "wanted", "said"),
    [
        ({"heads": None}, {}, "heads: None, not nothing"),
        ({}, {"heads": None}, "heads: nothing, not None"),
        ({"block": {"heads": None}}, {"block": {}}, "block.heads: None, not nothing"),
        ({"bias": True}, {"bias": 1}, "bias: True, not 1"),
        ({"sizes": [1, 2]}, {"sizes": [True, 2]}, r"sizes: \[1, 2\], not \[True, 2\]"),
    ],
)
def test_null_is_an_argument_of_a_network_and_true_is_not_1(tmp_path, found, wanted, said):
    def built_with(arguments):
        model = {"description": MODEL | {"arguments": arguments}, "layout": {}}
        return DEPENDS | {"models": {"c": model}}

    path = write(tmp_path, "a.parquet", frame([0]), depends=built_with(found))
    merge_counts([path], expected=built_with(found))
    with pytest.raises(ValueError, match=rf"another models.c.description.arguments.{said}"):
        merge_counts([path], expected=built_with(wanted))


def test_names_decide_nothing():
    assert counts_differ(TODAY, TODAY | {"study": "another", "experiment": "renamed"}) is None


def test_counts_of_version_0_1_are_merged_where_all_that_they_say_agrees(tmp_path):
    earlier = write(tmp_path, "a.parquet", frame([0]), settings=SETTINGS)
    today = write(tmp_path, "b.parquet", frame([1]), plan=PLAN, depends=DEPENDS)
    counts, _ = merge_counts([earlier, today], expected=DEPENDS)
    assert counts["image"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"timestep": "authors"}, "depends.timestep"),
        ({"steps": 0}, "depends.steps"),
        ({"split": "train"}, "depends.split"),
        ({"noise": "integer"}, "depends.noise"),
        ({"classifiers": ["other"]}, "depends.classifiers"),
    ],
)
def test_counts_of_version_0_1_are_refused_where_they_do_not(change, place):
    earlier = EARLIER | {"settings": SETTINGS | change}
    assert counts_differ(earlier, TODAY).place == place
    assert counts_differ(TODAY, earlier).place == place


def test_earlier_words_mean_what_today_s_do():
    chain = DEPENDS | {"steps": "all", "denoiser": "unet"}
    earlier = {"method": "multi_step", "steps": 0, "denoiser": "unet"}
    assert (
        counts_differ(EARLIER | {"settings": SETTINGS | earlier}, TODAY | {"depends": chain})
        is None
    )
    curtailed = {"n0": 10, "n": 100, "alpha": 0.001, "radii": [0.25]}
    earlier = EARLIER | {"plan": {"plan": "fixed", "curtail": True} | curtailed}
    assert counts_differ(earlier, TODAY | {"plan": {"plan": "curtailed"} | curtailed}) is None
    assert counts_differ(earlier, TODAY).place == "plan.alpha"


UNION = {"alpha": 0.01, "radii": [0.25], "looks": None, "last_share": 0.9, "futility": 0.01}
GROUP = {"alpha": 0.01, "radii": [0.25], "frugal": False}
#: What counts of the plan by a union bound said of it while it was called sequential.
CALLED_SEQUENTIAL = {
    "plan": UNION | {"plan": "sequential", "n0": 10, "n": 1000, "looks": [500, 1000]},
    "depends": DEPENDS | UNION | {"plan": "sequential", "n": 1000, "looks": [500, 1000]},
}


def test_counts_of_a_union_bound_that_was_called_sequential_are_read_merged_and_certified(tmp_path):
    rows = frame([0]).assign(estimation=[[0, 500, 0]])
    path = write(tmp_path, "a.parquet", rows, n=1000, **CALLED_SEQUENTIAL)
    wanted = DEPENDS | UNION | {"plan": "union_sequential", "n": 1000, "looks": [500, 1000]}
    counts, metadata = merge_counts([path], expected=wanted)
    assert metadata["plan"] == CALLED_SEQUENTIAL["plan"]
    (p_lower,) = compute_certificates(counts, metadata["plan"], 0.01)["p_lower"]
    assert p_lower == pytest.approx(0.001 ** (1 / 500))

    wanted = DEPENDS | GROUP | {"plan": "sequential", "n": 1000}
    with pytest.raises(
        ValueError, match="a.parquet was counted with another plan: union_sequential, not seq"
    ):
        merge_counts([path], expected=wanted)


def test_shards_of_all_sigmas_have_one_plan_whatever_radii_each_decides(tmp_path):
    plan = GROUP | {"plan": "sequential", "radii": {"0.25": [0.125], "0.5": [0.25]}}
    facts = {"n": 1000, "plan": plan | {"n0": 10, "n": 1000}, "depends": DEPENDS | plan}
    facts["depends"] |= {"n": 1000}
    paths = [
        write(tmp_path, f"{sigma}.parquet", rows, sigma=sigma, **facts)
        for sigma in (0.25, 0.5)
        for rows in [frame([0], sigma).assign(estimation=[[0, 100, 0]])]
    ]
    counts, metadata = merge_counts(paths, expected=facts["depends"])
    certificates = compute_certificates(counts, metadata["plan"], 0.01)
    assert certificates["decided_radii"].tolist() == ["0.125", "0.25"]
    assert certificates["radius"].tolist() == pytest.approx([0.125, 0.25])


@pytest.mark.parametrize(
    ("column", "votes", "problem"),
    [
        ("selection", [-1, 11, 0], "has selection counts that are no numbers from 0 to 10"),
        ("estimation", [-1, 91, 10], "has estimation counts that are no numbers from 0 to 100"),
        ("estimation", [10, 90], "estimation counts must be of 3 classes"),
        # Sums that wrap around to n0 and to n.
        ("selection", [2**63 - 1, 2**63 - 1, 12], "has selection counts that are no numbers"),
        ("estimation", [2**63 - 1, 2**63 - 1, 102], "has estimation counts that are no numbers"),
        ("label", 99, "image 1 at sigma 0.5 by c has label 99; its 3 classes are 0 to 2"),
        ("label", -1, "image 1 at sigma 0.5 by c has label -1; its 3 classes are 0 to 2"),
    ],
)
def test_counts_and_labels_that_are_none_are_refused(column, votes, problem):
    rows = frame([0, 1])
    rows.at[1, column] = votes
    with pytest.raises(ValueError, match=problem):
        check_counts(rows, METADATA)


def test_an_image_has_one_label():
    rows = pd.concat([frame([0]), frame([0]).assign(classifier="b", label=2)], ignore_index=True)
    with pytest.raises(ValueError, match="image 0 at sigma 0.5 by b has label 2, elsewhere 1"):
        check_counts(rows, METADATA)


@pytest.mark.parametrize(
    ("rows", "changes", "problem"),
    [
        (frame([4, 5]), {}, "holds other images, such as 0, not images 0 to 1 at sigma 0.5"),
        (frame([0]), {}, "holds other images, such as 1, not images 0 to 1"),
        (frame([0, 1], 0.25), {}, "holds sigma 0.25, not images 0 to 1 at sigma 0.5"),
        (frame([0, 1]), {"sigma": 0.25}, "holds sigma 0.25, not images 0 to 1 at sigma 0.5"),
    ],
)
def test_a_shard_of_other_images_or_noise_is_refused(tmp_path, rows, changes, problem):
    path = write(tmp_path, "a.parquet", rows, **changes)
    with pytest.raises(ValueError, match=f"a.parquet {problem}.*; remove it and run again"):
        merge_counts([path], places=[(0.5, range(2))])


def test_a_shard_of_the_images_and_the_noise_of_its_place_is_taken(tmp_path):
    paths = [write(tmp_path, "a.parquet", frame([0, 1])), write(tmp_path, "b.parquet", frame([2]))]
    counts, _ = merge_counts(paths, places=[(0.5, range(2)), (0.5, range(2, 3))])
    assert counts["image"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"n": 1000}, "another n: 1000, not 100"),
        ({"n0": 20}, "another n0: 20, not 10"),
        ({"seed": 7}, "another seed: 7, not 1"),
        ({"protocol": 7}, "another protocol: 7, not 1"),
        ({"num_classes": 10}, "another num_classes: 10, not 3"),
        ({"plan": {"plan": "fixed", "n0": 10, "n": 1000}}, "another plan.n: 1000, not 100"),
        (
            {"plan": {"plan": "sequential", "n0": 10, "n": 100, "alpha": 0.1, "radii": [0.25]}},
            "another plan.alpha: 0.1, not None",
        ),
        ({"plan": {"plan": "no_such"}}, r"another plan: none that can be made \("),
    ],
)
def test_what_a_shard_says_twice_it_says_alike(tmp_path, changes, problem):
    model = DEPENDS["models"]["c"]
    described = {"c": model | {"description": MODEL | {"classes": ["x", "y", "z"]}}}
    depends = DEPENDS | {"models": described}
    path = write(tmp_path, "a.parquet", frame([0]), **{"plan": PLAN, "depends": depends} | changes)
    with pytest.raises(ValueError, match=f"was counted with {problem}.*; remove it and run again"):
        merge_counts([path], expected=depends)


def test_an_image_may_have_no_estimation_sample_and_a_class_no_vote():
    rows = frame([0]).assign(label=0, estimation=[[0, 0, 0]])
    check_counts(rows, METADATA | {"n": 1000, "plan": SEQUENTIAL})


def test_nothing_to_merge_is_refused():
    with pytest.raises(ValueError, match="no counts to merge"):
        merge_counts([])


def test_merged_counts_are_numbered_from_zero(tmp_path):
    paths = [write(tmp_path, f"{image}.parquet", frame([image])) for image in (2, 0, 1)]
    counts, _ = merge_counts(paths)
    assert counts.index.tolist() == [0, 1, 2]
    assert counts.columns.tolist() == frame([0]).columns.tolist()


def of_two_classifiers(images):
    return pd.concat([frame(images), frame(images).assign(classifier="b")], ignore_index=True)


def test_counts_of_several_classifiers_are_complete_with_a_row_for_each():
    check_counts(of_two_classifiers([0, 1, 2]), METADATA)
    with pytest.raises(ValueError, match=r"image 2 at sigma 0.5 by b is missing"):
        check_counts(of_two_classifiers([0, 1, 2]).iloc[:-1], METADATA)


def test_the_first_row_that_is_wrong_is_named():
    with pytest.raises(ValueError, match="image 4 at sigma 0.5 by c was counted twice"):
        check_counts(frame([3, 4, 4, 5, 5]), METADATA)
