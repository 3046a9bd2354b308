"""Classifiers of the transformers and timm libraries, as they are published.

Such a network wants images of one size, normalised. What it wants is not said again here: a
processor is tried on a black and a white image, and timm's networks carry their settings.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from dds.extras import needed
from dds.networks.classifiers import INTERPOLATIONS, Classifier
from dds.networks.weights import check_loaded
from dds.reasons import first_line

#: Pillow's numbers of what `dds.networks.classifiers.INTERPOLATIONS` names.
_RESAMPLING = {2: "bilinear", 3: "bicubic"}

#: Heights of the images that a processor is tried on.
_TRIED = (96, 160)


class Wanted(NamedTuple):
    """The input that a network wants, as `Classifier` takes it."""

    size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str


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
        If there is no such network, it cannot be reached, or its processor does something
        else than to resize and to normalise.

    Notes
    -----
    The whole image is resized to what the network wants. Published evaluations often cut the
    edges off before; cut images the same way to compare with them.

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
        A network of timm's gets its ``pretrained_cfg`` before it. An image classifier of the
        transformers library gets `processor`, or the one that lies where it was loaded from. Any
        other network, a `Classifier` among them, takes images in [0,1] and is returned.
    processor : callable, optional
        What a network of any library wants before it: an image processor of transformers, or a
        transform of timm or torchvision, which makes a tensor of a PIL image.

    Returns
    -------
    Module
        `network`, or a `Classifier` with it inside.

    Raises
    ------
    ValueError
        If there is no processor to be found, it does something else than to resize and to
        normalise, or there is one for a `Classifier`, which has its own.

    Examples
    --------
    >>> network = nn.Flatten()
    >>> as_classifier(network) is network
    True
    """
    if isinstance(network, Classifier):
        if processor is not None:
            raise ValueError("a dds.Classifier normalises by itself; leave processor= out")
        return network
    if processor is not None:
        return _wrapped(network, wanted_by(processor))
    if hasattr(network, "pretrained_cfg") or hasattr(network, "default_cfg"):
        return _wrapped(network, _wanted_by_timm(network))
    if _is_of_transformers(network):
        return _with_processor_found(network)
    return network


def wanted_by(processor: Callable[..., Any]) -> Wanted:
    """Return the input that a processor makes, by what it makes of black, grey and white.

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
        If what it makes is not square, or no multiple of the image plus a constant, or it resizes
        in a way that `Classifier` does not.

    Examples
    --------
    >>> def halved(image):
    ...     pixels = torch.from_numpy(np.asarray(image.resize((8, 8)))).movedim(-1, 0)
    ...     return pixels / 255 - 0.5
    >>> wanted_by(halved)
    Wanted(size=8, mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0), interpolation='bicubic')
    """
    made = [_processed(processor, level, _TRIED[0]) for level in (0, 102, 255)]
    height, width = made[0].shape[1:]
    if height != width:
        raise ValueError(
            f"the processor makes images of {width} x {height} pixels; only square ones are "
            "supported"
        )
    resizes = _processed(processor, 0, _TRIED[1]).shape[1] != _TRIED[1] or height != _TRIED[0]
    black, grey, white = (image.mean(axis=(1, 2)) for image in made)
    even = all(np.ptp(image, axis=(1, 2)).max() < 1e-3 for image in made)
    scale = white - black
    if not even or not np.allclose(grey, black + 0.4 * scale, atol=1e-3) or not scale.all():
        raise ValueError(
            "the processor does something else than to resize and to normalise; write what it "
            "does as dds.Classifier(network, size=..., mean=..., std=...)"
        )
    mean, std = -black / scale, 1 / scale
    return Wanted(
        height if resizes else None,
        tuple(np.round(mean, 6).tolist()),
        tuple(np.round(std, 6).tolist()),
        _interpolation(processor),
    )


def _processed(processor: Callable[..., Any], level: int, height: int) -> np.ndarray:
    """Return what a processor makes of an image of one colour, (channels, height, width)."""
    from PIL import Image

    image = Image.new("RGB", (height, height), (level, level, level))
    options = {"return_tensors": "pt"} if hasattr(processor, "save_pretrained") else {}
    try:
        made = processor(image, **options)
    except Exception as error:  # whatever a user's function raises
        raise ValueError(f"the processor fails on an image: {error}") from error
    made = made["pixel_values"] if isinstance(made, Mapping) else made
    if not isinstance(made, torch.Tensor) or made.ndim not in (3, 4):
        raise ValueError("the processor must make a tensor of pixels of an image")
    return made.reshape(made.shape[-3:]).double().numpy()


def _interpolation(processor: Any) -> str:
    """Return how a processor resizes: it, or a step of it, says so under a name of its library."""
    inside = getattr(processor, "val_transforms", processor)  # of timm's networks in transformers
    for step in (processor, *getattr(inside, "transforms", ())):
        for name in ("resample", "interpolation"):
            if (found := getattr(step, name, None)) is not None:
                return _known(getattr(found, "value", found))
    return INTERPOLATIONS[0]


def _known(interpolation: Any) -> str:
    name = _RESAMPLING.get(interpolation, interpolation)
    if name not in INTERPOLATIONS:
        raise ValueError(
            f"the network wants images resized by {name}, which is not supported; choose one of "
            f"{', '.join(INTERPOLATIONS)} in dds.Classifier(network, size=..., interpolation=...)"
        )
    return name


def _wanted_by_timm(network: nn.Module) -> Wanted:
    with needed():
        from timm.data import resolve_model_data_config

    wanted = resolve_model_data_config(network)
    _, height, width = wanted["input_size"]
    if height != width:
        raise ValueError(
            f"the network wants images of {width} x {height} pixels; only square ones are supported"
        )
    return Wanted(
        height, tuple(wanted["mean"]), tuple(wanted["std"]), _known(wanted["interpolation"])
    )


def _wrapped(network: nn.Module, wanted: Wanted) -> Classifier:
    return Classifier(network, **wanted._asdict(), classes=_class_names(network))


def _class_names(network: nn.Module) -> tuple[str, ...] | None:
    """Return the names of a network's classes, where it or its library knows them."""
    numbered = getattr(getattr(network, "config", None), "id2label", None)
    if isinstance(numbered, Mapping) and numbered:
        names = tuple(str(numbered[number]) for number in sorted(numbered, key=int))
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
    return tuple(names) if names is not None and len(names) == classes else None


def _is_of_transformers(network: nn.Module) -> bool:
    return any(kind.__module__.split(".")[0] == "transformers" for kind in type(network).__mro__)


def _with_processor_found(network: nn.Module) -> nn.Module:
    """Return a network of transformers behind the processor that lies where it came from."""
    origin = getattr(network, "name_or_path", "")
    if not origin:
        warnings.warn(
            f"{type(network).__name__} was not loaded from anywhere, so no processor is known: it "
            "gets images in [0,1]; give processor= for another input",
            stacklevel=5,
        )
        return network
    return _wrapped(network, wanted_by(_found_processor(origin, network.config)))


def _found_processor(origin: str, config: Any, revision: str | None = None) -> Any:
    from transformers import AutoImageProcessor

    revision = revision or getattr(config, "_commit_hash", None)
    try:
        return AutoImageProcessor.from_pretrained(origin, revision=revision or "main")
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
