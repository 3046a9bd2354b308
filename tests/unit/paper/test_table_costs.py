"""What sampling took stands beside what it was estimated to take."""

import pytest
from paper_samples import table, texts
from pydantic import ValidationError

from paper.costs import GPUS
from paper.tables import build_table, lay_out, read_table

ENTRY = {
    "kind": "costs",
    "caption": "Some caption.",
    "gpu": "a100",
    "methods": [{"label": "ours", "experiment": "e"}],
}
ESTIMATE = {
    "images": 10,
    "shards": 2,
    "chosen": "curtailed",
    "expected": {"fixed": 2.0, "curtailed": 1.5, "sequential": 0.5},
    "expected_samples": {"fixed": 4000.0, "curtailed": 3000.4, "sequential": 1000.0},
    "expected_flops": {"fixed": 7.2e15, "curtailed": 5.4e15, "sequential": 1.8e15},
}
RECORD = {
    "estimate": ESTIMATE,
    "samples": 1000,
    "seconds": 3600.0,
    "sampling": {"images": 10, "n0": 100, "n": 300, "alpha": 0.001, "plan": "curtailed"},
    "parts": 2,
    "device": ["A100", "H100"],
    "precision": "float32",
    "joules": 7.2e6,
}
ROWS = [
    ["ours", "estimated", "3,000", "5.4 PFLOP", "1.5 h", "2", "45 min", "0.556", "1 TFLOP/s", ""],
    ["", "measured", "1,000", "1.8 PFLOP", "1 h", "2", "30 min", "0.278", "500 GFLOP/s", "2 kWh"],
]


def test_costs_stand_beside_their_estimates():
    numbers = build_table(table(ENTRY), {}, records={"e": RECORD})
    (sheet,) = lay_out("costs", numbers)
    assert texts(sheet) == ROWS
    assert sheet.notes[0] == "10 images, n₀ = 100, n ≤ 300, α = 0.001."
    assert "the rate of a100; measured on A100, H100." in sheet.notes[1]
    no_energy = numbers.assign(kwh=float("nan"))
    assert lay_out("costs", no_energy)[0].columns == sheet.columns[:-1]


def test_an_experiment_that_is_shown_twice_has_its_rows_twice(tmp_path):
    entry = table(ENTRY, methods=[{"label": label, "experiment": "e"} for label in ("1", "01")])
    build_table(entry, {}, records={"e": RECORD}).to_csv(tmp_path / "t.csv", index=False)
    (sheet,) = lay_out(entry, read_table(tmp_path / "t.csv"))
    assert [row[0] for row in texts(sheet)] == ["1", "", "01", ""]
    assert [row[1:] for row in texts(sheet)] == [row[1:] for row in ROWS] * 2


def test_gpus_are_those_whose_rate_is_known():
    assert table({key: ENTRY[key] for key in ENTRY if key != "gpu"}).gpu == "a100-paper"
    for gpu in GPUS:
        assert table(ENTRY, gpu=gpu).gpu == gpu
    with pytest.raises(ValidationError, match="gpu"):
        table(ENTRY, gpu="abacus")


def test_small_costs_are_in_small_units():
    tiny = {"images": 4, "shards": 1, "chosen": "fixed"}
    expected = {"expected": 4.87e-08, "expected_samples": 440.0, "expected_flops": 6.2e9}
    record = RECORD | {
        "estimate": tiny | {key: {"fixed": value} for key, value in expected.items()},
        "samples": 440,
        "seconds": 0.0175,
        "joules": 3.3,
    }
    (sheet,) = lay_out("costs", build_table(table(ENTRY), {}, records={"e": record}))
    assert texts(sheet)[0][2:5] == ["440", "6.2 GFLOP", "0.175 ms"]
    assert texts(sheet)[1][2:] == [
        "440", "6.2 GFLOP", "17.5 ms", "2", "8.75 ms", "25.1 k", "354 GFLOP/s", "0.917 mWh",
    ]  # fmt: skip
