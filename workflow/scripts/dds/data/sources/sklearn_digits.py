"""scikit-learn's handwritten digits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import dds.keys
from dds.data.sources import Images
from dds.data.splits import Splits
from dds.keys import Count, key

if TYPE_CHECKING:
    import numpy as np

    from dds.data.packs import Pack


TOTAL = 1_797


class Keys(dds.keys.Keys):
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels."""

    splits: Splits[Count] = key(
        "How many images each split gets, by the split's name: at most 1,797 in all, stratified "
        "where all classes can be in a split and in what it leaves. Training needs splits named "
        "`train` and `validation`.",
        paper="4",
    )


def images(keys: Keys) -> Images:
    """Return what is known of the images: 10 classes, grey, 8 x 8 pixels."""
    return Images(classes=10, channels=1, size=(8, 8), total=TOTAL)


def prepare(keys: Keys, files: Mapping[str, str | Path], *, seed: int) -> dict[str, Pack]:
    """Split the digits, stratified by class where a split and what it leaves may have all.

    Parameters
    ----------
    keys : Keys
        How many images each split gets. The order within a split is random, so that its
        first images are a fair sample of it.
    files : mapping
        Not used: the images come with scikit-learn.
    seed : int
        Seed of the split.

    Returns
    -------
    dict of str to Pack
        Images of shape (images, 1, 8, 8): 16 grey levels, stretched to 0 to 255.

    Raises
    ------
    ValueError
        If there are fewer images than wanted.
    """
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    from dds.data.packs import Pack

    source = load_digits()
    wanted = sum(keys.splits.values())
    if wanted > len(source.images):
        raise ValueError(f"splits ask for {wanted} images, digits has {len(source.images)}")
    pixels = np.round(source.images * 255 / 16).astype(np.uint8)[:, None]
    labels = source.target.astype(np.int64)
    rest = np.arange(len(pixels))
    packs = {}
    for number, (name, size) in enumerate(keys.splits.items()):
        if size < len(rest):
            rest, chosen = train_test_split(
                rest,
                test_size=size,
                stratify=_strata(labels[rest], size),
                random_state=(seed + number) % 2**32,  # the most that scikit-learn takes
            )
        else:
            rest, chosen = rest[:0], np.random.default_rng(seed).permutation(rest)
        ids = np.array([f"load_digits/{index}" for index in chosen])
        packs[name] = Pack(pixels[chosen], labels[chosen], ids, source.target_names.astype(str))
    return packs


def _strata(labels: np.ndarray, size: int) -> np.ndarray | None:
    """Return what so many of the images that are left are stratified by, if they can be."""
    import numpy as np

    classes, images = np.unique(labels, return_counts=True)
    can_be = min(size, len(labels) - size) >= len(classes) and min(images) > 1
    return labels if can_be else None
