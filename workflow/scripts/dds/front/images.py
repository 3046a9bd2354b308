"""Images as people have them, made into one array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from PIL.Image import Image

#: Arrays, tensors, Pillow's images, lists of these, data sets and loaders.
ImagesLike: TypeAlias = (
    "ArrayLike | torch.Tensor | Image | torch.utils.data.Dataset[Any] | Iterable[Any]"
)

LAYOUTS = ("CHW", "HWC")

#: Images have no more colour channels.
_MOST_COLOURS = 4

#: What rows of a data set that are mappings call their image and its label.
_IMAGE_KEYS = ("image", "img", "images", "pixel_values")
_LABEL_KEYS = ("label", "labels", "fine_label")

#: Pillow's modes that convert to 8 bits a channel without loss; of those, the grey ones.
_MODES = ("1", "L", "P", "RGB")
_GREY = ("1", "L")


@dataclass(frozen=True, eq=False)
class Images:
    """Images in one form.

    Attributes
    ----------
    pixels : ndarray of float32, shape (images, channels, height, width)
        In [0,1].
    labels : ndarray of int64, shape (images,), or None
        The true classes, where they are known.
    classes : tuple of str or None
        The names of the classes, where a data set has them.
    is_one : bool
        Whether a single image was given, rather than a batch of one.
    """

    pixels: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...] | None
    is_one: bool


def as_images(images: ImagesLike, labels: ArrayLike | None = None, layout: str = "CHW") -> Images:
    """Bring images into one form, and check them.

    Parameters
    ----------
    images : array_like, Tensor, PIL image, Dataset, DataLoader, or a list of images
        Arrays and tensors are floats in [0,1], or bytes (uint8, 0 to 255); bytes that are all 0
        or 1 are refused, as they could be either. A data set, or a list of its rows, gives images,
        or pairs of an image and its label, or mappings with ``image`` and ``label``; a loader
        gives batches of these, of which one will do.
    labels : array_like of int, optional
        The true classes, for images that do not come with theirs.
    layout : {"CHW", "HWC"}, optional
        Where arrays and tensors have their channels; Pillow's images know.

    Returns
    -------
    Images

    Raises
    ------
    ValueError
        Saying which image is wrong, and the cure.

    Examples
    --------
    >>> bytes_of_a_camera = np.full((2, 8, 6, 3), 51, np.uint8)
    >>> given = as_images(bytes_of_a_camera, labels=[3, 0], layout="HWC")
    >>> given.pixels.shape, float(given.pixels.max()), given.labels.tolist()
    ((2, 3, 8, 6), 0.20000000298023224, [3, 0])
    """
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; allowed: {', '.join(LAYOUTS)}")
    first = images[0] if isinstance(images, list | tuple) and images else images
    if isinstance(first, str | PathLike):
        raise ValueError(
            f"images are the path {first}; read them, as by torchvision.datasets.ImageFolder or "
            f"PIL.Image.open, or run python -m dds certify {first}"
        )
    classes = None
    if _is_collection(images):
        if labels is not None:
            raise ValueError("labels are taken from the data set; leave labels= out")
        classes = names_of_classes(_innermost(images))
        images, labels = _unzipped(_items(images))
    pixels, is_one = _as_pixels(images, layout)
    _check_range(pixels)
    return Images(pixels, _as_labels(labels, len(pixels)), classes, is_one)


def _is_collection(images: Any) -> bool:
    """Tell data sets and loaders, whose items bring labels, from arrays and lists of images."""
    if isinstance(images, list | tuple) and images and _is_row(images[0]):
        return True
    if isinstance(images, np.ndarray | torch.Tensor | Sequence) or hasattr(images, "__array__"):
        return isinstance(images, torch.utils.data.Dataset)
    return not _is_pillow(images) and (
        isinstance(images, Iterable) or hasattr(images, "__getitem__")
    )


def _is_row(item: Any) -> bool:
    """Tell whether an item of a list is an image with its label, as of ``list(dataset)``."""
    if isinstance(item, tuple) and item:
        return _is_pillow(item[0]) or _are_arrays(item[:1])
    return isinstance(item, Mapping)


def _is_pillow(image: Any) -> bool:
    return hasattr(image, "convert") and hasattr(image, "mode")


def _innermost(dataset: Any) -> Any:
    """Return the data set with classes that a loader or a subset is of."""
    while not hasattr(dataset, "classes") and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    return dataset


def names_of_classes(owner: Any) -> tuple[str, ...] | None:
    """Return the names of the classes of a data set or network, where it has a list of them.

    Examples
    --------
    >>> from torch import nn
    >>> network = nn.Flatten()
    >>> network.classes = 10  # as some call their number
    >>> print(names_of_classes(network))
    None
    """
    classes = getattr(owner, "classes", None)
    return tuple(map(str, classes)) if isinstance(classes, list | tuple) else None


def _items(dataset: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each image of a data set or loader, and its label or None."""
    if isinstance(dataset, torch.utils.data.DataLoader):
        for batch in dataset:
            yield from _of_batch(batch)
    elif isinstance(dataset, Mapping):
        yield from _of_batch(dataset)
    elif isinstance(dataset, torch.utils.data.IterableDataset):
        yield from map(_pair, dataset)
    elif hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        for index in range(len(dataset)):
            yield _pair(dataset[index])
    else:
        yield from map(_pair, dataset)


def _of_batch(batch: Any) -> Iterator[tuple[Any, Any]]:
    images, labels = _pair(batch)
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"a batch of the loader has {len(images)} images and {len(labels)} labels")
    yield from zip(images, [None] * len(images) if labels is None else labels, strict=True)


def _pair(item: Any) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        image = next((item[key] for key in _IMAGE_KEYS if key in item), None)
        if image is None:
            raise ValueError(
                f"a row of the data set has the keys {', '.join(map(str, item))}; "
                f"its image must be under one of {', '.join(_IMAGE_KEYS)}"
            )
        return image, next((item[key] for key in _LABEL_KEYS if key in item), None)
    if isinstance(item, tuple | list):
        return item[0], item[1] if len(item) > 1 else None
    return item, None


def _unzipped(items: Iterable[tuple[Any, Any]]) -> tuple[list[Any], list[Any] | None]:
    images, labels = [], []
    for image, label in items:
        images.append(image)
        labels.append(label)
    if not images:
        raise ValueError("the data set is empty")
    return images, None if all(label is None for label in labels) else labels


def _as_pixels(images: Any, layout: str) -> tuple[np.ndarray, bool]:
    """Return images in [0,1] of shape (images, channels, height, width), and if it was one."""
    if _is_pillow(images):
        return _of_pillow([images]), True
    if isinstance(images, list | tuple) and len(images) and all(map(_is_pillow, images)):
        return _of_pillow(images), False
    if isinstance(images, list | tuple) and len(images) and _are_arrays(images):
        _check_alike([np.shape(image) for image in images])
        images = np.stack([_as_array(image) for image in images])
    array = _as_array(images)
    if array.size == 0 and array.ndim in (1, 4):
        raise ValueError("there are no images")
    if array.ndim not in (3, 4) or 0 in array.shape:
        axes = {"CHW": "channels, height, width", "HWC": "height, width, channels"}[layout]
        raise ValueError(
            f"images must have shape (images, {axes}) or ({axes}) for layout {layout}, "
            f"not {array.shape}"
        )
    _check_layout(array.shape, layout)
    if layout == "HWC":
        array = np.moveaxis(array, -1, -3)
    return _as_floats(array[None] if array.ndim == 3 else array), array.ndim == 3


def _are_arrays(images: Sequence[Any]) -> bool:
    return all(isinstance(image, np.ndarray | torch.Tensor) for image in images)


def _as_array(images: Any) -> np.ndarray:
    if isinstance(images, torch.Tensor):
        images = images.detach().cpu()
        images = images.float() if images.dtype == torch.bfloat16 else images
        return images.numpy()
    try:
        return np.asarray(images)
    except ValueError as error:
        raise ValueError(f"images must be of one shape: {error}") from error


def _check_alike(shapes: Sequence[tuple[int, ...]]) -> None:
    for index, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(
                f"image {index} has shape {tuple(shape)}, image 0 has {tuple(shapes[0])}; "
                "resize or crop them to one"
            )


def _check_layout(shape: tuple[int, ...], layout: str) -> None:
    first, last = shape[-3], shape[-1]
    if layout == "CHW" and last <= _MOST_COLOURS < first:
        raise ValueError(
            f'images of shape {shape} seem to have their channels last; say layout="HWC", or '
            "move them by np.moveaxis(images, -1, -3)"
        )
    if layout == "HWC" and first <= _MOST_COLOURS < last:
        raise ValueError(
            f'images of shape {shape} seem to have their channels first; say layout="CHW"'
        )


def _as_floats(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        if array.max() <= 1:
            raise ValueError(
                "images are bytes that are all 0 or 1, of which it is not clear whether 1 is white "
                "or nearly black; give floats in [0,1]"
            )
        return np.ascontiguousarray(array).astype(np.float32) / np.float32(255)
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(
            f"images must be floats in [0,1] or bytes (uint8), not {array.dtype}; divide numbers "
            "from 0 to 255 by 255"
        )
    return np.ascontiguousarray(array, np.float32)


def _of_pillow(images: Sequence[Image]) -> np.ndarray:
    for index, image in enumerate(images):
        if image.mode not in _MODES or "transparency" in image.info:
            raise ValueError(
                f"image {index} has mode {image.mode}, which does not go to 8 bits of grey or "
                'colour without loss; convert it, as by image.convert("RGB")'
            )
    grey = all(image.mode in _GREY for image in images)
    arrays = [np.asarray(image.convert("L" if grey else "RGB")) for image in images]
    _check_alike([array.shape for array in arrays])
    pixels = np.stack(arrays).astype(np.float32) / np.float32(255)
    return pixels[:, None] if grey else np.ascontiguousarray(np.moveaxis(pixels, -1, 1))


def _check_range(pixels: np.ndarray) -> None:
    """Refuse the first image that is not in [0,1], and guess why."""
    low, high = pixels.min(axis=(1, 2, 3)), pixels.max(axis=(1, 2, 3))
    for index in np.flatnonzero(~((low >= 0) & (high <= 1)))[:1]:
        if not np.isfinite(pixels[index]).all():
            raise ValueError(f"image {index} has NaN or infinite values; images must be in [0,1]")
        raise ValueError(
            f"image {index} has values outside [0,1], from {low[index]:.3g} to {high[index]:.3g}; "
            + _cure(float(low.min()), float(high.max()))
        )


def _cure(low: float, high: float) -> str:
    if low >= 0 and 1.5 < high < 256:
        return "divide pixels from 0 to 255 by 255"
    if low >= -1 and high <= 1:
        return "bring images in [-1,1] to [0,1] by (images + 1) / 2"
    if low >= -0.1 and high <= 1.1:
        return "clip what resizing has brought beyond it"
    return (
        "leave out their normalisation: a model's mean and std belong to it, as in "
        "dds.Classifier(network, mean=..., std=...)"
    )


def _as_labels(labels: Any, images: int) -> np.ndarray | None:
    if labels is None:
        return None
    if isinstance(labels, torch.Tensor):
        labels = labels.detach().cpu().numpy()
    try:
        found = np.atleast_1d(np.asarray(labels, dtype=float))
    except (TypeError, ValueError):
        raise ValueError("labels must be whole numbers, one an image") from None
    if found.shape != (images,):
        raise ValueError(
            f"labels must be one number an image: {images} images, labels of shape {found.shape}"
        )
    wrong = (found != np.floor(found)) | ~np.isfinite(found)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise ValueError(f"label {found[index]} of image {index} is no whole number")
    return found.astype(np.int64)
