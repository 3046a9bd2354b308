"""Datasets as packs: uint8 images, labels and where each image came from, in one file.

One more dataset is one function that returns a pack for every split, and one line in
`SOURCES`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dds.files import atomic_path


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


#: Functions that prepare a dataset, by the name of its source in a study file.
SOURCES: dict[str, Callable[..., dict[str, Pack]]] = {"sklearn_digits": digits}
