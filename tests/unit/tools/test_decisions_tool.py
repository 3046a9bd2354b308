"""The measurement of decisions finds a study's weights and writes what it promises."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

import decisions
from dds.data.packs import Pack, write_pack
from dds.networks.registry import build_classifier
from dds.networks.weights import save_weights
from project import open_study
from study import depends


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that runs the tool in an empty folder, beside weights and images."""
    monkeypatch.chdir(tmp_path)
    entry = depends.model(open_study("digits"), "digits_cnn")["description"]
    save_weights(build_classifier(entry).network, "cnn.pt")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 1, 8, 8), np.uint8)
    labels = np.arange(30) % 10
    write_pack("test.npz", Pack(pixels, labels, labels.astype(str), np.array(entry["classes"])))

    def run(*arguments):
        few = ["--images", "5", "--samples", "20", "--device", "cpu", "--threads", "1"]
        monkeypatch.setattr(sys, "argv", ["decisions.py", "--study", "digits", *few, *arguments])
        decisions.main()

    return run


GIVEN = ["--weights", "digits_cnn=cnn.pt", "--data", "digits=test.npz"]


def test_what_there_are_weights_of_is_measured_and_the_rest_is_named(run, tmp_path, capsys):
    run("--experiments", "undefended", "denoised", *GIVEN)
    folder = tmp_path / "results/digits/decisions"
    samples, cells = (pd.read_csv(folder / f"{name}.csv") for name in ("samples", "cells"))
    assert set(samples["classifier"]) == set(cells["classifier"]) == {"digits_cnn"}
    assert set(samples["sigma"]) == {0.125, 0.25, 0.5}
    assert set(samples["samples"]) == {5 * 22}
    assert {"float32, batches of 50", "bfloat16, batches of 100"} <= set(samples["variant"])
    pairs = set(zip(samples["reference"], samples["variant"], strict=True))
    assert ("float32, batches of 100", "bfloat16, batches of 50") in pairs
    assert ("bfloat16, batches of 100", "bfloat16, batches of 50") in pairs
    assert ("bfloat16, batches of 100", "float32, batches of 50") not in pairs
    # The radii of the tables, as far as 20 samples reach.
    assert set(cells["radius"]) == {0.0, 0.125, 0.25}
    assert (cells["images"] == 5).all()
    record = json.loads((folder / "decisions.json").read_text())
    assert {"torch", "device", "versions", "files", "seed"} <= record.keys()
    assert record["files"].keys() == {"images", "digits_cnn"}
    out, left_out = capsys.readouterr().out, "\n".join(record["left_out"])
    assert "undefended: digits_cnn_gaussian: no weights at results/digits/models/" in left_out
    assert "denoised: no weights of digits_unet at " in left_out
    assert "float32, batches of 100, compiled: certification compiles on GPUs alone" in left_out
    assert all(f"left out: {line}" in out for line in record["left_out"])
    assert "| bfloat16, batches of 50 |" in (folder / "decisions.md").read_text()
    assert out.splitlines()[-1].startswith("decisions: at most ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--experiments", "undefended"], "nothing could be measured; the lines above say why"),
        (["--experiments", "denoise", *GIVEN], "digits has no denoise; allowed: denoised, "),
        (["--weights", "cnn.pt"], "'cnn.pt' is not of the form NAME=FILE"),
        (["--weights", "cnn=cnn.pt"], "digits has no cnn; allowed: .*digits_cnn"),
        (["--data", "digit=test.npz"], "digits has no digit; allowed: digits"),
    ],
)
def test_what_is_wrong_is_one_line(run, arguments, message):
    with pytest.raises(SystemExit, match=f"^error: {message}") as ended:
        run(*arguments)
    assert len(str(ended.value).splitlines()) == 1
