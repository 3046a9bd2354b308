"""Packs, in memory and on disk."""

import numpy as np
import pytest

from dds.data.packs import Pack, check_classes, check_images, read_pack, write_pack

PARTS = {
    "images": np.zeros((2, 1, 8, 8), np.uint8),
    "labels": np.array([0, 1]),
    "ids": np.array(["a", "b"]),
    "classes": np.array(["cat", "dog"]),
}


def test_a_pack_comes_back_from_its_file(tmp_path):
    pack = Pack(**PARTS)
    write_pack(tmp_path / "test.npz", pack)
    stored = read_pack(tmp_path / "test.npz")
    for name in PARTS:
        assert np.array_equal(getattr(stored, name), getattr(pack, name))


def test_images_are_what_their_source_says():
    check_images(Pack(**PARTS), 1, (8, 8))
    check_images(Pack(**PARTS), 1, None)
    last = Pack(**PARTS | {"images": np.zeros((2, 8, 8, 1), np.uint8)})
    for size in ((8, 8), None):
        with pytest.raises(ValueError, match=r"source says images of shape \(1, 8, .*\(8, 8, 1"):
            check_images(last, 1, size)


def test_classes_are_compared_by_name_and_in_order():
    check_classes(["cat", "dog"], np.array(["cat", "dog"]), of="vit")
    with pytest.raises(ValueError, match=r"class 0 of vit is 'dog', of the dataset 'cat'"):
        check_classes(["dog", "cat"], np.array(["cat", "dog"]), of="vit")
    with pytest.raises(ValueError, match=r"vit has 1 classes, the dataset has 2"):
        check_classes(["cat"], ["cat", "dog"], of="vit")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((2, 1, 8, 8))}, "images must be uint8 of shape"),
        ({"labels": np.array([0])}, "2 images, 1 labels and 2 ids do not go together"),
        ({"labels": np.array([0, 2])}, "labels must lie in 0 to 1"),
        ({"labels": np.array([0, 0.7])}, "labels must be whole numbers, not float64"),
        ({"classes": np.array([b"cat", b"dog"])}, r"classes must be text, not \|S3"),
        ({"ids": np.array([1, 2])}, "ids must be text, not int64"),
    ],
)
def test_a_pack_that_does_not_fit_together_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Pack(**PARTS | change)


def write_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"nothing"),
        lambda path: path.write_bytes(b""),
        lambda path: np.savez(path, images=np.zeros(3)),
        write_array,
    ],
    ids=["other", "empty", "parts", "array"],
)
def test_what_is_no_pack_is_refused(tmp_path, write):
    with pytest.raises(FileNotFoundError, match="no prepared data at"):
        read_pack(tmp_path / "bad.npz")
    write(tmp_path / "bad.npz")
    with pytest.raises(ValueError, match=r"bad.npz is not a data pack"):
        read_pack(tmp_path / "bad.npz")
