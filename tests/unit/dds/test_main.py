"""What the command line says of certificates whose plan left radii undecided."""

import pandas as pd
import pytest

from dds.__main__ import main


@pytest.fixture
def undecided(tmp_path):
    """Certificates of a sequential plan that decided radii 0.25 and 0.5 alone."""
    path = tmp_path / "undecided.parquet"
    pd.DataFrame(
        {
            "image": range(4), "label": 1, "sigma": 0.25, "classifier": "cnn", "n0": 100,
            "n": 1000, "prediction": 1, "successes": 900, "p_lower": 0.9, "selected": 1,
            "label_successes": 900, "computed": True,
            "radius": [0.3, 0.3, 0.55, 0.55], "correct": True, "lowest_radius": 0.25,
            "decided_radii": "0.25 0.5",
        }
    ).to_parquet(path, index=False)  # fmt: skip
    return path


def test_an_accuracy_at_a_radius_that_is_not_decided_is_not_computed(undecided, capsys):
    assert main(["accuracy", str(undecided), "--radii", "0", "0.25", "0.4", "0.5", "0.6"]) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.split()[3:] == [
        "not", "computed", "100.0", "[39.8,", "100.0]", "not", "computed", "50.0", "[6.8,",
        "93.2]", "not", "computed",
    ]  # fmt: skip


def test_certificates_with_undecided_radii_are_no_log(undecided, tmp_path, capsys):
    assert main(["export-log", str(undecided), str(tmp_path / "logs")]) == 2
    assert "its sampling plan left radii undecided" in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()
