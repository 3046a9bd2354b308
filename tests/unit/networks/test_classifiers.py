"""A network with the input that it wants, however that is written."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dds import Classifier

MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]


@pytest.mark.parametrize("kind", [np.array, torch.tensor, tuple])
def test_mean_and_std_may_be_arrays(kind):
    images, network = torch.rand(2, 3, 4, 4), nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    expected = Classifier(network, mean=MEAN, std=STD)(images)
    torch.testing.assert_close(
        Classifier(network, mean=kind(MEAN), std=kind(STD))(images), expected
    )


@pytest.mark.parametrize(("height", "size"), [(20, 8), (8, 24), (7, 3)])
def test_nearest_is_that_of_pillow(height, size):
    pixels = np.random.default_rng(0).integers(0, 256, (height, height), np.uint8)
    expected = np.array(Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST))
    classifier = Classifier(nn.Identity(), size=size, interpolation="nearest")
    found = classifier(torch.from_numpy(pixels)[None, None].float())
    np.testing.assert_array_equal(found[0, 0], expected)


def test_a_mean_in_the_units_of_bytes_is_warned_of():
    with pytest.warns(UserWarning, match="mean 125.3 is far from images in .*by 255") as told:
        Classifier(nn.Flatten(), mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7])
    assert told[0].filename == __file__
    with torch.device("meta"):
        Classifier(nn.Flatten(), mean=MEAN, std=STD)
