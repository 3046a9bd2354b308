"""Packs: uint8 images, labels and where each image came from, in one file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

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

    Raises
    ------
    ValueError
        If they are not of these types and shapes, or a label has no class.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.full((2, 1, 8, 8), 51, np.uint8)
    >>> labels, ids = np.array([1, 0]), np.array(["pets/1.png", "pets/2.png"])
    >>> pack = Pack(images, labels, ids, classes=np.array(["cat", "dog"]))
    >>> pack.classes[pack.labels].tolist()
    ['dog', 'cat']
    >>> pack.pixels([1]).shape
    (1, 1, 8, 8)
    >>> print(pack.pixels([1]).max())
    0.2
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
        if not np.issubdtype(self.labels.dtype, np.integer):
            raise ValueError(f"labels must be whole numbers, not {self.labels.dtype}")
        for name, texts in (("ids", self.ids), ("classes", self.classes)):
            if not np.issubdtype(texts.dtype, np.str_):
                raise ValueError(f"{name} must be text, not {texts.dtype}")
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ValueError(f"labels must lie in 0 to {len(self.classes) - 1}")

    def pixels(self, indices: Sequence[int]) -> np.ndarray:
        """Return images as networks take them.

        Parameters
        ----------
        indices : sequence of int
            Which images.

        Returns
        -------
        ndarray of float32, shape (indices, channels, height, width)
            In [0,1].
        """
        return self.images[np.asarray(indices)].astype(np.float32) / 255


def write_pack(path: str | Path, pack: Pack) -> None:
    """Write a pack, atomically.

    Parameters
    ----------
    path : str or Path
        The file (.npz), for `read_pack`.
    pack : Pack
        What to write.
    """
    with atomic_path(path) as temporary:
        np.savez(
            temporary, images=pack.images, labels=pack.labels, ids=pack.ids, classes=pack.classes
        )


def read_pack(path: str | Path) -> Pack:
    """Read a pack.

    Parameters
    ----------
    path : str or Path
        As `write_pack` wrote it.

    Returns
    -------
    Pack

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If it is no pack.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Pack(*(stored[key] for key in ("images", "labels", "ids", "classes")))
    except FileNotFoundError:
        raise FileNotFoundError(f"no prepared data at {path}") from None
    except (KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a data pack: {error}") from error


def check_images(pack: Pack, channels: int, size: tuple[int, int] | None) -> None:
    """Check that images are what their source says of them before any is read.

    Parameters
    ----------
    pack : Pack
        The images.
    channels, size
        See `dds.data.sources.Images`; None for what the source does not know.

    Raises
    ------
    ValueError
        If they are not, as where channels come last.
    """
    found, wanted = pack.images.shape[1:], (channels, *(size or pack.images.shape[2:]))
    if found != wanted:
        raise ValueError(f"the source says images of shape {wanted}, and gives them in {found}")


def check_classes(
    classes: Sequence[str], expected: Sequence[str], *, of: str, by: str = "the dataset"
) -> None:
    """Make sure that two lists of class names are the same, in the same order.

    Letters may be composed or not: macOS writes é as the letter e and an accent.

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
        if normalize("NFC", str(name)) != normalize("NFC", str(other)):
            raise ValueError(f"class {index} of {of} is {str(name)!r}, of {by} {str(other)!r}")
