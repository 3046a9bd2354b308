"""Images as people have them become one array, and mistakes are named with their cure."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from dds.front.images import as_images

BYTES = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)
FLOATS = BYTES.astype(np.float32).transpose(0, 3, 1, 2) / np.float32(255)
PHOTOGRAPHS = [Image.fromarray(image) for image in BYTES]


class Rows:
    """A data set as the hub's: rows by name, with a length and no order of its own."""

    def __init__(self, image="image", label="label"):
        self.names = image, label

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return dict(zip(self.names, (PHOTOGRAPHS[index], index), strict=True))


class Stream(torch.utils.data.IterableDataset):
    """A data set without a length."""

    def __iter__(self):
        return iter(zip(FLOATS, [0, 1, 2], strict=True))


class LongStream(Stream):
    """One that tells its length all the same."""

    def __len__(self):
        return 3


TENSORS = TensorDataset(torch.from_numpy(FLOATS), torch.arange(3))


@pytest.mark.parametrize(
    ("images", "layout", "labels"),
    [
        (FLOATS, "CHW", None),
        (FLOATS.astype(float).tolist(), "CHW", None),
        (torch.from_numpy(FLOATS), "CHW", None),
        (list(torch.from_numpy(FLOATS)), "CHW", None),
        (BYTES, "HWC", None),
        (torch.from_numpy(BYTES), "HWC", None),
        (list(BYTES), "HWC", None),
        (PHOTOGRAPHS, "CHW", None),
        (tuple(PHOTOGRAPHS), "HWC", None),
        (TENSORS, "CHW", [0, 1, 2]),
        (torch.utils.data.Subset(TENSORS, range(3)), "CHW", [0, 1, 2]),
        (DataLoader(TENSORS, batch_size=2), "CHW", [0, 1, 2]),
        (DataLoader(TensorDataset(TENSORS.tensors[0]), batch_size=2), "CHW", None),
        (Rows(), "CHW", [0, 1, 2]),
        (Rows("img", "fine_label"), "CHW", [0, 1, 2]),
        (Stream(), "CHW", [0, 1, 2]),
        (LongStream(), "CHW", [0, 1, 2]),
        (list(TENSORS), "CHW", [0, 1, 2]),
        ([(image, label) for label, image in enumerate(PHOTOGRAPHS)], "CHW", [0, 1, 2]),
        ([{"image": image, "label": 1} for image in FLOATS], "CHW", [1, 1, 1]),
        ({"image": FLOATS, "label": [2, 1, 0]}, "CHW", [2, 1, 0]),
    ],
)
def test_all_forms_are_one_array(images, layout, labels):
    given = as_images(images, layout=layout)
    np.testing.assert_array_equal(given.pixels, FLOATS)
    assert (given.pixels.dtype, given.pixels.flags.c_contiguous) == (np.float32, True)
    assert (given.labels if labels is None else given.labels.tolist()) == labels
    assert not given.is_one


@pytest.mark.parametrize(
    ("image", "layout"), [(FLOATS[0], "CHW"), (BYTES[0], "HWC"), (PHOTOGRAPHS[0], "CHW")]
)
def test_one_image_is_known_as_one(image, layout):
    given = as_images(image, 2, layout)
    np.testing.assert_array_equal(given.pixels, FLOATS[:1])
    assert (given.is_one, given.labels.tolist()) == (True, [2])


def test_bfloat16_images_are_read():
    assert as_images(torch.full((1, 3, 2, 2), 0.5, dtype=torch.bfloat16)).pixels.max() == 0.5


def test_grey_photographs_have_a_channel_and_beside_colour_three():
    grey = PHOTOGRAPHS[0].convert("L")
    assert as_images([grey]).pixels.shape == (1, 1, 6, 5)
    both = as_images([PHOTOGRAPHS[1], grey]).pixels
    assert both.shape == (2, 3, 6, 5)
    np.testing.assert_array_equal(both[1, 0], both[1, 2])


def test_the_classes_of_a_data_set_are_known_through_loaders_and_subsets():
    dataset = TensorDataset(*TENSORS.tensors)
    dataset.classes = ["cat", "dog"]
    subset = torch.utils.data.Subset(dataset, [0])
    for images in (dataset, subset, DataLoader(subset)):
        assert as_images(images).classes == ("cat", "dog")


LOADER_OF_FEW_LABELS = DataLoader(
    TENSORS, batch_size=3, collate_fn=lambda rows: (torch.stack([row[0] for row in rows]), [0, 1])
)


def with_value(value):
    images = FLOATS.copy()
    images[1, 0, 0, 0] = value
    return images


@pytest.mark.parametrize(
    ("images", "options", "problem"),
    [
        ("photographs", {}, "the path photographs; read them, .* run python -m dds certify photo"),
        (["a.png", "b.png"], {}, "the path a.png; read them, as by .* or PIL.Image.open"),
        ([], {}, "there are no images"),
        (FLOATS[:0], {}, "there are no images"),
        (FLOATS, {"layout": "WHC"}, "unknown layout 'WHC'; allowed: CHW, HWC"),
        (BYTES / 255, {}, r'channels last; say layout="HWC"'),
        (FLOATS, {"layout": "HWC"}, r'channels first; say layout="CHW"'),
        (FLOATS[0, 0], {}, r"shape \(images, channels, height, width\) or .* not \(6, 5\)"),
        (FLOATS[0, 0], {"layout": "HWC"}, r"shape \(images, height, width, channels\)"),
        (255 * FLOATS, {}, "image 0 .* from 0 to 248; divide pixels from 0 to 255 by 255"),
        (2 * FLOATS - 1, {}, r"image 0 .*; bring images in \[-1,1\] to \[0,1\] by"),
        ((FLOATS - 0.45) / 0.2, {}, "image 0 .*; leave out their normalisation"),
        (with_value(1.001), {}, "image 1 .*; clip"),
        (with_value(np.nan), {}, "image 1 has NaN"),
        (with_value(np.inf), {}, "image 1 has NaN or infinite"),
        (BYTES.astype(np.int32), {"layout": "HWC"}, r"not int32; divide numbers from 0 to 255"),
        ((BYTES > 99).astype(np.uint8), {"layout": "HWC"}, "bytes that are all 0 or 1"),
        ([PHOTOGRAPHS[0], PHOTOGRAPHS[0].resize((5, 5))], {}, "image 1 has shape .* crop them"),
        ([FLOATS[0], FLOATS[0, :, 1:]], {}, "image 1 has shape .* crop them"),
        ([PHOTOGRAPHS[0].convert("RGBA")], {}, "image 0 has mode RGBA, .* convert it"),
        ([Image.new("I;16", (5, 6))], {}, "image 0 has mode I;16, .* convert it"),
        (TENSORS, {"labels": [0, 1, 2]}, "labels are taken from the data set"),
        (TensorDataset(torch.zeros(0, 3, 4, 4)), {}, "the data set is empty"),
        ([(FLOATS[0], None), (FLOATS[0], 1)].__iter__(), {}, "label nan of image 0 is no"),
        (LOADER_OF_FEW_LABELS, {}, "a batch of the loader has 3 images and 2 labels"),
        (Rows("picture"), {}, "has the keys picture, label; its image must be under one of image"),
        (FLOATS, {"labels": [0, 1]}, "3 images, labels of shape"),
        (FLOATS, {"labels": np.eye(3)}, "3 images, labels of shape"),
        (FLOATS, {"labels": [0, 0.5, 1]}, "label 0.5 of image 1 is no whole number"),
        (FLOATS, {"labels": ["cat", "dog", "cat"]}, "labels must be whole numbers"),
    ],
)
def test_mistakes_are_named_with_the_cure(images, options, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        as_images(images, **options)
    assert "\n" not in str(caught.value)
