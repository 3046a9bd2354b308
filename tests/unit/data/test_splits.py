"""Splits: how an entry says them, and the images that they get."""

import pytest

from dds.data import splits
from dds.data.sources import SOURCES


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (
            {"Test": 1},
            (
                "splits",
                "Test is no name; a name has lower-case letters, digits and _, "
                "at most 100 of them, and starts with a letter",
            ),
        ),
        (
            {"test": {"every": 5, "images": 2}},
            ("splits.test", "takes either images or every, not both"),
        ),
        ({"test": {"evry": 5}}, ("splits.test.evry", "Extra inputs are not permitted")),
        (
            {"test": {"every": 0}},
            ("splits.test.every", "Input should be greater than or equal to 1"),
        ),
        ({"test": 0}, ("splits.test", "Input should be greater than or equal to 1")),
        ({"test": 1.5}, ("splits.test", "Input should be a valid integer")),
        ({"test": True}, ("splits.test", "Input should be a valid integer")),
        ({"test": "ten"}, ("splits.test", "Input should be a valid integer")),
        ({"test": None}, ("splits.test", "Input should be a valid integer")),
        ({}, ("splits", "Dictionary should have at least 1 item after validation, not 0")),
    ],
)
def test_an_error_is_that_of_what_was_meant(refusal, change, wanted):
    files = {"images": {"file": "val"}}
    entry = {"splits": change, "files": files, "resize": 40, "crop": 32}
    assert refusal("imagenet", entry) == wanted
    assert refusal("image_folder", entry) == wanted


def test_a_seed_chooses_the_same_images_for_ever():
    chosen = splits.choose(10, {"train": 4, "test": 3}, seed=1, path="pets")
    assert {name: rows.tolist() for name, rows in chosen.items()} == {
        "train": [8, 3, 2, 6],
        "test": [0, 4, 7],
    }


def test_a_split_may_be_a_choice_already():
    choice = splits.Choice(every=2)
    kind = SOURCES["imagenet"].Keys
    entry = {"files": {"images": {"file": "val"}}, "resize": 40, "crop": 32}
    assert kind(splits={"test": choice}, **entry).splits == {"test": choice}
