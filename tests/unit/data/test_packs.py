"""Datasets in the formats they are published in, read and laid out as their users expect."""

import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image
from samples import (
    CIFAR10,
    cifar10_archive,
    imagenet_flat,
    imagenet_folders,
    python_2_pickle,
    wnids,
)

from dds.data.packs import (
    Pack,
    check_classes,
    cifar10,
    digits,
    image_folder,
    imagenet,
    read_pack,
    write_pack,
)


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    path = tmp_path_factory.mktemp("cifar") / "cifar-10-python.tar.gz"
    return path, cifar10_archive(path, images=20)


def test_cifar10_test_images_keep_their_order(cifar):
    path, published = cifar
    pack = cifar10({"test": 15}, images=path, seed=1)["test"]
    assert pack.images.shape == (15, 3, 32, 32)
    assert np.array_equal(pack.images.reshape(15, -1), published["data"][:15])
    assert pack.labels.tolist() == published["labels"][:15].tolist()
    assert pack.classes.tolist() == CIFAR10
    assert pack.ids[3] == "test_batch/3"


def test_cifar10_training_images_are_shared_out_by_the_seed(cifar):
    path, _ = cifar
    splits = {"train": 90, "validation": 10}
    packs = cifar10(splits, images=path, seed=1)
    ids = np.concatenate([packs["train"].ids, packs["validation"].ids])
    assert len(set(ids)) == 100
    assert {id.split("/")[0] for id in ids} == {f"data_batch_{i}" for i in range(1, 6)}
    again, other = cifar10(splits, images=path, seed=1), cifar10(splits, images=path, seed=2)
    assert np.array_equal(again["train"].images, packs["train"].images)
    assert set(other["validation"].ids) != set(packs["validation"].ids)


def test_cifar10_reads_the_unpacked_folder_too(cifar, tmp_path):
    path, _ = cifar
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    packed, unpacked = (cifar10({"test": 5}, images=p, seed=1)["test"] for p in (path, tmp_path))
    assert np.array_equal(packed.images, unpacked.images)


def test_cifar10_has_no_more_images_than_there_are(cifar):
    with pytest.raises(ValueError, match=r"split validation asks for 11 images, .* has 10 left"):
        cifar10({"train": 90, "validation": 11}, images=cifar[0], seed=1)
    with pytest.raises(ValueError, match=r"split test asks for 21 images, .* has 20 left"):
        cifar10({"test": 21}, images=cifar[0], seed=1)


class Malicious:
    def __reduce__(self):
        return print, ("this must never run",)


def test_a_batch_cannot_run_code(tmp_path, capsys):
    meta = {"label_names": CIFAR10, "other": Malicious()}
    (tmp_path / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    with pytest.raises(ValueError, match=r"batches.meta is no batch .* asks for .*print"):
        cifar10({"test": 1}, images=tmp_path, seed=1)
    assert capsys.readouterr().out == ""


def test_what_is_not_cifar10_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no .*nowhere"):
        cifar10({"test": 1}, images=tmp_path / "nowhere", seed=1)
    with pytest.raises(ValueError, match=r"holds 0 files batches.meta"):
        cifar10({"test": 1}, images=tmp_path, seed=1)
    (tmp_path / "page.tar.gz").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"neither a folder nor a zip or tar archive"):
        cifar10({"test": 1}, images=tmp_path / "page.tar.gz", seed=1)
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        content = python_2_pickle({b"noise": np.random.default_rng(0).bytes(200_000)})
        member = tarfile.TarInfo("batches.meta")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    (tmp_path / "cut.tar.gz").write_bytes(whole.getvalue()[:100_000])
    with pytest.raises(ValueError, match=r"cut.tar.gz is damaged"):
        cifar10({"test": 1}, images=tmp_path / "cut.tar.gz", seed=1)


IDS = wnids(12)
SIZES = {"resize": 40, "crop": 32}


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagenet")
    images, devkit = folder / "val.tar", folder / "devkit.tar.gz"
    return images, devkit, imagenet_flat(images, devkit, IDS, per_class=3)


def test_imagenet_flat_with_the_development_kit(flat):
    images, devkit, truth = flat
    pack = imagenet({"test": 36}, images=images, devkit=devkit, **SIZES, seed=1)["test"]
    assert pack.images.shape == (36, 3, 32, 32)
    assert pack.classes.tolist() == sorted(IDS)
    assert len(set(pack.ids)) == 36
    for label, name in zip(pack.labels, pack.ids, strict=True):
        assert pack.classes[label] == truth[name]


def test_imagenet_every_so_many_is_the_first_of_each_class(flat):
    images, devkit, truth = flat
    pack = imagenet({"test": {"every": 3}}, images=images, devkit=devkit, **SIZES, seed=1)["test"]
    assert pack.labels.tolist() == list(range(12))
    for label, name in zip(pack.labels, pack.ids, strict=True):
        assert name == min(n for n, wnid in truth.items() if wnid == pack.classes[label])


def test_imagenet_in_folders_of_wordnet_identifiers(tmp_path):
    imagenet_folders(tmp_path / "val", IDS, per_class=2)
    splits = {"test": 10, "validation": 14}
    packs = imagenet(splits, images=tmp_path / "val", **SIZES, seed=1)
    assert packs["test"].classes.tolist() == sorted(IDS)
    assert not set(packs["test"].ids) & set(packs["validation"].ids)
    for label, name in zip(packs["test"].labels, packs["test"].ids, strict=True):
        assert name.split("/")[0] == packs["test"].classes[label]
    above = imagenet({"test": 24}, images=tmp_path, **SIZES, seed=1)["test"]
    assert set(above.labels) == set(range(12))
    imagenet_folders(tmp_path / "train", IDS, per_class=1)
    with pytest.raises(ValueError, match="holds several sets of images"):
        imagenet({"test": 1}, images=tmp_path, **SIZES, seed=1)


def test_imagenet_in_folders_of_the_development_kits_numbers(tmp_path):
    imagenet_folders(tmp_path / "val", ["1", "2", "10"], per_class=1)
    with pytest.raises(ValueError, match=r"folder 1 is named by a number.*not in the order"):
        imagenet({"test": 1}, images=tmp_path / "val", **SIZES, seed=1)


def test_imagenet_flat_needs_the_development_kit_of_these_images(flat, tmp_path):
    images, devkit, _ = flat
    with pytest.raises(ValueError, match=r"give ILSVRC2012_devkit_t12.tar.gz as devkit"):
        imagenet({"test": 1}, images=images, **SIZES, seed=1)
    fewer = tmp_path / "fewer.tar"
    imagenet_flat(fewer, tmp_path / "kit.tar.gz", IDS, per_class=1)
    with pytest.raises(ValueError, match=r"has 12 images, .* is of 36"):
        imagenet({"test": 1}, images=fewer, devkit=devkit, **SIZES, seed=1)


@pytest.mark.parametrize("size", [(60, 45), (45, 70), (53, 53), (40, 47), (500, 333)])
def test_resize_and_crop_are_torchvisions(tmp_path, size):
    from torchvision.transforms import CenterCrop, Compose, Resize

    noise = np.random.default_rng(0).integers(256, size=(size[1], size[0], 3)).astype(np.uint8)
    image = Image.fromarray(noise)
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "1.png")
    pack = image_folder({"test": 1}, images=tmp_path, resize=40, crop=33, seed=1)["test"]
    wanted = np.asarray(Compose([Resize(40), CenterCrop(33)])(image))
    assert np.array_equal(pack.images[0].transpose(1, 2, 0), wanted)


@pytest.fixture
def pictures(tmp_path):
    """A zip of train and test folders, with classes b and a; shades tell the class."""
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for split, number in (("train", 6), ("test", 4)):
            for name, shade in (("b", 200), ("a", 10)):
                for index in range(number):
                    content = io.BytesIO()
                    Image.new("RGB", (9, 8), (shade, shade, index)).save(content, format="PNG")
                    archive.writestr(f"{split}/{name}/{index:02d}.png", content.getvalue())
        archive.writestr("__MACOSX/test/a/00.png", b"nothing")
    return path


def test_image_folder_draws_splits_from_folders(pictures):
    splits = {
        "train": {"from": "train", "images": 9},
        "validation": {"from": "train", "images": 3},
        "test": {"from": "test"},
        "few": {"from": "test", "every": 4},
    }
    packs = image_folder(splits, images=pictures, seed=1)
    assert {name: len(pack.images) for name, pack in packs.items()} == {
        "train": 9, "validation": 3, "test": 8, "few": 2
    }  # fmt: skip
    assert not set(packs["train"].ids) & set(packs["validation"].ids)
    assert packs["few"].ids.tolist() == ["test/a/00.png", "test/b/00.png"]
    for pack in packs.values():
        assert pack.classes.tolist() == ["a", "b"]
        assert (pack.images[:, 0, 0, 0] == np.array([10, 200])[pack.labels]).all()
    assert len(set(packs["test"].labels[:4])) == 2  # a fair sample, not one class first


def test_image_folder_takes_the_order_of_classes_that_is_given(pictures):
    splits = {"test": {"from": "test"}}
    pack = image_folder(splits, images=pictures, classes=["b", "c", "a"], channels=1, seed=1)
    assert pack["test"].images.shape == (8, 1, 8, 9)
    assert set(pack["test"].labels) == {0, 2}
    with pytest.raises(ValueError, match="folder b is no class; allowed: a, c"):
        image_folder(splits, images=pictures, classes=["a", "c"], seed=1)


def test_image_folder_of_another_layout_is_refused(pictures, tmp_path):
    with pytest.raises(ValueError, match=r"test/a/00.png should lie at CLASS/NAME"):
        image_folder({"test": 1}, images=pictures, seed=1)
    with pytest.raises(ValueError, match=r"has no images in a folder val"):
        image_folder({"test": {"from": "val"}}, images=pictures, seed=1)
    folder = tmp_path / "sizes" / "a"
    folder.mkdir(parents=True)
    Image.new("RGB", (9, 8)).save(folder / "1.png")
    Image.new("RGB", (8, 8)).save(folder / "2.png")
    with pytest.raises(ValueError, match="alike with resize and crop"):
        image_folder({"test": 2}, images=folder.parent, seed=1)
    (folder / "2.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"2.png is no readable image"):
        image_folder({"test": 2}, images=folder.parent, seed=1)


def test_a_pack_comes_back_from_its_file(cifar, tmp_path):
    pack = cifar10({"test": 3}, images=cifar[0], seed=1)["test"]
    write_pack(tmp_path / "test.npz", pack)
    stored = read_pack(tmp_path / "test.npz")
    for name in ("images", "labels", "ids", "classes"):
        assert np.array_equal(getattr(stored, name), getattr(pack, name))


def test_classes_are_compared_by_name_and_in_order():
    check_classes(["cat", "dog"], np.array(["cat", "dog"]), of="vit")
    with pytest.raises(ValueError, match=r"class 0 of vit is 'dog', of the dataset 'cat'"):
        check_classes(["dog", "cat"], np.array(["cat", "dog"]), of="vit")
    with pytest.raises(ValueError, match=r"vit has 1 classes, the dataset has 2"):
        check_classes(["cat"], ["cat", "dog"], of="vit")


def test_digits_are_split_by_the_seed_and_by_class():
    packs = digits({"train": 1000, "test": 797}, seed=1)
    ids = np.concatenate([pack.ids for pack in packs.values()])
    assert len(set(ids)) == len(ids) == 1797
    for pack in packs.values():
        assert pack.images.shape == (len(pack.labels), 1, 8, 8)
        assert (pack.images.min(), pack.images.max()) == (0, 255)
        assert np.bincount(pack.labels) / len(pack.labels) == pytest.approx(0.1, abs=0.01)
    assert np.array_equal(digits({"train": 1000}, seed=1)["train"].ids, packs["train"].ids)
    assert not np.array_equal(digits({"train": 1000}, seed=2)["train"].ids, packs["train"].ids)
    with pytest.raises(ValueError, match="splits ask for 1798 images, digits has 1797"):
        digits({"train": 1000, "test": 798}, seed=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((2, 1, 8, 8))}, "images must be uint8 of shape"),
        ({"labels": np.array([0])}, "2 images, 1 labels and 2 ids do not go together"),
        ({"labels": np.array([0, 2])}, "labels must lie in 0 to 1"),
    ],
)
def test_a_pack_that_does_not_fit_together_is_refused(change, message):
    parts = {
        "images": np.zeros((2, 1, 8, 8), np.uint8), "labels": np.array([0, 1]),
        "ids": np.array(["a", "b"]), "classes": np.array(["cat", "dog"]),
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        Pack(**parts | change)


def test_what_is_no_pack_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no prepared data at"):
        read_pack(tmp_path / "absent.npz")
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad.npz is not a data pack"):
        read_pack(tmp_path / "bad.npz")


def test_images_too_small_to_crop_are_refused(pictures):
    with pytest.raises(ValueError, match=r"cannot crop 99 pixels out of an image of \(9, 8\)"):
        image_folder({"test": {"from": "test"}}, images=pictures, crop=99, seed=1)
