"""Classifiers of the transformers and timm libraries, as they are published.

Such a network wants images of one size, normalised. What it wants is not said again here: a
processor is tried on a few images, and timm's networks carry their settings.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from dds.extras import needed
from dds.networks.classifiers import INTERPOLATIONS, Classifier
from dds.networks.weights import check_loaded
from dds.reasons import first_line

#: What Pillow's numbers of ways to resize mean.
_RESAMPLING = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")

#: Heights of the images that a processor is tried on.
_TRIED, _OTHER = 96, 160

#: What PyTorch puts around a network, which lies in it as ``module``.
_WRAPPERS = (nn.DataParallel, DistributedDataParallel, AveragedModel)

#: Said of a processor whose images no `Classifier` makes.
_SOMETHING_ELSE = (
    "the processor does something else than to resize and to normalise; do it in a torch.nn.Module "
    "of your own around the network, which takes images in [0,1]"
)


class Wanted(NamedTuple):
    """The input that a network wants, as `Classifier` takes it."""

    size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    flipped: bool = False  # whether channels come in the other order, blue first
    cut_from: int | None = None  # height of what edges are cut off of


class BlueFirst(nn.Module):
    """A network that wants the channels of images in the other order.

    Parameters
    ----------
    network : Module
        Wants images whose first channel is blue.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        """Return what the network makes of images whose first channel is red."""
        return self.network(images.flip(1))


def hub_classifier(name: str, *, revision: str | None = None) -> Classifier:
    """Load a published classifier, ready for images in [0,1].

    Parameters
    ----------
    name : str
        ``"timm:NAME"``, a network of timm's with its pretrained weights; ``"hf:OWNER/NAME"``, an
        image classifier of the transformers library on the hub; or a folder that
        ``save_pretrained`` has written model and processor to.
    revision : str, optional
        Of ``hf:``, a commit, tag or branch of the repository; by default its main branch, which
        may change.

    Returns
    -------
    Classifier
        With its own size, mean, std and interpolation, the names of its ``classes`` where they
        are published, in float32 and in evaluation mode. No code of a hub is run.

    Raises
    ------
    ValueError
        If there is no such network, it cannot be reached, its weights do not fit, or its
        processor does something else than to resize, to cut edges off and to normalise.

    Notes
    -----
    The whole image is resized to what the network wants. Published evaluations often cut the
    edges off before; cut images the same way to compare with them. Where a processor or timm
    would cut, `certify` warns.

    Examples
    --------
    >>> hub_classifier("resnet50")
    Traceback (most recent call last):
    ValueError: classifier resnet50 is no folder; write timm:NAME, hf:OWNER/NAME or a folder
    """
    kind, colon, rest = name.partition(":")
    if colon and kind == "timm":
        return _of_timm(rest)
    if colon and kind == "hf":
        return _of_transformers(rest, revision)
    if (folder := Path(name).expanduser()).is_dir():
        return _of_transformers(str(folder), None)
    raise ValueError(f"classifier {name} is no folder; write timm:NAME, hf:OWNER/NAME or a folder")


def as_classifier(network: nn.Module, processor: Any = None) -> nn.Module:
    """Return a network as a map from images in [0,1] to logits.

    Parameters
    ----------
    network : Module
        A network of timm's, or another with a ``pretrained_cfg`` or ``default_cfg``, gets what
        that says before it, with a warning, as it may have been trained otherwise. An image
        classifier of the transformers library gets `processor`, or the one that lies where it was
        loaded from. It may be compiled or wrapped for several GPUs. Any other network, a
        `Classifier` among them, takes images in [0,1] and is returned.
    processor : callable, optional
        What a network of any library wants before it: an image processor of transformers, or a
        transform of timm or torchvision, which makes a tensor of a PIL image. Edges that it cuts
        off are kept: the whole image is resized.

    Returns
    -------
    Module
        `network`, or a `Classifier` with it inside.

    Raises
    ------
    ValueError
        If there is no processor to be found, it does something else than to resize, to cut edges
        off and to normalise, or there is one for a `Classifier`, which has its own; or the network
        is a program of torch.export.

    Examples
    --------
    >>> network = nn.Flatten()
    >>> as_classifier(network) is network
    True
    """
    # torch.export puts functions in the place of a network's train() and eval(), which fail.
    if any("eval" in vars(part) for part in network.modules()):
        raise ValueError(
            "the classifier is a program of torch.export, which cannot be put into evaluation "
            "mode; give the network that was exported"
        )
    inner = unwrapped(network)
    if isinstance(inner, Classifier):
        if processor is not None:
            raise ValueError("a dds.Classifier normalises by itself; leave processor= out")
        return network
    if processor is not None:
        return _wrapped(network, wanted_by(processor))
    if hasattr(inner, "pretrained_cfg") or hasattr(inner, "default_cfg"):
        return _as_timm_publishes_it(network)
    if _is_of_transformers(inner):
        return _with_processor_found(network)
    return network


def unwrapped(network: Any) -> Any:
    """Return the network inside of what PyTorch wraps one in: what is known of it is asked there.

    Examples
    --------
    >>> network = nn.Flatten()
    >>> unwrapped(nn.DataParallel(network)) is network
    True
    """
    while True:
        if isinstance(network, _WRAPPERS):
            network = network.module
        elif hasattr(network, "_orig_mod"):  # compiled; to ask for its class loads the compiler
            network = network._orig_mod
        else:
            return network


def wanted_by(processor: Callable[..., Any]) -> Wanted:
    """Return the input that a processor makes, by what it makes of a few images.

    Parameters
    ----------
    processor : callable
        As `as_classifier` takes it.

    Returns
    -------
    Wanted

    Raises
    ------
    ValueError
        If what it makes is not square, or no multiple of the image plus a constant, or of other
        pixels than the middle of the image has, or left to chance, or it resizes in a way that
        `Classifier` does not.

    Examples
    --------
    >>> def halved(image):
    ...     pixels = torch.from_numpy(np.array(image.resize((8, 8)))).movedim(-1, 0)
    ...     return pixels / 255 - 0.5
    >>> wanted_by(halved)[:4]
    (8, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0), 'bicubic')
    """
    chance = _random_states()
    made = [_processed(processor, np.full((_TRIED, _TRIED, 3), each)) for each in (0, 102, 255)]
    if _random_states() != chance:
        raise ValueError(
            "the processor draws random numbers, as those for training do; give the one for "
            "evaluation"
        )
    height, width = made[0].shape[1:]
    if height != width:
        raise ValueError(
            f"the processor makes images of {width} x {height} pixels; only square ones are "
            "supported"
        )
    black, grey, white = (image.mean(axis=(1, 2)) for image in made)
    even = all(np.ptp(image, axis=(1, 2)).max() < 1e-3 for image in made)
    scale = white - black
    if not even or not np.allclose(grey, black + 0.4 * scale, atol=1e-3) or not scale.all():
        raise ValueError(_SOMETHING_ELSE)

    def seen(image: np.ndarray) -> np.ndarray:
        """Return what the network gets to see of an image, in its own range."""
        return (_processed(processor, image) - _each(black)) / _each(scale)

    flipped, uncut = _order_and_height(seen, _unscaled(seen))
    other_way = slice(None, None, -1 if flipped else 1)
    resizes = height != _TRIED or _processed(processor, _noise(_OTHER)).shape[1] != _OTHER
    return Wanted(
        height if resizes else None,
        tuple(np.round(-black / scale, 6)[other_way].tolist()),
        tuple(np.round(1 / scale, 6)[other_way].tolist()),
        _interpolation(processor, seen, uncut),
        flipped,
        uncut if uncut > height else None,
    )


def _unscaled(seen: Callable[[np.ndarray], np.ndarray]) -> int:
    """Return the height of the images that are not resized, by how steep a slope comes out.

    Edges may be cut off of them: the middle of what comes out is looked at.
    """
    place = np.arange(_TRIED)
    slope = 51 + 102 * (place + place[:, None]) / (_TRIED - 1)  # both ways, so that rounding evens
    along = seen(np.repeat(slope.round()[..., None], 3, axis=-1)).mean(axis=(0, 1))
    middle = along[len(along) // 4 : len(along) - len(along) // 4]
    if len(middle) < 2:
        raise ValueError("the processor makes images of a single pixel")
    steepness = np.polyfit(np.arange(len(middle)), middle, 1)[0] * 255 * (_TRIED - 1) / 102
    if not 1 / 32 < steepness <= _TRIED / 2:  # such as the other way round
        raise ValueError(_SOMETHING_ELSE)
    return round(_TRIED / steepness)


def _order_and_height(seen: Callable[[np.ndarray], np.ndarray], height: int) -> tuple[bool, int]:
    """Tell whether a processor makes blue of red; refuse what does more to single pixels.

    They are seen in images that are not resized. That height is measured, and may be one off; the
    right one is returned, too.
    """
    for each in (height, height - 1, height + 1):
        image = _noise(each)
        found = seen(image)
        channels, size, _ = found.shape
        if channels == 1:  # grey images are for networks of one channel
            image = np.repeat(image[..., :1], 3, axis=-1)
            found = seen(image)
        cut = each - size
        for first in _firsts(cut):
            middle = image[first:, first:][:size, :size].transpose(2, 0, 1)[:channels] / 255
            for flipped in (False, True):
                other = middle[::-1] if flipped else middle
                if other.shape == found.shape and np.abs(other - found).max() < 0.01:
                    return flipped, each
    raise ValueError(_SOMETHING_ELSE)


def _noise(height: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, height, 3))


def _each(channels: np.ndarray) -> np.ndarray:
    return channels[:, None, None]


def _random_states() -> tuple[Any, ...]:
    """Return what changes where random numbers are drawn."""
    numbers = np.random.get_state(legacy=False)
    return random.getstate(), str(numbers), torch.get_rng_state().tolist()


def _processed(processor: Callable[..., Any], pixels: np.ndarray) -> np.ndarray:
    """Return what a processor makes of an image, (channels, height, width)."""
    from PIL import Image

    image = Image.fromarray(pixels.astype(np.uint8))
    options = {"return_tensors": "pt"} if hasattr(processor, "save_pretrained") else {}
    try:
        made = processor(image, **options)
    except Exception as error:  # whatever a user's function raises
        raise ValueError(f"the processor fails on an image: {first_line(error)}") from error
    made = made.get("pixel_values") if isinstance(made, Mapping) else made
    if not isinstance(made, torch.Tensor) or made.ndim < 3 or made.shape[:-3].numel() != 1:
        raise ValueError("the processor must make a tensor of pixels of an image")
    return made.reshape(made.shape[-3:]).double().numpy()


def _interpolation(processor: Any, seen: Callable[[np.ndarray], np.ndarray], height: int) -> str:
    """Return how a processor resizes: it, or a step of it, says so under a name of its library.

    Where nothing is said, as by a function, it is tried.
    """
    inside = getattr(processor, "val_transforms", processor)  # of timm's networks in transformers
    for step in (processor, *getattr(inside, "transforms", ())):
        for name in ("resample", "interpolation"):
            if (found := getattr(step, name, None)) is not None:
                return _known(getattr(found, "value", found))
    return _known(_nearest_way(seen, height))


def _nearest_way(seen: Callable[[np.ndarray], np.ndarray], height: int) -> str:
    """Return the way to resize that comes nearest to what a processor makes of an image.

    The image is a pixel larger than what it is resized to, so that whether it is blurred before
    it shrinks hardly matters, and grey, so that the order of channels does not.
    """
    from PIL import Image

    image = Image.fromarray(_noise(height + 1)[..., 0].astype(np.uint8))
    found, *_ = seen(np.array(image.convert("RGB")))
    made = [(INTERPOLATIONS[0], image)]  # of one that does not resize
    made += [(name, image.resize((height, height), way)) for way, name in enumerate(_RESAMPLING)]

    def distance(way: tuple[str, Image.Image]) -> float:
        pixels, cut = np.array(way[1]) / 255, way[1].height - len(found)
        middles = [pixels[first:, first:][: len(found), : len(found)] for first in _firsts(cut)]
        return min(np.abs(middle - found).mean() for middle in middles)

    return min((way for way in made if way[1].height >= len(found)), key=distance)[0]


def _firsts(cut: int) -> set[int]:
    """Return where the middle may begin of pixels that so many are cut off of: either rounding."""
    return {cut // 2, -(-cut // 2)}


def _known(interpolation: Any) -> str:
    name = _RESAMPLING[interpolation] if interpolation in range(6) else interpolation
    if name not in INTERPOLATIONS:
        raise ValueError(
            f"the network wants images resized by {name}, which is not supported; choose one of "
            f"{', '.join(INTERPOLATIONS)} in dds.Classifier(network, size=..., interpolation=...)"
        )
    return name


def _as_timm_publishes_it(network: nn.Module) -> Classifier:
    """Return a network behind the input of the published one, and say so: it may be another's."""
    inner = unwrapped(network)
    wanted = _wanted_by_timm(inner)
    warnings.warn(
        f"{type(inner).__name__} is taken as timm publishes it, for images of {wanted.size} pixels "
        f"with mean {wanted.mean} and std {wanted.std}; return or give "
        "dds.Classifier(network, size=..., mean=..., std=...) if it was trained on others",
        stacklevel=5,
    )
    return _wrapped(network, wanted)


def _wanted_by_timm(network: nn.Module) -> Wanted:
    with needed():
        from timm.data import resolve_model_data_config

    if getattr(network, "num_classes", None) == 0:
        raise ValueError(
            f"{type(network).__name__} has no classes: it returns features; give one with a head "
            "that was trained, or num_classes and its weights"
        )
    # Networks of papers, written after earlier versions of timm, call it default_cfg.
    published = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None)
    wanted = resolve_model_data_config(network, pretrained_cfg=published)
    _, height, width = wanted["input_size"]
    if height != width:
        raise ValueError(
            f"the network wants images of {width} x {height} pixels; only square ones are supported"
        )
    uncut = math.floor(height / wanted["crop_pct"])  # as timm rounds
    return Wanted(
        height,
        tuple(wanted["mean"]),
        tuple(wanted["std"]),
        _known(wanted["interpolation"]),
        cut_from=uncut if uncut > height else None,
    )


def _wrapped(network: nn.Module, wanted: Wanted) -> Classifier:
    classes, how = _class_names(unwrapped(network)), wanted._asdict()
    seeing, cut_from = BlueFirst(network) if how.pop("flipped") else network, how.pop("cut_from")
    classifier = Classifier(seeing, **how, classes=classes)
    classifier._cut_from = cut_from
    return classifier


def _class_names(network: nn.Module) -> tuple[str, ...] | None:
    """Return the names of a network's classes, where it or its library knows them."""
    numbered = getattr(getattr(network, "config", None), "id2label", None)
    if isinstance(numbered, Mapping) and numbered:
        names = _in_order(numbered)
        unnamed = tuple(f"LABEL_{number}" for number in range(len(names)))
        return None if names == unnamed else names
    settings = getattr(network, "pretrained_cfg", None)
    if not settings:
        return None
    classes = getattr(network, "num_classes", None)
    names = settings.get("label_names")
    if names is None and "in1k" in str(settings.get("tag") or ""):
        from timm.data import ImageNetInfo

        names = ImageNetInfo("imagenet-1k").label_descriptions()
    return _in_order(names) if names is not None and len(names) == classes else None


def _in_order(names: Sequence[str] | Mapping[Any, str]) -> tuple[str, ...]:
    """Return names of classes in their order; a mapping has each under its number."""
    if isinstance(names, Mapping):
        names = [names[number] for number in sorted(names, key=int)]
    return tuple(map(str, names))


def _is_of_transformers(network: nn.Module) -> bool:
    return any(kind.__module__.split(".")[0] == "transformers" for kind in type(network).__mro__)


def _with_processor_found(network: nn.Module) -> nn.Module:
    """Return a network of transformers behind the processor that lies where it came from."""
    inner = unwrapped(network)
    origin = getattr(inner, "name_or_path", "")
    if not origin:
        warnings.warn(
            f"{type(inner).__name__} was not loaded from anywhere, so no processor is known: it "
            "gets images in [0,1]; give processor= for another input",
            stacklevel=5,
        )
        return network
    return _wrapped(network, wanted_by(_found_processor(origin, inner.config)))


def _found_processor(origin: str, config: Any, revision: str | None = None) -> Any:
    from transformers import AutoImageProcessor

    revision = revision or getattr(config, "_commit_hash", None)
    try:
        return AutoImageProcessor.from_pretrained(
            origin, revision=revision or "main", trust_remote_code=False
        )
    except Exception as error:  # of the hub, of files, of settings: a dozen kinds
        raise ValueError(
            f"no image processor is to be had beside {origin} ({first_line(error)}); give one as "
            "processor=, or wrap the network in dds.Classifier(network, size=..., mean=..., "
            "std=...)"
        ) from error


def _of_transformers(origin: str, revision: str | None) -> Classifier:
    with needed():
        from transformers import AutoModelForImageClassification
    try:
        network, report = AutoModelForImageClassification.from_pretrained(
            origin,
            revision=revision or "main",
            trust_remote_code=False,  # or it asks at the terminal whether to run it
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # which the report names
            output_loading_info=True,
        )
        check_loaded(report)
    except Exception as error:
        raise ValueError(f"classifier {origin} cannot be loaded: {first_line(error)}") from error
    processor = _found_processor(origin, network.config, revision)
    return _wrapped(network, wanted_by(processor)).eval()


def _of_timm(name: str) -> Classifier:
    with needed():
        import timm
    try:
        network = timm.create_model(name, pretrained=True)
    except Exception as error:
        raise ValueError(f"timm:{name} cannot be loaded: {first_line(error)}") from error
    return _wrapped(network.float(), _wanted_by_timm(network)).eval()
