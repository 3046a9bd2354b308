"""ImageNet's validation images, laid out as their users have them."""

import io
import tarfile

import numpy as np
import pytest
from samples import imagenet_flat, imagenet_folders, wnids
from scipy.io import savemat

from dds.data.archives import open_archive
from dds.data.sources.imagenet import _check_counts

IDS = wnids(12)
SIZES = {"resize": 40, "crop": 32}


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagenet")
    images, devkit = folder / "val.tar", folder / "devkit.tar.gz"
    return images, devkit, imagenet_flat(images, devkit, IDS, per_class=3)


@pytest.fixture(scope="module")
def imagenet(prepare):
    """A function that prepares ImageNet, made small."""

    def imagenet(splits, **files):
        return prepare("imagenet", splits, **files, **SIZES)

    return imagenet


def test_imagenet_flat_with_the_development_kit(flat, imagenet):
    images, devkit, truth = flat
    pack = imagenet({"test": 36}, images=images, devkit=devkit)["test"]
    assert pack.images.shape == (36, 3, 32, 32)
    assert pack.classes.tolist() == sorted(IDS)
    assert len(set(pack.ids)) == 36
    for label, name in zip(pack.labels, pack.ids, strict=True):
        assert pack.classes[label] == truth[name]


def test_imagenet_every_so_many_is_the_first_of_each_class(flat, imagenet):
    images, devkit, truth = flat
    pack = imagenet({"test": {"every": 3}}, images=images, devkit=devkit)["test"]
    assert pack.labels.tolist() == list(range(12))
    for label, name in zip(pack.labels, pack.ids, strict=True):
        assert name == min(n for n, wnid in truth.items() if wnid == pack.classes[label])


def test_imagenet_in_folders_of_wordnet_identifiers(tmp_path, imagenet):
    imagenet_folders(tmp_path / "val", IDS, per_class=2)
    packs = imagenet({"test": 10, "validation": 14}, images=tmp_path / "val")
    assert packs["test"].classes.tolist() == sorted(IDS)
    assert not set(packs["test"].ids) & set(packs["validation"].ids)
    for label, name in zip(packs["test"].labels, packs["test"].ids, strict=True):
        assert name.split("/")[0] == packs["test"].classes[label]
    above = imagenet({"test": 24}, images=tmp_path)["test"]
    assert set(above.labels) == set(range(12))
    imagenet_folders(tmp_path / "train", IDS, per_class=1)
    with pytest.raises(ValueError, match="holds several sets of images"):
        imagenet({"test": 1}, images=tmp_path)


def test_imagenet_in_folders_of_the_development_kits_numbers(tmp_path, imagenet):
    imagenet_folders(tmp_path / "val", ["1", "2", "10"], per_class=1)
    with pytest.raises(ValueError, match=r"folder 1 is named by a number.*not in the order"):
        imagenet({"test": 1}, images=tmp_path / "val")


def test_imagenet_flat_needs_the_development_kit_of_these_images(flat, tmp_path, imagenet):
    images, devkit, _ = flat
    with pytest.raises(ValueError, match=r"give ILSVRC2012_devkit_t12.tar.gz as devkit"):
        imagenet({"test": 1}, images=images)
    fewer = tmp_path / "fewer.tar"
    imagenet_flat(fewer, tmp_path / "kit.tar.gz", IDS, per_class=1)
    with pytest.raises(ValueError, match=r"has 12 images, .* is of 36"):
        imagenet({"test": 1}, images=fewer, devkit=devkit)


def test_a_missing_or_doubled_image_is_noticed_in_folders(tmp_path, imagenet):
    imagenet_folders(tmp_path, IDS, per_class=3)
    folder = tmp_path / IDS[4]
    first = min(folder.iterdir())
    (folder / "copy.JPEG").write_bytes(first.read_bytes())
    message = rf"class {IDS[4]} has 4 images, 1 more than the 3 of other classes"
    with pytest.raises(ValueError, match=message):
        imagenet({"test": {"every": 3}}, images=tmp_path)
    (folder / "copy.JPEG").unlink()
    first.unlink()
    message = rf"class {IDS[4]} has 2 images, 1 fewer than the 3 of other classes"
    with pytest.raises(ValueError, match=message):
        imagenet({"test": {"every": 3}}, images=tmp_path)


def test_an_image_in_place_of_another_is_noticed_side_by_side(flat, tmp_path, imagenet):
    images, devkit, _ = flat
    with tarfile.open(images) as archive:
        archive.extractall(tmp_path / "val", filter="data")
    (tmp_path / "val" / "ILSVRC2012_val_00000007.JPEG").rename(
        tmp_path / "val" / "copy_of_ILSVRC2012_val_00000008.JPEG"
    )
    message = r"ILSVRC2012_val_00000008.JPEG and copy.*_00000008.JPEG have the same number"
    with pytest.raises(ValueError, match=message):
        imagenet({"test": 1}, images=tmp_path / "val", devkit=devkit)
    (tmp_path / "val" / "copy_of_ILSVRC2012_val_00000008.JPEG").rename(tmp_path / "val" / "a.JPEG")
    with pytest.raises(ValueError, match=r"a.JPEG is not named like ILSVRC2012_val_00000001.JPEG"):
        imagenet({"test": 1}, images=tmp_path / "val", devkit=devkit)


@pytest.mark.parametrize(
    ("per_class", "change", "message"),
    [
        (50, 0, None),
        (10, 0, None),
        (50, -1, r"class n00000007 has 49 images, 1 fewer than the 50 of other classes"),
        (50, 2, r"class n00000007 has 52 images, 2 more than the 50 of other classes"),
        (49, 0, r"has 49 images of each class; the 50,000 validation images .* are 50 of each"),
        (100, 0, r"has 100 images of each class; the 50,000 validation images"),
    ],
)
def test_all_thousand_classes_have_fifty_images_or_are_thinned_out(
    tmp_path, per_class, change, message
):
    names = [
        (f"n{number:08d}/{image}", f"n{number:08d}")
        for number in range(1000)
        for image in range(per_class + (change if number == 7 else 0))
    ]
    with open_archive(tmp_path) as archive:
        if message is None:
            _check_counts(archive, dict(names))
        else:
            with pytest.raises(ValueError, match=message):
                _check_counts(archive, dict(names))


def devkit_of(path, meta, truth):
    data = path / "data"
    data.mkdir(parents=True)
    (data / "meta.mat").write_bytes(meta)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)
    return path


def test_a_development_kit_that_says_something_else_is_named(flat, tmp_path, imagenet):
    images, devkit, _ = flat
    with open_archive(devkit) as kit:
        meta = kit.read(kit.find("meta.mat"))
    truth = "1\n" * 35
    other = io.BytesIO()
    savemat(other, {"synsets": np.arange(3)})
    table = r"meta.mat has no readable table of classes: "
    for name, content, numbers, message in (
        ("unknown", meta, truth + "77\n", r"unknown: meta.mat holds no class 77, which image 36"),
        ("text", meta, truth + "one\n", r"text: meta.mat holds no class one, which image 36"),
        ("other", other.getvalue(), truth, "other: " + table),
        ("page", b"<html>", truth, "page: " + table),
        ("cut", meta[:200], truth, "cut: " + table),
    ):
        kit = devkit_of(tmp_path / name, content, numbers)
        with pytest.raises(ValueError, match=message):
            imagenet({"test": 1}, images=images, devkit=kit)


def test_a_split_of_imagenet_comes_from_no_folder(refusal):
    entry = {"splits": {"test": {"from": "val"}}, "files": {"images": {"file": "x"}}, **SIZES}
    assert refusal("imagenet", entry) == ("splits.test.from", "Extra inputs are not permitted")
    del entry["crop"]
    entry["splits"] = {"test": 1}
    assert refusal("imagenet", entry) == ("crop", "Field required")
