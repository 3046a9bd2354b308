"""CIFAR-10 in the format it is published in, and what is not."""

import io
import pickle
import tarfile

import numpy as np
import pytest
from samples import CIFAR10, cifar10_archive, python_2_pickle


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    path = tmp_path_factory.mktemp("cifar") / "cifar-10-python.tar.gz"
    return path, cifar10_archive(path, images=20)


def test_cifar10_test_images_keep_their_order(cifar, prepare):
    path, published = cifar
    pack = prepare("cifar10", {"test": 15}, images=path)["test"]
    assert pack.images.shape == (15, 3, 32, 32)
    assert np.array_equal(pack.images.reshape(15, -1), published["data"][:15])
    assert pack.labels.tolist() == published["labels"][:15].tolist()
    assert pack.classes.tolist() == CIFAR10
    assert pack.ids[3] == "test_batch/3"


def test_cifar10_training_images_are_shared_out_by_the_seed(cifar, prepare):
    splits = {"train": 90, "validation": 10}
    packs, again, other = (
        prepare("cifar10", splits, images=cifar[0], seed=seed) for seed in (1, 1, 2)
    )
    ids = np.concatenate([packs["train"].ids, packs["validation"].ids])
    assert len(set(ids)) == 100
    assert {id.split("/")[0] for id in ids} == {f"data_batch_{i}" for i in range(1, 6)}
    assert np.array_equal(again["train"].images, packs["train"].images)
    assert set(other["validation"].ids) != set(packs["validation"].ids)


def test_cifar10_reads_the_unpacked_folder_too(cifar, tmp_path, prepare):
    path, _ = cifar
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    packed, unpacked = (
        prepare("cifar10", {"test": 5}, images=images)["test"] for images in (path, tmp_path)
    )
    assert np.array_equal(packed.images, unpacked.images)


def test_cifar10_has_no_more_images_than_there_are(cifar, prepare):
    with pytest.raises(ValueError, match=r"split validation asks for 11 images, .* has 10 left"):
        prepare("cifar10", {"train": 90, "validation": 11}, images=cifar[0])
    with pytest.raises(ValueError, match=r"split test asks for 21 images, .* has 20 left"):
        prepare("cifar10", {"test": 21}, images=cifar[0])


def test_cifar10_has_three_splits_of_so_many_images(refusal):
    entry = {"files": {"images": {"file": "x"}}, "splits": {"valid": 10}}
    wanted = "valid is no split of CIFAR-10; allowed: train, validation, test"
    assert refusal("cifar10", entry) == ("splits", wanted)
    entry["splits"] = {"train": {"every": 2}}
    wanted = "train is a number of images; every is for test alone"
    assert refusal("cifar10", entry) == ("splits", wanted)


def test_cifar10_gives_every_so_many_th_test_image(cifar, prepare):
    path, _ = cifar
    whole = prepare("cifar10", {"test": 20}, images=path)["test"]
    some = prepare("cifar10", {"test": {"every": 8}}, images=path)["test"]
    assert np.array_equal(some.images, whole.images[::8])
    assert np.array_equal(some.labels, whole.labels[::8])
    assert len(some.images) == 3


class Malicious:
    def __reduce__(self):
        return print, ("this must never run",)


def test_a_batch_cannot_run_code(tmp_path, capsys, prepare):
    meta = {"label_names": CIFAR10, "other": Malicious()}
    (tmp_path / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    with pytest.raises(ValueError, match=r"batches.meta is no batch .* asks for .*print"):
        prepare("cifar10", {"test": 1}, images=tmp_path)
    assert capsys.readouterr().out == ""


def test_what_is_not_cifar10_is_refused(tmp_path, prepare):
    with pytest.raises(FileNotFoundError, match="there is no .*nowhere"):
        prepare("cifar10", {"test": 1}, images=tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds 0 files batches.meta"):
        prepare("cifar10", {"test": 1}, images=tmp_path)
    (tmp_path / "page.tar.gz").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"neither a folder nor a zip or tar archive"):
        prepare("cifar10", {"test": 1}, images=tmp_path / "page.tar.gz")
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        content = python_2_pickle({b"noise": np.random.default_rng(0).bytes(200_000)})
        member = tarfile.TarInfo("batches.meta")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    (tmp_path / "cut.tar.gz").write_bytes(whole.getvalue()[:100_000])
    with pytest.raises(ValueError, match=r"cut.tar.gz is damaged"):
        prepare("cifar10", {"test": 1}, images=tmp_path / "cut.tar.gz")


DATA = np.zeros((2, 3072), np.uint8)
META, BATCH = {b"label_names": [b"cat", b"dog"]}, {b"data": DATA, b"labels": [0, 1]}
NO_DATA = "its data are not uint8 of shape (images, 3072)"
NO_LABELS = "its labels are not 2 whole numbers from 0 to 1"
NO_NAMES = "its label_names are not a list of text"


@pytest.fixture
def reason(tmp_path, prepare):
    """A function that returns why a batch, or what names the classes, is refused."""

    def reason(name, stored):
        for file, content in ({"batches.meta": META, "test_batch": BATCH} | {name: stored}).items():
            (tmp_path / file).write_bytes(python_2_pickle(content))
        with pytest.raises(ValueError, match="is no batch") as caught:
            prepare("cifar10", {"test": 1}, images=tmp_path)
        beginning, text = str(caught.value).split(" is no batch of CIFAR-10: ")
        assert beginning == f"{tmp_path}: {name}"
        return text

    return reason


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({b"data": None}, NO_DATA),
        ({b"data": [0] * 3072}, NO_DATA),
        ({b"data": DATA.astype(float)}, NO_DATA),
        ({b"data": DATA[:, :3000]}, NO_DATA),
        ({b"data": DATA[0]}, NO_DATA),
        ({b"labels": None}, NO_LABELS),
        ({b"labels": [0]}, NO_LABELS),
        ({b"labels": [0, 1.7]}, NO_LABELS),
        ({b"labels": [0, 1.0]}, NO_LABELS),
        ({b"labels": [0, True]}, NO_LABELS),
        ({b"labels": [0, "1"]}, NO_LABELS),
        ({b"labels": [0, 2]}, NO_LABELS),
        ({b"labels": [0, -1]}, NO_LABELS),
        ({b"labels": [[0], [1]]}, NO_LABELS),
        ({b"labels": np.array(3)}, NO_LABELS),
        ({b"labels": np.array([0.0, 1.0])}, NO_LABELS),
        ({b"labels": {0: 0, 1: 1}}, NO_LABELS),
    ],
)
def test_a_batch_with_other_fields_is_refused(reason, change, wanted):
    assert reason("test_batch", BATCH | change) == wanted


@pytest.mark.parametrize(("field", "wanted"), [(b"data", NO_DATA), (b"labels", NO_LABELS)])
def test_a_batch_without_a_field_is_refused(reason, field, wanted):
    assert reason("test_batch", {key: BATCH[key] for key in BATCH if key != field}) == wanted


@pytest.mark.parametrize(
    "names", [None, b"cat", [], [1, 2], [b"cat", 7], [b"cat", b"\xff"], {b"cat": 1}]
)
def test_class_names_must_be_text(reason, names):
    assert reason("batches.meta", {b"label_names": names}) == NO_NAMES
    assert reason("batches.meta", {}) == NO_NAMES


def test_class_names_come_once(reason):
    twice = {b"label_names": [b"cat", b"cat"]}
    assert reason("batches.meta", twice) == "its label_names hold a name twice"


@pytest.mark.parametrize("name", ["batches.meta", "test_batch"])
def test_what_is_no_mapping_is_refused(reason, name):
    assert reason(name, [1, 2]) == "it holds a list, not a mapping"
    assert reason(name, 77) == "it holds a int, not a mapping"


def test_labels_may_be_an_array(tmp_path, prepare):
    for file, content in (
        ("batches.meta", META),
        ("test_batch", BATCH | {b"labels": np.ones(2, np.uint8)}),
    ):
        (tmp_path / file).write_bytes(python_2_pickle(content))
    pack = prepare("cifar10", {"test": 2}, images=tmp_path)["test"]
    assert (pack.labels.dtype, pack.labels.tolist()) == (np.int64, [1, 1])
