"""The benchmark of scale measures the shards that it says."""

import yaml

from bench_scale import ROOT, in_smaller_shards, shards
from dds.names import shard_range


def images(study):
    """Return every image of every experiment and sigma, as often as a shard holds it."""
    return sorted((folder, i) for folder, name in shards(study) for i in shard_range(name))


def test_smaller_shards_hold_the_same_images():
    study = yaml.safe_load((ROOT / "config/studies/paper.yaml").read_text("utf-8"))
    smaller = in_smaller_shards(study, 10)
    assert images(smaller) == images(study)
    assert len(list(shards(smaller))) >= 10 * len(list(shards(study)))
