"""The examples in docs/library.md run as they stand."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest, norm
from torch import nn

from dds import Certificates, Predictions

TEXT = (Path(__file__).parents[3] / "docs" / "library.md").read_text(encoding="utf-8")


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Four photographs, and a small network in the place of a published one."""
    timm = pytest.importorskip("timm")
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for number in range(4):
        image = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(image).save(f"photograph{number}.png")
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    network.pretrained_cfg = {"input_size": (3, 8, 8), "mean": [0.5] * 3, "std": [0.5] * 3}
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: network)


def test_examples_run_in_order(photographs, capsys):
    names = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
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
