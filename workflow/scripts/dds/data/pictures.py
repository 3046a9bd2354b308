"""Images that lie in a folder or an archive, without a study that says what they are."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from dds.data.archives import Archive, open_archive, plain_name
from dds.data.images import images_in, is_image, read_images
from dds.data.splits import Choice, choose

#: So many names are shown of a list that may be long.
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Pictures:
    """Some of the images of a folder or archive.

    Attributes
    ----------
    images : ndarray of uint8, shape (images, channels, height, width)
        Pixels; 255 is 1.0.
    names : list of str
        Path of each image's file inside the folder or archive.
    numbers : list of int
        Number of each among all images that are there, by class and then by name: the same
        one whichever others are chosen beside it.
    folders : list of str or None
        Name of the folder that each image lies in, which names its class; None where all images
        lie in one folder, so that nothing is known of their classes.
    all_folders : list of str
        Names of all such folders, sorted; empty where `folders` is None.

    Examples
    --------
    >>> pixels = np.full((2, 1, 8, 8), 51, np.uint8)
    >>> names, folders = ["dog/1.png", "cat/1.png"], ["dog", "cat"]
    >>> pictures = Pictures(pixels, names, [7, 0], folders, ["cat", "dog"])
    >>> pictures.labels()
    [1, 0]
    >>> pictures.labels(["dog", "bird", "cat"])
    [0, 2]
    """

    images: np.ndarray
    names: list[str]
    numbers: list[int]
    folders: list[str] | None
    all_folders: list[str]

    def pixels(self) -> np.ndarray:
        """Return the images in [0,1], float32."""
        return self.images.astype(np.float32) / 255

    def labels(self, classes: Sequence[str] | None = None) -> list[int] | None:
        """Return the class of each image.

        Parameters
        ----------
        classes : sequence of str, optional
            The classes in their order; by default the folders, sorted as text.

        Returns
        -------
        list of int or None
            None where nothing is known of the images' classes.

        Raises
        ------
        ValueError
            Naming the first folder that is no class, or has the name of two; or if, by default,
            folders are numbers that are sorted otherwise than their names.
        """
        if self.folders is None:
            return None
        if classes is None and all(map(str.isdecimal, self.all_folders)):
            numbers = sorted(self.all_folders, key=int)
            if numbers != self.all_folders:
                raise ValueError(
                    "the folders are numbers, and it is open whether classes are in the order of "
                    f"these, {_some(numbers)}, or of their names, {_some(self.all_folders)}"
                )
        known = [_composed(name) for name in (self.all_folders if classes is None else classes)]
        for name in self.all_folders:
            if name not in known:
                raise ValueError(
                    f"folder {name} is no class; the {len(known)} classes are {_some(known)}"
                )
            if known.count(name) > 1:
                two = [number for number, one in enumerate(known) if one == name]
                raise ValueError(f"folder {name} has the name of classes {two[0]} and {two[1]}")
        return [known.index(name) for name in self.folders]


def read_pictures(
    path: str | Path,
    *,
    inside: str = "",
    channels: int = 3,
    size: int | None = None,
    resize: int | None = None,
    images: int | None = None,
    every: int | None = None,
    seed: int = 0,
    labelled: bool = True,
) -> Pictures:
    """Read images that lie in a folder for each class, or all in one folder.

    Parameters
    ----------
    path : str or Path
        A folder, zip or tar archive of images in any format that Pillow reads, or one image.
    inside : str, optional
        Folder inside `path` to take them from, such as ``test``.
    channels : {3, 1}, optional
        Colour or grey.
    size : int, optional
        Height and width in pixels of the centre that is kept. By default images stay as they
        are, and have to be of one size.
    resize : int, optional
        Pixels that the shorter side is resized to before (bilinear, antialiased); `size` by
        default.
    images : int, optional
        How many images, chosen at random; all by default.
    every : int, optional
        Takes every so many-th image instead, ordered by class and name.
    seed : int, optional
        Seed of the random choice.
    labelled : bool, optional
        Whether folders name classes; if not, images may lie in folders of any kind.

    Returns
    -------
    Pictures
        Ordered by class and name.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    ValueError
        If it holds no images, folders of several sets of them, damaged ones, ones of several
        sizes without `size`, or fewer than `images`; or if both `images` and `every` are given.
    """
    if images is not None and every is not None:
        raise ValueError("images are chosen either by images or by every, not by both")
    with _opened(Path(path)) as archive:
        folder_of = _folders(archive, plain_name(inside) if inside else "", labelled)
        names = sorted(folder_of, key=lambda name: (folder_of[name] or "", name))
        if images is not None and images > len(names):
            raise ValueError(f"{path} has {len(names)} images, fewer than the {images} asked for")
        rule = Choice(images=images, every=every)
        chosen = np.sort(choose(len(names), {"images": rule}, seed=seed, path=path)["images"])
        wanted = [names[number] for number in chosen]
        pixels = read_images(
            archive, wanted, channels, size if resize is None else resize, size, alike_by="size"
        )
    classes = sorted({folder for folder in folder_of.values() if folder is not None})
    folders = [folder_of[name] or "" for name in wanted] if classes else None
    return Pictures(pixels, wanted, chosen.tolist(), folders, classes)


@contextmanager
def _opened(path: Path) -> Iterator[Archive]:
    """Open a folder or archive, or one image as a folder that holds it alone."""
    if path.is_file() and is_image(path.name):
        yield Archive(path.parent, [(path.name, path)], Path.read_bytes)
        return
    with open_archive(path) as archive:
        yield archive


def _folders(archive: Archive, inside: str, labelled: bool) -> dict[str, str | None]:
    """Return the folder that names the class of each image, by the image's name."""
    names = [name for name in images_in(archive) if not inside or name.startswith(f"{inside}/")]
    if not names:
        raise ValueError(f"{archive.path} holds no images in a folder {inside}")
    parents = {name: PurePosixPath(name).parent for name in names}
    if len(set(parents.values())) == 1 or not labelled:
        return dict.fromkeys(names)
    above = sorted({str(parent.parent) for parent in parents.values()})
    if len(above) > 1 or PurePosixPath(".") in parents.values():
        places = sorted({str(parent) for parent in parents.values()})
        raise ValueError(
            f"{archive.path}: images lie in {_some(places)}; they must lie all in one folder, or "
            "in folders of classes side by side: give a folder further in"
        )
    return {name: parent.name for name, parent in parents.items()}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
