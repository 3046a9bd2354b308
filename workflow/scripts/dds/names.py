"""Names of the pieces that certification is cut into."""

from __future__ import annotations

import re
from pathlib import Path

#: In a path of weights, the noise level that they are for.
SIGMA = "{sigma}"

_SHARD = re.compile(r"images_(\d{5,})-(\d{5,})")


def shard_names(images: int, images_per_shard: int) -> list[str]:
    """Cut images 0 to `images` - 1 into shards named by their first and last image.

    A shard is named by its range, never by a number: a changed shard size then
    asks for other files instead of silently reusing those of another range.

    Parameters
    ----------
    images : int
        How many images there are, at least 1.
    images_per_shard : int
        How many images a shard holds, at least 1; the last may hold fewer.

    Returns
    -------
    list of str
        In the order of the images.

    Raises
    ------
    ValueError
        If either number is below 1.

    Examples
    --------
    >>> shard_names(images=1200, images_per_shard=500)
    ['images_00000-00499', 'images_00500-00999', 'images_01000-01199']
    """
    if images < 1 or images_per_shard < 1:
        raise ValueError(
            f"images ({images}) and images_per_shard ({images_per_shard}) must be at least 1"
        )
    starts = range(0, images, images_per_shard)
    return [
        f"images_{start:05d}-{min(start + images_per_shard, images) - 1:05d}" for start in starts
    ]


def shard_range(name: str) -> range:
    """Return the images that a shard holds.

    Parameters
    ----------
    name : str
        As `shard_names` gives it.

    Returns
    -------
    range
        Indices in the dataset, at least one.

    Raises
    ------
    ValueError
        If it is no shard's name, or its last image comes before its first.

    Examples
    --------
    >>> shard_range("images_00500-00999")
    range(500, 1000)
    """
    match = _SHARD.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is not a shard; expected a name like images_00000-00499")
    first, last = map(int, match.groups())
    if last < first:
        raise ValueError(f"shard {name!r} is empty: its last image comes before its first")
    return range(first, last + 1)


def sigma_name(sigma: float) -> str:
    """Name a noise level for files and folders.

    Parameters
    ----------
    sigma : float
        In [0,1] pixel units; six digits are kept.

    Returns
    -------
    str

    Examples
    --------
    >>> sigma_name(0.25), sigma_name(1)
    ('sigma_0.25', 'sigma_1')
    """
    return f"sigma_{float(sigma):g}"


def for_sigma(path: str, sigma: float | None) -> str:
    """Return the file of a noise level, of a path in which ``{sigma}`` stands for it.

    Examples
    --------
    >>> for_sigma("weights/{sigma}.pt", 0.25), for_sigma("weights.pt", 0.25)
    ('weights/0.25.pt', 'weights.pt')
    """
    if sigma is None:
        return path
    return path.replace(SIGMA, sigma_name(sigma).removeprefix("sigma_"))


def shard_place(path: str | Path) -> tuple[float, range]:
    """Return the noise level and the images of a shard, which its path names.

    Parameters
    ----------
    path : str or Path
        Such as ``sigma_0.25/images_00500-00999.parquet``.

    Returns
    -------
    sigma : float
    images : range

    Raises
    ------
    ValueError
        If the path is no shard's.

    Examples
    --------
    >>> shard_place("counts/denoised/sigma_0.25/images_00500-00999.parquet")
    (0.25, range(500, 1000))
    """
    path = Path(path)
    return float(path.parent.name.removeprefix("sigma_")), shard_range(path.stem)
