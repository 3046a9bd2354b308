"""Names of shards and noise levels, which are names of files."""

import pytest

from dds.names import shard_names, shard_range, sigma_name


def test_shards_hold_every_image_once():
    names = shard_names(1001, 500)
    assert names == ["images_00000-00499", "images_00500-00999", "images_01000-01000"]
    assert [image for name in names for image in shard_range(name)] == list(range(1001))


@pytest.mark.parametrize(("images", "size"), [(0, 1), (1, 0)])
def test_there_is_no_empty_shard(images, size):
    with pytest.raises(ValueError, match="must be at least 1"):
        shard_names(images, size)


def test_what_names_no_shard_is_refused():
    with pytest.raises(ValueError, match="'images_1' is not a shard; expected a name like"):
        shard_range("images_1")
    with pytest.raises(ValueError, match="is empty: its last image comes before its first"):
        shard_range("images_00005-00004")


def test_a_noise_level_has_one_name_however_it_is_written():
    assert {sigma_name(sigma) for sigma in (1, 1.0)} == {"sigma_1"}
    assert sigma_name(0.25) == "sigma_0.25"
