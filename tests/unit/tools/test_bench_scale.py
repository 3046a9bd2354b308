"""The benchmark of scale measures the shards that it says."""

from bench_scale import in_smaller_shards, shards
from dds.names import shard_range
from project import written_out


def images(study):
    """Return every image of every experiment and sigma, as often as a shard holds it."""
    return sorted((folder, i) for folder, name in shards(study) for i in shard_range(name))


def test_smaller_shards_hold_the_same_images():
    study = written_out("paper_exact")
    smaller = in_smaller_shards(study, 10)
    assert images(smaller) == images(study)
    assert len(list(shards(smaller))) >= 10 * len(list(shards(study)))
