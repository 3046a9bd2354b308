"""The validation images of ImageNet (ILSVRC 2012)."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import dds.keys
from dds.data.archives import Archive, open_archive
from dds.data.images import images_in, read_images
from dds.data.sources import Files, Images
from dds.data.splits import Split, Splits, choose
from dds.keys import Pixels, key
from dds.origins import DataFile

if TYPE_CHECKING:
    from dds.data.packs import Pack

CLASSES, IMAGES_PER_CLASS = 1000, 50

_WNID = re.compile(r"n\d{8}")


class FileKeys(Files):
    """The files that ImageNet is read from."""

    images: DataFile = key(
        "A folder or tar with folders named by WordNet identifiers (n01440764), or with all "
        "images side by side, which needs `devkit`."
    )
    devkit: DataFile | None = key(
        "ILSVRC2012_devkit_t12.tar.gz, or the folder that it unpacks to.", None
    )


class Keys(dds.keys.Keys):
    """The validation images of ILSVRC 2012."""

    splits: Splits[Split] = key(
        "Which images each split gets, by the split's name: so many at random, or a mapping; "
        "random splits have no image in common. Training needs splits named `train` and "
        "`validation`.",
        paper="4",
    )
    files: FileKeys = key("Where the files with the images lie, by what they are.")
    resize: Pixels = key(
        "Pixels that the shorter side of each image is resized to (bilinear, antialiased).",
        paper="4",
    )
    crop: Pixels = key("Height and width in pixels of the centre that is kept.", paper="4")


def images(keys: Keys) -> Images:
    """Return what is known of the images: 1,000 classes, colour, as large as `crop`."""
    return Images(
        classes=CLASSES, channels=3, size=(keys.crop, keys.crop), total=CLASSES * IMAGES_PER_CLASS
    )


def prepare(keys: Keys, files: Mapping[str, str | Path], *, seed: int) -> dict[str, Pack]:
    """Read some of the images.

    The classes are the WordNet identifiers, sorted. Images are ordered by class and
    then by name, which is what ``every`` counts in: every 50th image is the first of
    each class. One image too few or too many would move every pick after it to
    another place, so all classes must have the same number of images; where there are
    1,000 of them that is 50, or in a set that was thinned out a number that divides 50.

    Parameters
    ----------
    keys : Keys
        Which images each split gets, and how they are resized and cropped.
    files : mapping of str to str or Path
        ``images``: a folder or archive with the images in folders named by WordNet
        identifiers; or with all images side by side, which needs ``devkit``:
        ILSVRC2012_devkit_t12.tar.gz, or the folder that it unpacks to.
    seed : int
        Seed of the random choice.

    Returns
    -------
    dict of str to Pack
        Images of shape (images, 3, crop, crop).

    Raises
    ------
    FileNotFoundError, ValueError
        If the files are not there, not laid out so that the classes are known, or images
        are missing, doubled or damaged.

    References
    ----------
    Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge" (2015), section 3.1.
    """
    import numpy as np

    from dds.data.packs import Pack

    with open_archive(files["images"]) as archive:
        wnids = _classes(archive, files.get("devkit"))
        _check_counts(archive, wnids)
        names = np.array(sorted(wnids, key=lambda name: (wnids[name], PurePosixPath(name).name)))
        classes, labels = np.unique([wnids[name] for name in names], return_inverse=True)
        chosen = choose(len(names), keys.splits, seed=seed, path=archive.path)
        return {
            split: Pack(
                read_images(archive, names[rows], 3, keys.resize, keys.crop),
                labels[rows],
                names[rows],
                classes,
            )
            for split, rows in chosen.items()
        }


def _classes(archive: Archive, devkit: str | Path | None) -> dict[str, str]:
    """Return the WordNet identifier of each image, by the image's name."""
    names = images_in(archive)
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
        return _look_up(names, archive, devkit)
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


def _look_up(names: Sequence[str], archive: Archive, devkit: str | Path) -> dict[str, str]:
    """Return each image's WordNet identifier, by the number that the image's name ends in."""
    truth = _read_devkit(devkit)
    if len(names) != len(truth):
        raise ValueError(f"{archive.path} has {len(names)} images, {devkit} is of {len(truth)}")
    numbered: dict[int, str] = {}
    for name in names:
        match = re.search(r"_(\d{8})\.", PurePosixPath(name).name)
        number = int(match[1]) if match else 0
        if not 1 <= number <= len(truth):
            raise ValueError(
                f"{archive.path}: {name} is not named like ILSVRC2012_val_00000001.JPEG"
            )
        if numbered.setdefault(number, name) != name:
            raise ValueError(
                f"{archive.path}: {numbered[number]} and {name} have the same number; "
                "each image must be there once"
            )
    return {name: truth[number - 1] for number, name in numbered.items()}


def _read_devkit(path: str | Path) -> list[str]:
    """Return the WordNet identifier of every validation image, in the order of their numbers."""
    from scipy.io import loadmat

    with open_archive(path) as kit:
        truth = kit.read(kit.find("data/ILSVRC2012_validation_ground_truth.txt")).split()
        stored = io.BytesIO(kit.read(kit.find("data/meta.mat")))
    try:
        synsets = loadmat(stored, squeeze_me=True)["synsets"]
        wnids = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
    except Exception as error:  # a damaged file raises a dozen kinds
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: meta.mat has no readable table of classes: {reason}") from error
    known = {str(number).encode(): wnid for number, wnid in wnids.items()}
    for image, number in enumerate(truth, start=1):
        if number not in known:
            raise ValueError(
                f"{path}: meta.mat holds no class {number.decode(errors='replace')}, which image "
                f"{image} has by ILSVRC2012_validation_ground_truth.txt"
            )
    return [known[number] for number in truth]


def _check_counts(archive: Archive, wnids: Mapping[str, str]) -> None:
    """Make sure that no image is missing or doubled, as far as the classes tell."""
    counts = Counter(wnids.values())
    usual = Counter(counts.values()).most_common(1)[0][0]
    for wnid, count in sorted(counts.items()):
        if count != usual:
            difference = f"{abs(count - usual)} {'more' if count > usual else 'fewer'}"
            raise ValueError(
                f"{archive.path}: class {wnid} has {count} images, {difference} than the {usual} "
                "of other classes; each image must be there once"
            )
    if len(counts) == CLASSES and IMAGES_PER_CLASS % usual:
        raise ValueError(
            f"{archive.path} has {usual} images of each class; the {CLASSES * IMAGES_PER_CLASS:,} "
            f"validation images of ImageNet are {IMAGES_PER_CLASS} of each"
        )
