"""An attack comes out the same however its images are cut into jobs, and however those end."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from dds.data.packs import Pack, write_pack
from dds.networks.registry import build_classifier
from dds.networks.weights import save_weights
from dds.progress import Interrupted
from jobs import shard
from jobs.attack import AttackJob
from jobs.attacked import merge_attacks

CLASSIFIER = {
    "network": "wide_resnet",
    "arguments": {"depth": 10, "width": 1, "base": 8},
    "input": {"channels": 1, "size": 8, "mean": [0.3], "std": [0.4]},
    "classes": ["0", "1", "2"],
}  # fmt: skip
RADII = [0.5, 1.0, 4.0]
ATTACK = {"radii": RADII, "steps": 3, "samples": 4, "restarts": 1, "step_size": None,
          "clip": False, "n": 60, "alpha": 0.01}  # fmt: skip
DEPENDS = {
    "protocol": 1, "seed": 5, "dataset": "d", "split": "test", "classifiers": ["c"],
    "denoiser": "none", "steps": 1, "timestep": "nearest", "precision": "float32",
    "models": {"c": {"description": CLASSIFIER, "layout": {}}}, "attack": ATTACK,
}  # fmt: skip
WANTED = {"expected": DEPENDS, "sigmas": [0.25], "images": 3}


class Files(dict):
    """Named files, as Snakemake gives them."""

    __getattr__ = dict.__getitem__


@pytest.fixture
def attack(tmp_path, monkeypatch):
    """A function that attacks a shard as its rule does, and may be told to stop."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shard, "begun_on", lambda output: None)
    threads = torch.get_num_threads()
    torch.manual_seed(3)
    network = build_classifier(CLASSIFIER).network
    save_weights(network, "c.pt")
    images = np.random.default_rng(1).integers(0, 256, (3, 1, 8, 8), np.uint8)
    names = np.array(["0", "1", "2"])
    write_pack("d.npz", Pack(images, np.array([0, 1, 2]), names, names))

    def run(first=0, last=2, *, stop_after=None, **changes):
        output = Path(f"results/s/attacks/a/sigma_0.25/images_{first:05d}-{last:05d}.parquet")
        output.parent.mkdir(parents=True, exist_ok=True)
        asked = iter(range(10_000))
        stop = (lambda: next(asked) >= stop_after) if stop_after else (lambda: False)
        monkeypatch.setattr(shard, "defer_signals", lambda: stop)
        snakemake = SimpleNamespace(
            threads=threads,
            input=Files(pack="d.npz", c="c.pt"),
            output=Files(attacked=str(output), provenance=str(output.with_suffix(".json"))),
            wildcards=SimpleNamespace(attack="a"),
            params=SimpleNamespace(depends=DEPENDS | {"attack": ATTACK | changes}),
            config={"device": "cpu", "checkpoint_seconds": 0},
        )
        AttackJob(snakemake).make()
        return output

    return run


def test_every_image_is_judged_as_it_is_and_at_every_radius(attack):
    output = attack()
    rows = pd.read_parquet(output)
    assert rows[["image", "radius"]].to_numpy().tolist() == [
        [image, radius] for image in range(3) for radius in (0, *RADII)
    ]
    assert (rows["norm"] <= rows["radius"]).all()
    fell = (rows["prediction"] != rows["label"]) & (rows["prediction"] != -1)
    assert fell.any()
    for _, of_image in rows.assign(fell=fell).groupby("image"):
        after = of_image[of_image["fell"].cummax()]
        # What has fallen stays down, by what was found in the smaller ball.
        assert after.drop(columns="radius").nunique().max() <= 1
    record = json.loads(output.with_suffix(".json").read_text())
    assert (record["images_done"], record["starts"], record["depends"]) == (3, 1, DEPENDS)
    # Others would make every shard that is there again.
    assert rows.attrs.keys() == {
        "attack", "sigma", "precision", "backend", "models", "data", "depends",
    }  # fmt: skip


def test_shards_and_interruptions_change_nothing(attack):
    whole = merge_attacks([attack()], WANTED)
    with pytest.raises(Interrupted, match="stopped after 5 attacks, which are saved"):
        attack(0, 1, stop_after=5)
    first = attack(0, 1)
    assert json.loads(first.with_suffix(".json").read_text())["starts"] == 2
    merged = merge_attacks([first, attack(2, 2)], WANTED)
    pd.testing.assert_frame_equal(merged, whole)


def test_what_is_there_and_right_is_kept(attack, caplog):
    caplog.set_level(logging.INFO)
    output = attack()
    output.with_suffix(".checkpoint").unlink()
    written = output.stat().st_mtime_ns
    attack()
    assert output.stat().st_mtime_ns == written
    assert "is what is wanted; it is kept" in caplog.text
    attack(steps=4)
    assert pd.read_parquet(output).attrs["depends"]["attack"]["steps"] == 4


@pytest.mark.parametrize(
    ("made", "changes", "reason"),
    [
        ([(0, 1)], {}, "an image is missing, or there twice"),
        ([(0, 1), (1, 2)], {}, "an image is missing, or there twice"),
        ([(0, 2)], {"steps": 4}, "made for other settings; remove it and run again"),
    ],
)
def test_shards_that_do_not_fit_are_not_merged(attack, made, changes, reason):
    shards = [attack(*images, **changes) for images in made]
    with pytest.raises(ValueError, match=reason):
        merge_attacks(shards, WANTED)


def test_an_attack_on_more_images_than_there_are_is_one_line(attack):
    with pytest.raises(ValueError, match=r"d.npz has 3 images, the shard needs images_00002-00003"):
        attack(2, 3)
