"""The examples in docs/library.md run as they stand."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest, norm
from torch import nn

pytest.importorskip("diffusers")

from dds import Certificates, Classifier, DiffusionDenoiser, Predictions, cosine_schedule
from dds.networks import hub_classifiers, hub_denoisers

TEXT = (Path(__file__).parents[3] / "docs" / "library.md").read_text(encoding="utf-8")


class NoNoise(nn.Module):
    """Stands for a published denoiser."""

    def forward(self, noisy, time):
        return torch.zeros_like(noisy)


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Photographs in a folder, and small networks in the place of published ones."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for number in range(4):
        image = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(image).save(f"photograph{number}.png")
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)))
    denoiser = DiffusionDenoiser(NoNoise(), cosine_schedule(1000))
    monkeypatch.setattr(hub_classifiers, "hub_classifier", lambda name: classifier)
    monkeypatch.setattr(hub_denoisers, "hub_denoiser", lambda name: denoiser)


def test_examples_run_in_order(photographs, capsys):
    names = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 7
    for block in blocks:
        exec(compile(block, "docs/library.md", "exec"), names)
    certificate = names["certificate"]
    assert isinstance(certificate, Certificates)
    assert certificate.estimation.sum() == 1000
    assert len(names["certificates"]) == 4
    assert isinstance(names["predictions"], Predictions)
    test = binomtest(980, 1000, alternative="greater")
    p_lower = test.proportion_ci(confidence_level=0.999).low
    np.testing.assert_allclose(names["radius"], 0.25 * norm.ppf(p_lower))
    assert "accuracy" in capsys.readouterr().out
