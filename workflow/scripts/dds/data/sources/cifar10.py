"""CIFAR-10, in its version for Python."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

import dds.keys
from dds.data.archives import Archive, open_archive
from dds.data.sources import Files, Images
from dds.data.splits import at_most, choose, number_or
from dds.keys import Images as Number
from dds.keys import key, refuse
from dds.origins import DataFile

if TYPE_CHECKING:
    import numpy as np

    from dds.data.packs import Pack

SPLITS = ("train", "validation", "test")
TRAINING_IMAGES, TEST_IMAGES = 50_000, 10_000


class Every(dds.keys.Keys):
    """Which test images a split gets."""

    every: Number = key("Takes every so many-th test image, in their order: 20 leaves 500.")

    @property
    def images(self) -> int:
        """How many these are."""
        return len(range(0, TEST_IMAGES, self.every))


def _check_splits(splits: dict[str, int | Every]) -> dict[str, int | Every]:
    for name, rule in splits.items():
        if name not in SPLITS:
            raise refuse(f"{name} is no split of CIFAR-10; allowed: {', '.join(SPLITS)}")
        if name != "test" and isinstance(rule, Every):
            raise refuse(f"{name} is a number of images; every is for test alone")
    test = splits.get("test", 0)
    if isinstance(test, int) and test > TEST_IMAGES:
        raise refuse(f"test is {test:,}, more than the {TEST_IMAGES:,} test images")
    training = sum(splits.get(name, 0) for name in ("train", "validation"))
    if training > TRAINING_IMAGES:
        raise refuse(
            f"train and validation are {training:,} together, more than the "
            f"{TRAINING_IMAGES:,} training images"
        )
    return splits


class FileKeys(Files):
    """The files that CIFAR-10 is read from."""

    images: DataFile = key("cifar-10-python.tar.gz, or the folder that it unpacks to.")


class Keys(dds.keys.Keys):
    """CIFAR-10 in its version for Python."""

    splits: Annotated[
        dict[str, number_or(Every)], Field(min_length=1), AfterValidator(_check_splits)
    ] = key(
        "How many images each split gets: `test` takes the first test images, or every so "
        "many-th; `train` and `validation`, which training needs, share the 50,000 training "
        "images, shuffled by the seed.",
        paper="4",
    )
    files: FileKeys = key("Where the files with the images lie, by what they are.")


def images(keys: Keys) -> Images:
    """Return what is known of the images: 10 classes, colour, 32 x 32 pixels."""
    return Images(classes=10, channels=3, size=(32, 32))


def prepare(keys: Keys, files: Mapping[str, str | Path], *, seed: int) -> dict[str, Pack]:
    """Read CIFAR-10.

    Parameters
    ----------
    keys : Keys
        How many images ``train``, ``validation`` and ``test`` get. The first two share
        the training images, shuffled; ``test`` has test images in their order, the first ones
        or every so many-th.
    files : mapping of str to str or Path
        ``images``: cifar-10-python.tar.gz, or the folder that it unpacks to.
    seed : int
        Seed of the shuffling.

    Returns
    -------
    dict of str to Pack
        Images of shape (images, 3, 32, 32).

    Raises
    ------
    FileNotFoundError, ValueError
        If there are no such files, they are not what they should be, or there are fewer
        images than wanted.

    References
    ----------
    Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009), chapter 3.
    """
    import numpy as np

    from dds.data.packs import Pack

    with open_archive(files["images"]) as archive:
        classes = np.array(_read_classes(archive))
        training = {name: size for name, size in keys.splits.items() if name != "test"}
        packs = {}
        if training:
            batches = [f"data_batch_{number}" for number in range(1, 6)]
            pixels, labels, ids = _read_batches(archive, batches, len(classes))
            for name, rows in choose(len(pixels), training, seed=seed, path=archive.path).items():
                packs[name] = Pack(pixels[rows], labels[rows], ids[rows], classes)
        if "test" in keys.splits:
            pixels, labels, ids = _read_batches(archive, ["test_batch"], len(classes))
            rows = _test_rows(keys.splits["test"], len(pixels), archive.path)
            packs["test"] = Pack(pixels[rows], labels[rows], ids[rows], classes)
    return packs


def _test_rows(rule: int | Every, there: int, path: Path) -> slice:
    """Return which of the test images that are there a split gets."""
    if isinstance(rule, int):
        return slice(at_most(rule, there, split="test", path=path))
    return slice(None, None, rule.every)


def _read_batches(
    archive: Archive, names: Sequence[str], classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the images, labels and ids of some batches."""
    import numpy as np

    batches = [_read_batch(archive, name, classes) for name in names]
    pixels = np.concatenate([data for data, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    ids = [
        f"{name}/{index}"
        for name, (data, _) in zip(names, batches, strict=True)
        for index in range(len(data))
    ]
    return pixels.reshape(len(pixels), 3, 32, 32), labels, np.array(ids)


def _read_batch(archive: Archive, name: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of a batch, a row each, and their labels."""
    import numpy as np

    batch = _read_mapping(archive, name)
    data, labels = batch.get("data"), batch.get("labels")
    if (
        not isinstance(data, np.ndarray)
        or data.dtype != np.uint8
        or data.ndim != 2
        or data.shape[1] != 3 * 32 * 32
    ):
        raise _no_batch(archive, name, "its data are not uint8 of shape (images, 3072)")
    if not (
        (isinstance(labels, list) or (isinstance(labels, np.ndarray) and labels.ndim == 1))
        and len(labels) == len(data)
        and all(_is_whole(label) and 0 <= label < classes for label in labels)
    ):
        raise _no_batch(
            archive, name, f"its labels are not {len(data)} whole numbers from 0 to {classes - 1}"
        )
    return data, np.asarray(labels, dtype=np.int64)


def _is_whole(value: Any) -> bool:
    import numpy as np

    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _read_classes(archive: Archive) -> list[str]:
    """Return the names of the classes."""
    stored = _read_mapping(archive, "batches.meta").get("label_names")
    names = [_text(name) for name in stored] if isinstance(stored, list) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise _no_batch(archive, "batches.meta", "its label_names are not a list of text")
    if len(set(names)) < len(names):
        raise _no_batch(archive, "batches.meta", "its label_names hold a name twice")
    return names


def _read_mapping(archive: Archive, name: str) -> dict[Any, Any]:
    """Return what a pickle of Python 2 holds, by name."""
    content = io.BytesIO(archive.read(archive.find(name)))
    try:
        stored = _ArraysOnly(content, encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises a dozen kinds
        raise _no_batch(archive, name, str(error)) from error
    if not isinstance(stored, dict):
        raise _no_batch(archive, name, f"it holds a {type(stored).__name__}, not a mapping")
    return {_text(key): value for key, value in stored.items()}


def _no_batch(archive: Archive, name: str, reason: str) -> ValueError:
    return ValueError(f"{archive.path}: {name} is no batch of CIFAR-10: {reason}")


def _text(value: Any) -> Any:
    """Return text that Python 2 stored as bytes; what is none stays as it is."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


class _ArraysOnly(pickle.Unpickler):
    """Reads pickles of numbers, text, lists, mappings and arrays, and nothing that runs code."""

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np

        reconstruct = np.empty(0).__reduce__()[0]
        allowed = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("numpy.core.multiarray", "_reconstruct"): reconstruct,
            ("numpy._core.multiarray", "_reconstruct"): reconstruct,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return allowed[module, name]
