"""Datasets as packs: uint8 images, labels and where each image came from, in one file.

One more dataset is one function that returns a pack for every split, and one line in
`SOURCES`.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dds.data.archives import Archive, open_archive
from dds.files import atomic_path
from dds.progress import Progress
from dds.seeds import stream_seed

#: How many images a split gets, or which: keys ``from``, ``images``, ``every``.
Split = int | Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Pack:
    """A split of a dataset.

    Attributes
    ----------
    images : ndarray of uint8, shape (images, channels, height, width)
        Pixels; 255 is 1.0.
    labels : ndarray of int64, shape (images,)
        Index of each image's class in `classes`.
    ids : ndarray of str, shape (images,)
        Where in the source each image comes from.
    classes : ndarray of str, shape (classes,)
        Names of the classes.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    classes: np.ndarray

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ValueError(
                "images must be uint8 of shape (images, channels, height, width), "
                f"not {self.images.dtype} {self.images.shape}"
            )
        if not len(self.images) == len(self.labels) == len(self.ids):
            raise ValueError(
                f"{len(self.images)} images, {len(self.labels)} labels and {len(self.ids)} ids "
                "do not go together"
            )
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ValueError(f"labels must lie in 0 to {len(self.classes) - 1}")

    def pixels(self, indices: Sequence[int]) -> np.ndarray:
        """Return images as float32 in [0,1], shape (indices, channels, height, width)."""
        return self.images[np.asarray(indices)].astype(np.float32) / 255


def write_pack(path: str | Path, pack: Pack) -> None:
    """Write a pack, atomically."""
    with atomic_path(path) as temporary:
        np.savez(
            temporary, images=pack.images, labels=pack.labels, ids=pack.ids, classes=pack.classes
        )


def read_pack(path: str | Path) -> Pack:
    """Read a pack.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is none, or the file is no pack.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Pack(*(stored[key] for key in ("images", "labels", "ids", "classes")))
    except FileNotFoundError:
        raise FileNotFoundError(f"no prepared data at {path}") from None
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a data pack: {error}") from error


def digits(splits: Mapping[str, int], *, seed: int) -> dict[str, Pack]:
    """Split scikit-learn's 1,797 handwritten digits, stratified by class.

    Parameters
    ----------
    splits : mapping of str to int
        How many images each split gets. The order within a split is random, so that
        its first images are a fair sample of it.
    seed : int
        Seed of the split.

    Returns
    -------
    dict of str to Pack
        Images of shape (images, 1, 8, 8): 16 grey levels, stretched to 0 to 255.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    source = load_digits()
    wanted = sum(splits.values())
    if wanted > len(source.images):
        raise ValueError(f"splits ask for {wanted} images, digits has {len(source.images)}")
    images = np.round(source.images * 255 / 16).astype(np.uint8)[:, None]
    labels = source.target.astype(np.int64)
    rest = np.arange(len(images))
    packs = {}
    for number, (name, size) in enumerate(splits.items()):
        if size < len(rest):
            rest, chosen = train_test_split(
                rest, test_size=size, stratify=labels[rest], random_state=seed + number
            )
        else:
            rest, chosen = rest[:0], np.random.default_rng(seed).permutation(rest)
        ids = np.array([f"load_digits/{index}" for index in chosen])
        packs[name] = Pack(images[chosen], labels[chosen], ids, source.target_names.astype(str))
    return packs


def cifar10(splits: Mapping[str, int], *, images: str | Path, seed: int) -> dict[str, Pack]:
    """Read CIFAR-10 (Krizhevsky, 2009) in its version for Python.

    Parameters
    ----------
    splits : mapping of str to int
        How many images ``train``, ``validation`` and ``test`` get. The first two share
        the 50,000 training images, shuffled; ``test`` has test images in their order.
    images : str or Path
        cifar-10-python.tar.gz, or the folder that it unpacks to.
    seed : int
        Seed of the shuffling.

    Returns
    -------
    dict of str to Pack
        Images of shape (images, 3, 32, 32).

    Raises
    ------
    FileNotFoundError, ValueError
        If there are no such files, or fewer images than wanted.
    """
    with open_archive(images) as archive:
        names = _unpickle(archive, "batches.meta")["label_names"]
        classes = np.array([_text(name) for name in names])
        training = {name: {"images": splits[name]} for name in splits if name != "test"}
        packs = {}
        if training:
            pixels, labels, ids = _read_batches(archive, [f"data_batch_{i}" for i in range(1, 6)])
            for name, rows in _choose(len(pixels), training, seed, archive).items():
                packs[name] = Pack(pixels[rows], labels[rows], ids[rows], classes)
        if "test" in splits:
            pixels, labels, ids = _read_batches(archive, ["test_batch"])
            rows = slice(_at_most(splits["test"], len(pixels), "test", archive))
            packs["test"] = Pack(pixels[rows], labels[rows], ids[rows], classes)
    return packs


def imagenet(
    splits: Mapping[str, Split],
    *,
    images: str | Path,
    devkit: str | Path | None = None,
    resize: int,
    crop: int,
    seed: int,
) -> dict[str, Pack]:
    """Read some of the validation images of ImageNet (ILSVRC 2012).

    The classes are the WordNet identifiers, sorted. Images are ordered by class and
    then by name, which is what ``every`` counts in: every 50th image is the first of
    each class.

    Parameters
    ----------
    splits : mapping of str to int or mapping
        How many images a split gets, chosen at random, or ``{"every": 50}``. Splits of
        random images have none in common.
    images : str or Path
        A folder or archive with the images in folders named by WordNet identifiers; or
        with all images side by side, which needs `devkit`.
    devkit : str or Path, optional
        ILSVRC2012_devkit_t12.tar.gz, or the folder that it unpacks to.
    resize, crop : int
        The shorter side is resized to `resize` pixels (bilinear, antialiased), and the
        centre of `crop` x `crop` pixels is kept, as torchvision's Resize and CenterCrop do.
    seed : int
        Seed of the random choice.

    Returns
    -------
    dict of str to Pack
        Images of shape (images, 3, crop, crop).

    Raises
    ------
    FileNotFoundError, ValueError
        If the files are not there, or not laid out so that the classes are known.
    """
    with open_archive(images) as archive:
        wnids = _imagenet_classes(archive, devkit)
        names = np.array(sorted(wnids, key=lambda name: (wnids[name], PurePosixPath(name).name)))
        classes, labels = np.unique([wnids[name] for name in names], return_inverse=True)
        return {
            split: Pack(
                _decode(archive, names[rows], 3, resize, crop), labels[rows], names[rows], classes
            )
            for split, rows in _choose(len(names), splits, seed, archive).items()
        }


def image_folder(
    splits: Mapping[str, Split],
    *,
    images: str | Path,
    classes: Sequence[str] | None = None,
    channels: int = 3,
    resize: int | None = None,
    crop: int | None = None,
    seed: int,
) -> dict[str, Pack]:
    """Read images that lie in a folder for each class.

    Parameters
    ----------
    splits : mapping of str to int or mapping
        How many images a split gets, chosen at random; or a mapping: ``from``, the
        folder inside `images` that holds the folders of classes; ``images``, how many
        to choose from it at random, by default all; ``every``, instead of that, takes
        every so many-th image, ordered by class and name. Splits of random images of a
        folder have none in common.
    images : str or Path
        A folder, zip or tar archive of ``CLASS/NAME.png`` (or any other format that
        Pillow reads), or ``FROM/CLASS/NAME.png``.
    classes : sequence of str, optional
        Order of the classes, by the names of their folders; by default sorted.
    channels : {3, 1}, optional
        Colour or grey.
    resize, crop : int, optional
        As in `imagenet`; by default images stay as they are.
    seed : int
        Seed of the random choice.

    Returns
    -------
    dict of str to Pack
        Images of shape (images, channels, height, width).

    Raises
    ------
    FileNotFoundError, ValueError
        If files are not there, differ in size or lie elsewhere, or a class is unknown.
    """
    rules = {
        split: {"images": rule} if isinstance(rule, int) else rule for split, rule in splits.items()
    }
    packs = {}
    with open_archive(images) as archive:
        folders = {rule.get("from", "").strip("/") for rule in rules.values()}
        sources = {folder: _by_class(archive, folder) for folder in folders}
        found = sorted({name for source in sources.values() for name in source.values()})
        classes = found if classes is None else list(classes)
        if unknown := [name for name in found if name not in classes]:
            raise ValueError(
                f"{archive.path}: folder {unknown[0]} is no class; allowed: {', '.join(classes)}"
            )
        for folder, source in sources.items():
            names = np.array(sorted(source, key=lambda name: (classes.index(source[name]), name)))
            labels = np.array([classes.index(source[name]) for name in names])
            here = {
                s: rule for s, rule in rules.items() if rule.get("from", "").strip("/") == folder
            }
            for split, rows in _choose(len(names), here, seed, archive).items():
                pixels = _decode(archive, names[rows], channels, resize, crop)
                packs[split] = Pack(pixels, labels[rows], names[rows], np.array(classes))
    return packs


#: Functions that prepare a dataset, by the name of its source in a study file.
SOURCES: dict[str, Callable[..., dict[str, Pack]]] = {
    "sklearn_digits": digits,
    "cifar10": cifar10,
    "imagenet": imagenet,
    "image_folder": image_folder,
}


def check_classes(
    classes: Sequence[str], expected: Sequence[str], *, of: str, by: str = "the dataset"
) -> None:
    """Make sure that two lists of class names are the same, in the same order.

    Parameters
    ----------
    classes, expected : sequence of str
        The names.
    of, by : str
        Whose names `classes` and `expected` are, for the error.

    Raises
    ------
    ValueError
        Naming the first class that differs.
    """
    if len(classes) != len(expected):
        raise ValueError(f"{of} has {len(classes)} classes, {by} has {len(expected)}")
    for index, (name, other) in enumerate(zip(classes, expected, strict=True)):
        if name != other:
            raise ValueError(f"class {index} of {of} is {str(name)!r}, of {by} {str(other)!r}")


def _choose(
    total: int, splits: Mapping[str, Split], seed: int, archive: Archive
) -> dict[str, np.ndarray]:
    """Return which of `total` images each split gets; random splits have none in common."""
    order = np.random.default_rng(stream_seed(seed, "splits")).permutation(total)
    chosen, taken = {}, 0
    for name, rule in splits.items():
        rule = {"images": rule} if isinstance(rule, int) else rule
        if "every" in rule:
            chosen[name] = np.arange(0, total, rule["every"])
            continue
        size = _at_most(rule.get("images", total), total - taken, name, archive)
        chosen[name] = order[taken : taken + size]
        taken += size
    return chosen


def _at_most(wanted: int, there: int, split: str, archive: Archive) -> int:
    if wanted > there:
        raise ValueError(f"split {split} asks for {wanted} images, {archive.path} has {there} left")
    return wanted


def _read_batches(
    archive: Archive, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the images, labels and ids of some batches of CIFAR-10."""
    batches = [_unpickle(archive, name) for name in names]
    pixels = np.concatenate([batch["data"] for batch in batches])
    labels = np.concatenate([np.asarray(batch["labels"], dtype=np.int64) for batch in batches])
    ids = [f"{name}/{i}" for name, batch in zip(names, batches, strict=True)
           for i in range(len(batch["labels"]))]  # fmt: skip
    return pixels.reshape(len(pixels), 3, 32, 32), labels, np.array(ids)


class _ArraysOnly(pickle.Unpickler):
    """Reads pickles of numbers, text, lists, mappings and arrays, and nothing that runs code."""

    _RECONSTRUCT = np.empty(0).__reduce__()[0]
    _ALLOWED = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
        ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self._ALLOWED[module, name]


def _unpickle(archive: Archive, name: str) -> dict[str, Any]:
    content = io.BytesIO(archive.read(archive.find(name)))
    try:
        stored = _ArraysOnly(content, encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises a dozen kinds
        raise ValueError(f"{archive.path}: {name} is no batch of CIFAR-10: {error}") from error
    return {_text(key): value for key, value in stored.items()}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


_WNID = re.compile(r"n\d{8}")


def _imagenet_classes(archive: Archive, devkit: str | Path | None) -> dict[str, str]:
    """Return the WordNet identifier of each image of ImageNet, by the image's name."""
    names = _images_in(archive)
    parents = {PurePosixPath(name).parent for name in names}
    if all(_WNID.fullmatch(parent.name) for parent in parents):
        if len({parent.parent for parent in parents}) > 1:
            raise ValueError(
                f"{archive.path} holds several sets of images; give the folder of the validation "
                "images alone"
            )
        return {name: PurePosixPath(name).parent.name for name in names}
    if len(parents) == 1:
        if devkit is None:
            raise ValueError(
                f"{archive.path} holds all images side by side; their classes are in the "
                "development kit: give ILSVRC2012_devkit_t12.tar.gz as devkit"
            )
        return _ground_truth(names, archive, devkit)
    folder = min(parent.name for parent in parents if not _WNID.fullmatch(parent.name))
    if folder.isdigit():
        raise ValueError(
            f"{archive.path}: folder {folder} is named by a number. The development kit's numbers "
            "are not in the order of the classes; name folders by WordNet identifiers such as "
            "n01440764, or put all images side by side and give the development kit as devkit"
        )
    raise ValueError(
        f"{archive.path}: folder {folder} is not named by a WordNet identifier such as n01440764"
    )


def _ground_truth(names: Sequence[str], archive: Archive, devkit: str | Path) -> dict[str, str]:
    """Return each image's WordNet identifier, from the development kit."""
    from scipy.io import loadmat

    with open_archive(devkit) as kit:
        truth = kit.read(kit.find("data/ILSVRC2012_validation_ground_truth.txt")).split()
        stored = io.BytesIO(kit.read(kit.find("data/meta.mat")))
    synsets = loadmat(stored, squeeze_me=True)["synsets"]
    wnids = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    if len(names) != len(truth):
        raise ValueError(f"{archive.path} has {len(names)} images, {devkit} is of {len(truth)}")
    classes = {}
    for name in names:
        number = re.search(r"_(\d{8})\.", PurePosixPath(name).name)
        if number is None or not 1 <= int(number[1]) <= len(truth):
            raise ValueError(
                f"{archive.path}: {name} is not named like ILSVRC2012_val_00000001.JPEG"
            )
        classes[name] = wnids[int(truth[int(number[1]) - 1])]
    return classes


def _by_class(archive: Archive, folder: str) -> dict[str, str]:
    """Return the class of each image below a folder of an archive, by the image's name."""
    beginning = f"{folder}/" if folder else ""
    names = [name for name in _images_in(archive) if name.startswith(beginning)]
    if not names:
        raise ValueError(f"{archive.path} has no images in a folder {folder}")
    for name in names:
        if name.removeprefix(beginning).count("/") != 1:
            raise ValueError(
                f"{archive.path}: {name} should lie at {beginning}CLASS/NAME; "
                "the key from of a split names a folder further in"
            )
    return {name: PurePosixPath(name).parent.name for name in names}


def _images_in(archive: Archive) -> list[str]:
    from PIL import Image

    endings = tuple(Image.registered_extensions())
    names = [name for name in archive.names if name.lower().endswith(endings)]
    if not names:
        raise ValueError(f"{archive.path} holds no images")
    return names


def _decode(
    archive: Archive, names: Sequence[str], channels: int, resize: int | None, crop: int | None
) -> np.ndarray:
    """Return images as uint8, shape (names, channels, height, width)."""
    from PIL import Image

    images = []
    with Progress(len(names), f"read {archive.path.name}", "images") as progress:
        for name in names:
            try:
                with Image.open(io.BytesIO(archive.read(name))) as image:
                    pixels = image.convert("RGB" if channels == 3 else "L")
            except OSError as error:
                raise ValueError(f"{archive.path}: {name} is no readable image") from error
            pixels = np.asarray(_resize_and_crop(pixels, resize, crop))
            images.append(pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1))
            if images[-1].shape != images[0].shape:
                height, width = pixels.shape[:2]
                raise ValueError(
                    f"{archive.path}: {name} has {width} x {height} pixels, {names[0]} has "
                    f"{images[0].shape[2]} x {images[0].shape[1]}; make them alike with resize "
                    "and crop"
                )
            progress.advance(1)
    return np.stack(images)


def _resize_and_crop(image: Any, resize: int | None, crop: int | None) -> Any:
    """Do as torchvision's Resize (of the shorter side, bilinear) and CenterCrop do."""
    from PIL import Image

    if resize is not None:
        shorter = min(image.size)
        size = tuple(int(resize * side / shorter) for side in image.size)
        image = image.resize(size, Image.Resampling.BILINEAR) if image.size != size else image
    if crop is not None:
        if min(image.size) < crop:
            raise ValueError(f"cannot crop {crop} pixels out of an image of {image.size}")
        left, top = (round((side - crop) / 2) for side in image.size)
        image = image.crop((left, top, left + crop, top + crop))
    return image
