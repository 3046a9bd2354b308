"""The benchmark runs both ways on the same work and writes what it promises."""

import json
import sys

import bench


def test_bench_writes_a_record_a_pair(tmp_path, monkeypatch, capsys):
    arguments = ["bench.py", "--pairs", "digits", "--repeats", "1", "--batch-size", "10",
                 "--device", "cpu", "--precision", "float32",
                 "--output", str(tmp_path)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", arguments)
    bench.main()
    record = json.loads((tmp_path / "digits.json").read_text())
    assert record["pair"] == "digits"
    assert record["precision"] == "float32"
    assert record["ratio"] == record["ours_per_s"] / record["reference_per_s"]
    assert record["mfu"] == record["ours_flops"] / record["matmul_flops"]
    assert record["batch_size"] == 10
    assert {"device", "reference_per_s", "ours_per_s", "versions"} <= record.keys()
    assert capsys.readouterr().out.splitlines()[-1].startswith("bench: ")
