"""Images of the user's own, in a folder for each class."""

import io
import os
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image


def picture(shade, index=0):
    content = io.BytesIO()
    Image.new("RGB", (9, 8), (shade, shade, index)).save(content, format="PNG")
    return content.getvalue()


@pytest.fixture
def pictures(tmp_path):
    """A zip of train and test folders, with classes b and a; shades tell the class."""
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for split, number in (("train", 6), ("test", 4)):
            for name, shade in (("b", 200), ("a", 10)):
                for index in range(number):
                    archive.writestr(f"{split}/{name}/{index:02d}.png", picture(shade, index))
        archive.writestr("__MACOSX/test/a/00.png", b"nothing")
        archive.writestr("test/notes/about.pdf", b"what Pillow can write and not read")
    return path


@pytest.fixture(scope="module")
def folder(prepare):
    """A function that prepares images in folders."""

    def folder(splits, images, **keys):
        return prepare("image_folder", splits, images=images, **keys)

    return folder


def test_image_folder_draws_splits_from_folders(pictures, folder):
    splits = {
        "train": {"from": "train", "images": 9},
        "validation": {"from": "train/", "images": 3},
        "test": {"from": "test"},
        "few": {"from": "test", "every": 4},
    }
    packs = folder(splits, pictures)
    assert {name: len(pack.images) for name, pack in packs.items()} == {
        "train": 9,
        "validation": 3,
        "test": 8,
        "few": 2,
    }
    assert not set(packs["train"].ids) & set(packs["validation"].ids)
    assert packs["few"].ids.tolist() == ["test/a/00.png", "test/b/00.png"]
    for pack in packs.values():
        assert pack.classes.tolist() == ["a", "b"]
        assert (pack.images[:, 0, 0, 0] == np.array([10, 200])[pack.labels]).all()
    assert len(set(packs["test"].labels[:4])) == 2  # a fair sample, not one class first


def test_image_folder_takes_the_order_of_classes_that_is_given(pictures, folder):
    splits = {"test": {"from": "test"}}
    pack = folder(splits, pictures, classes=["b", "c", "a"], channels=1)["test"]
    assert pack.images.shape == (8, 1, 8, 9)
    assert set(pack.labels) == {0, 2}
    assert pack.classes.tolist() == ["b", "c", "a"]
    with pytest.raises(ValueError, match="folder b is no class; allowed: a, c"):
        folder(splits, pictures, classes=["a", "c"])


def test_image_folder_of_another_layout_is_refused(pictures, tmp_path, folder):
    with pytest.raises(ValueError, match=r"test/a/00.png should lie at CLASS/NAME"):
        folder({"test": 1}, pictures)
    with pytest.raises(
        ValueError,
        match=r"has no images in a folder val; folders with folders of images: test, train$",
    ):
        folder({"test": {"from": "val"}}, pictures)
    images = tmp_path / "sizes" / "a"
    images.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"sizes holds no images"):
        folder({"test": 1}, images.parent)
    Image.new("RGB", (9, 8)).save(images / "1.png")
    Image.new("RGB", (8, 8)).save(images / "2.png")
    with pytest.raises(ValueError, match="alike with resize and crop"):
        folder({"test": 2}, images.parent)
    (images / "2.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"2.png is no readable image"):
        folder({"test": 2}, images.parent)


def test_a_class_is_the_same_however_its_letters_are_written(tmp_path, folder):
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(2):
            archive.writestr(f"te\u0301st\\cafe\u0301\\{index}.png", picture(10, index))
            archive.writestr(f"te\u0301st\\bar\\{index}.png", picture(200, index))
        archive.writestr("__MACOSX/te\u0301st/cafe\u0301/._0.png", b"nothing")
    for split, classes in (("te\u0301st", None), ("t\u00e9st", ["cafe\u0301", "bar"])):
        pack = folder({"test": {"from": split}}, path, classes=classes)["test"]
        assert sorted(pack.classes) == ["bar", "caf\u00e9"]
        assert sorted(pack.ids)[2:] == ["t\u00e9st/caf\u00e9/0.png", "t\u00e9st/caf\u00e9/1.png"]
        assert ((pack.images[:, 0, 0, 0] == 10) == (pack.classes[pack.labels] == "caf\u00e9")).all()


def test_a_tar_that_lost_its_last_images_is_refused(tmp_path, folder):
    path = tmp_path / "pictures.tar"
    with tarfile.open(path, "w") as archive:
        for index in range(8):
            member = tarfile.TarInfo(f"{'ab'[index % 2]}/{index}.png")
            member.size = len(picture(index))
            archive.addfile(member, io.BytesIO(picture(index)))
    with tarfile.open(path) as archive:
        end = archive.getmembers()[6].offset
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(ValueError, match=r"pictures.tar is damaged: its end is missing"):
        folder({"test": {}}, path)


def test_a_pipe_among_the_images_is_refused(tmp_path, folder):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(picture(1))
    os.mkfifo(tmp_path / "a" / "2.png")
    with pytest.raises(ValueError, match=r"a/2.png cannot be read: it is no regular file"):
        folder({"test": 2}, tmp_path)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (
            {"classes": ["a"]},
            ("classes", "Value should have at least 2 items after validation, not 1"),
        ),
        ({"classes": ["a", "a"]}, ("classes", "a comes twice")),
        ({"classes": ["a", 1]}, ("classes.1", "Input should be a valid string")),
        ({"channels": 2}, ("channels", "Input should be 1 or 3")),
        ({"crop": 0}, ("crop", "Input should be greater than or equal to 1")),
        ({"splits": {"test": {"from": 1}}}, ("splits.test.from", "Input should be a valid string")),
    ],
)
def test_keys_out_of_range_are_refused(refusal, change, wanted):
    entry = {"splits": {"test": 1}, "files": {"images": {"file": "x"}}}
    assert refusal("image_folder", entry | change) == wanted
