"""scikit-learn's digits, split by the seed."""

import numpy as np
import pytest


def test_digits_are_split_by_the_seed_and_by_class(prepare):
    packs = prepare("sklearn_digits", {"train": 1000, "test": 797})
    ids = np.concatenate([pack.ids for pack in packs.values()])
    assert len(set(ids)) == len(ids) == 1797
    for pack in packs.values():
        assert pack.images.shape == (len(pack.labels), 1, 8, 8)
        assert (pack.images.min(), pack.images.max()) == (0, 255)
        assert np.bincount(pack.labels) / len(pack.labels) == pytest.approx(0.1, abs=0.01)
    first = {
        seed: prepare("sklearn_digits", {"train": 1000}, seed=seed)["train"] for seed in (1, 2)
    }
    assert np.array_equal(first[1].ids, packs["train"].ids)
    assert not np.array_equal(first[2].ids, packs["train"].ids)
    with pytest.raises(ValueError, match="splits ask for 1798 images, digits has 1797"):
        prepare("sklearn_digits", {"train": 1000, "test": 798})


@pytest.mark.parametrize(
    ("splits", "seed"),
    [
        ({"train": 1790}, 1),
        ({"test": 3}, 1),
        ({"train": 1770, "test": 12, "few": 4}, 1),
        ({"train": 1770, "few": 7, "test": 10}, 1),  # of some class one image is left before test
        ({"train": 1000}, 2**63 - 1),
    ],
)
def test_digits_are_split_however_few_there_are_and_by_any_seed(prepare, splits, seed):
    packs, again = (prepare("sklearn_digits", splits, seed=seed) for _ in range(2))
    ids = np.concatenate([packs[name].ids for name in splits])
    assert len(set(ids)) == len(ids) == sum(splits.values())
    assert all(np.array_equal(again[name].ids, packs[name].ids) for name in splits)


def test_digits_take_whole_numbers_and_no_files(refusal):
    entry = {"splits": {"test": {"every": 2}}}
    assert refusal("sklearn_digits", entry) == ("splits.test", "Input should be a valid integer")
    entry = {"splits": {"test": 2}, "files": {"images": {"file": "x"}}}
    assert refusal("sklearn_digits", entry) == ("files", "Extra inputs are not permitted")
