"""Images of the user's own, in a folder for each class."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

import dds.keys
from dds.data.archives import Archive, open_archive, plain_name
from dds.data.images import images_in, read_images
from dds.data.sources import Files, Images
from dds.data.splits import Choice, Splits, choose, number_or
from dds.keys import Names, Pixels, key
from dds.origins import DataFile

if TYPE_CHECKING:
    from dds.data.packs import Pack


class FolderChoice(Choice):
    """Which images a split gets, and from where."""

    folder: str = key(
        "The folder inside `images` that holds the folders of classes.",
        "",
        alias="from",
        allowed="text, such as `test`",
    )


FolderSplit = number_or(FolderChoice)


class FileKeys(Files):
    """The files that the images are read from."""

    images: DataFile = key(
        "A folder, zip or tar of `[FROM/]CLASS/NAME.png` (or another image format). Transparency "
        "is dropped, and a rotation that EXIF tells of is not applied."
    )


class Keys(dds.keys.Keys):
    """Images of your own, in a folder for each class."""

    splits: Splits[FolderSplit] = key(
        "Which images each split gets, by the split's name: so many at random, or a mapping; "
        "random splits of a folder have no image in common. Training needs splits named `train` "
        "and `validation`.",
        paper="4",
    )
    files: FileKeys = key("Where the files with the images lie, by what they are.")
    classes: Annotated[Names, Field(min_length=2)] | None = key(
        "The folders of the classes, in the order of the classes; sorted as text when left "
        "out: `10` before `2`.",
        None,
    )
    channels: Literal[1, 3] = key("Colour channels, 3 for RGB and 1 for grey.", 3)
    resize: Pixels | None = key(
        "Pixels that the shorter side of each image is resized to (bilinear, antialiased).",
        None,
        paper="4",
    )
    crop: Pixels | None = key(
        "Height and width in pixels of the centre that is kept.", None, paper="4"
    )


def images(keys: Keys) -> Images:
    """Return what is known of the images, which is what the entry says."""
    return Images(
        classes=None if keys.classes is None else len(keys.classes),
        channels=keys.channels,
        size=None if keys.crop is None else (keys.crop, keys.crop),
    )


def prepare(keys: Keys, files: Mapping[str, str | Path], *, seed: int) -> dict[str, Pack]:
    """Read images that lie in a folder for each class.

    Parameters
    ----------
    keys : Keys
        Which images each split gets, and how they are resized and cropped; by default they
        stay as they are.
    files : mapping of str to str or Path
        ``images``: a folder, zip or tar archive of ``CLASS/NAME.png`` (or any other format
        that Pillow reads), or ``FROM/CLASS/NAME.png``.
    seed : int
        Seed of the random choice.

    Returns
    -------
    dict of str to Pack
        Images of shape (images, channels, height, width).

    Raises
    ------
    FileNotFoundError, ValueError
        If files are not there, are damaged, differ in size or lie elsewhere, or a class is
        unknown.
    """
    import numpy as np

    from dds.data.packs import Pack

    packs = {}
    folders = {split: _folder(rule) for split, rule in keys.splits.items()}
    with open_archive(files["images"]) as archive:
        labelled = {folder: _by_class(archive, folder) for folder in folders.values()}
        classes = _order(keys.classes, labelled, archive)
        for folder, class_of in labelled.items():
            label_of = {name: classes.index(class_of[name]) for name in sorted(class_of)}
            names = np.array(sorted(label_of, key=label_of.get))
            labels = np.array([label_of[name] for name in names])
            splits = {split: keys.splits[split] for split in folders if folders[split] == folder}
            chosen = choose(len(names), splits, seed=seed, path=archive.path)
            for split, rows in chosen.items():
                pixels = read_images(archive, names[rows], keys.channels, keys.resize, keys.crop)
                packs[split] = Pack(pixels, labels[rows], names[rows], np.array(classes))
    return packs


def _folder(rule: int | FolderChoice) -> str:
    return "" if isinstance(rule, int) else plain_name(rule.folder)


def _by_class(archive: Archive, folder: str) -> dict[str, str]:
    """Return the class of each image below a folder of an archive, by the image's name."""
    beginning = f"{folder}/" if folder else ""
    names = [name for name in images_in(archive) if name.startswith(beginning)]
    if not names:
        there = sorted({str(PurePosixPath(name).parent.parent) for name in images_in(archive)})
        raise ValueError(
            f"{archive.path} has no images in a folder {folder}; folders with folders of images: "
            f"{', '.join(there[:8])}"
        )
    for name in names:
        if name.removeprefix(beginning).count("/") != 1:
            raise ValueError(
                f"{archive.path}: {name} should lie at {beginning}CLASS/NAME; "
                "the key from of a split names a folder further in"
            )
    return {name: PurePosixPath(name).parent.name for name in names}


def _order(
    wanted: Sequence[str] | None, labelled: Mapping[str, Mapping[str, str]], archive: Archive
) -> list[str]:
    """Return the classes in their order: that which is wanted, or sorted."""
    found = sorted({name for class_of in labelled.values() for name in class_of.values()})
    if wanted is None:
        return found
    classes = [unicodedata.normalize("NFC", name) for name in wanted]
    for name in found:
        if name not in classes:
            raise ValueError(
                f"{archive.path}: folder {name} is no class; allowed: {', '.join(classes)}"
            )
    return classes
