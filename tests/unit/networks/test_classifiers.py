"""A network with the input that it wants, however that is written."""

import numpy as np
import pytest
import torch
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


def test_a_mean_in_the_units_of_bytes_is_warned_of():
    with pytest.warns(UserWarning, match="mean 125.3 is none of images in .*by 255") as told:
        Classifier(nn.Flatten(), mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7])
    assert told[0].filename == __file__
    with torch.device("meta"):
        Classifier(nn.Flatten(), mean=MEAN, std=STD)
