"""Small datasets of made-up images, in the formats in which the real ones are published."""

from __future__ import annotations

import io
import pickle
import pickletools
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def cifar10_archive(path: Path, *, images: int) -> dict[str, np.ndarray]:
    """Write cifar-10-python.tar.gz with so many images a batch; return test images and labels."""
    generator = np.random.default_rng(0)
    test = {}
    with tarfile.open(path, "w:gz") as archive:
        for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
            labels = generator.integers(10, size=images)
            shade = (20 * labels)[:, None] + generator.integers(60, size=(images, 3072))
            test = {"data": shade.astype(np.uint8), "labels": labels}
            batch = {b"data": test["data"], b"labels": labels.tolist(), b"batch_label": b"made up"}
            _add(archive, f"cifar-10-batches-py/{name}", python_2_pickle(batch))
        meta = {b"label_names": [name.encode() for name in CIFAR10], b"num_vis": 3072}
        _add(archive, "cifar-10-batches-py/batches.meta", python_2_pickle(meta))
        _add(archive, "cifar-10-batches-py/readme.html", b"<html>")
    return test


def python_2_pickle(value: object) -> bytes:
    """Pickle as Python 2 did, with NumPy 1: byte strings are plain strings."""
    content = bytearray(pickle.dumps(value, protocol=3).replace(b"numpy._core", b"numpy.core"))
    for opcode, _, position in list(pickletools.genops(bytes(content))):
        if opcode.name in ("SHORT_BINBYTES", "BINBYTES"):
            content[position] = ord({"SHORT_BINBYTES": "U", "BINBYTES": "T"}[opcode.name])
    content[1] = 2
    return bytes(content)


def wnids(count: int) -> list[str]:
    """Return so many WordNet identifiers, not in order."""
    numbers = np.random.default_rng(1).permutation(count)
    return [f"n{1000000 + 7 * number:08d}" for number in numbers]


def imagenet_flat(images: Path, devkit: Path, ids: list[str], *, per_class: int) -> dict[str, str]:
    """Write a tar of images side by side, and the devkit; return each image's identifier."""
    numbers = np.random.default_rng(2).permutation(np.repeat(np.arange(len(ids)), per_class))
    truth = {}
    with tarfile.open(images, "w") as archive:
        for position, number in enumerate(numbers):
            name = f"ILSVRC2012_val_{position + 1:08d}.JPEG"
            _add(archive, name, jpeg(int(number), wide=position % 2 == 0))
            truth[name] = ids[number]
    # As in the real one, identifiers of inner nodes of WordNet follow those of the classes.
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(i + 1, wnid, "a thing", 0) for i, wnid in enumerate(ids)]
    rows += [(len(ids) + 1, "n09999999", "inner node", len(ids))]
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array(rows, dtype=kinds)})
    lines = "".join(f"{number + 1}\n" for number in numbers)
    with tarfile.open(devkit, "w:gz") as archive:
        folder = "ILSVRC2012_devkit_t12/data"
        _add(archive, f"{folder}/ILSVRC2012_validation_ground_truth.txt", lines.encode())
        _add(archive, f"{folder}/meta.mat", meta.getvalue())
    return truth


def imagenet_folders(folder: Path, ids: list[str], *, per_class: int) -> None:
    """Write images into a folder for each identifier."""
    for number, wnid in enumerate(ids):
        (folder / wnid).mkdir(parents=True)
        for image in range(per_class):
            name = f"ILSVRC2012_val_{len(ids) * image + number + 1:08d}.JPEG"
            (folder / wnid / name).write_bytes(jpeg(number, wide=image % 2 == 0))


def jpeg(number: int, *, wide: bool) -> bytes:
    """Return an image whose shade tells its number; every tenth is grey."""
    size = (60, 45) if wide else (45, 70)
    shade = (number % 256, 5 * number % 256, 128)
    image = Image.new("L", size, shade[0]) if number % 10 == 9 else Image.new("RGB", size, shade)
    content = io.BytesIO()
    image.save(content, format="JPEG")
    return content.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
