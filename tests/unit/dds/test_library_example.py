"""The examples in docs/library.md run as they stand."""

import re
from pathlib import Path

import numpy as np
from scipy.stats import binomtest, norm

from dds import Certificates

TEXT = (Path(__file__).parents[3] / "docs" / "library.md").read_text(encoding="utf-8")


def test_examples_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "docs/library.md", "exec"), names)
    certificate = names["certificate"]
    assert isinstance(certificate, Certificates)
    assert certificate.estimation.sum() == 1000
    test = binomtest(980, 1000, alternative="greater")
    p_lower = test.proportion_ci(confidence_level=0.999).low
    np.testing.assert_allclose(names["radius"], 0.25 * norm.ppf(p_lower))
    assert "accuracy" in capsys.readouterr().out
