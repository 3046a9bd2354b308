"""Images of any size and format, made into arrays."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from dds.data.archives import Archive

#: How Pillow names pixels of more than 8 bits a channel: modes, and what it reads them from.
#: Of a colour image only the latter tells. BGR;16 has 16 bits for all three channels.
_DEEP_MODE = re.compile("[IF]")
_DEEP_PIXELS = re.compile("(?<!BGR);(12|16|32|64)")


def images_in(archive: Archive) -> list[str]:
    """Return the names of the images in an archive, told by their endings.

    Raises
    ------
    ValueError
        If there are none.
    """
    names = [name for name in archive.names if is_image(name)]
    if not names:
        raise ValueError(f"{archive.path} holds no images")
    return names


def is_image(name: str) -> bool:
    """Tell whether a file is an image, by its ending."""
    return name.lower().endswith(tuple(_formats()))


def read_images(
    archive: Archive,
    names: Sequence[str],
    channels: int,
    resize: int | None,
    crop: int | None,
    *,
    alike_by: str = "resize and crop",
) -> np.ndarray:
    """Read images of an archive: their pixels as they are stored.

    Transparency is dropped, with whatever colour lies below it, and a rotation that EXIF tells of
    is not applied.

    Parameters
    ----------
    archive : Archive
        Where they are.
    names : sequence of str
        Which to read.
    channels : {3, 1}
        Colour or grey.
    resize : int or None
        Pixels that the shorter side is resized to (bilinear, antialiased), as torchvision's
        Resize does.
    crop : int or None
        Height and width in pixels of the centre that is kept, as by torchvision's CenterCrop.
    alike_by : str, optional
        What to call these two in an error.

    Returns
    -------
    ndarray of uint8, shape (names, channels, height, width)

    Raises
    ------
    ValueError
        If an image is damaged, does not go to 8 bits a channel without loss, is smaller than
        `crop`, or differs in size from the first; it names the image's file.
    """
    import numpy as np

    from dds.progress import Progress

    images = []
    with Progress(len(names), f"read {archive.path.name}", "images") as progress:
        for name in names:
            image = _read_image(archive, name, channels)
            try:
                pixels = np.asarray(_resize_and_crop(image, resize, crop))
            except ValueError as error:
                raise ValueError(f"{archive.path}: {name}: {error}") from error
            images.append(pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1))
            if images[-1].shape != images[0].shape:
                height, width = pixels.shape[:2]
                raise ValueError(
                    f"{archive.path}: {name} has {width} x {height} pixels, {names[0]} has "
                    f"{images[0].shape[2]} x {images[0].shape[1]}; make them alike with {alike_by}"
                )
            progress.advance(1)
    return np.stack(images)


@cache
def _formats() -> dict[str, str]:
    """Return the formats that Pillow reads, by the endings of files.

    PostScript is a program; Pillow would have another one run it.
    """
    from PIL import Image

    known = Image.registered_extensions()
    return {end: form for end, form in known.items() if form in Image.OPEN and form != "EPS"}


def _read_image(archive: Archive, name: str, channels: int) -> Image:
    from PIL import Image, UnidentifiedImageError

    formats = sorted(set(_formats().values()))
    content = io.BytesIO(archive.read(name))
    try:
        with Image.open(content, formats=formats) as image:
            _check_depth(image)
            return image.convert("RGB" if channels == 3 else "L")
    except UnidentifiedImageError as error:  # its text is of `content`, not of the image
        raise ValueError(f"{archive.path}: {name} is no readable image") from error
    except Exception as error:  # a damaged image raises a dozen kinds
        reason = str(error) or type(error).__name__
        raise ValueError(f"{archive.path}: {name} is no readable image: {reason}") from error


def _check_depth(image: Image) -> None:
    """Refuse an image that is not loaded yet and would be cut off at 8 bits a channel."""
    # A PPM names its largest value instead, whatever the mode.
    largest = [arguments[-1] for codec, _, _, arguments in image.tile if codec.startswith("ppm")]
    deep = _DEEP_MODE.match(image.mode) or _DEEP_PIXELS.search(str(image.tile))
    if deep or max(largest, default=0) > 255:
        raise ValueError(
            f"it has more than 8 bits a channel (mode {image.mode}), which would be cut off; "
            "convert it to 8 bits"
        )


def _resize_and_crop(image: Image, resize: int | None, crop: int | None) -> Image:
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
