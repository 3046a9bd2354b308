"""What a call asks, in one form, and checked before anything is sampled."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from sysconfig import get_python_version
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from dds.differences import fingerprint
from dds.front.arguments import shown, whole_number
from dds.front.images import Images, ImagesLike, as_images, names_of_classes
from dds.networks.classifiers import Classifier, logits_of
from dds.networks.denoisers import Denoiser, DiffusionDenoiser, NoDenoiser, missing_parts
from dds.networks.hub_classifiers import as_classifier, unwrapped
from dds.networks.identity import network_digest
from dds.networks.lending import lent
from dds.networks.own_code import own_code
from dds.protocol import PROTOCOL
from dds.reasons import first_line
from dds.sampling.checks import check_sigma, check_weights
from dds.sampling.kernels import choose_precision, current
from dds.statistics.plans import Plan

#: A device, or several that share the images.
Devices: TypeAlias = "str | torch.device | Sequence[str | torch.device] | None"

#: Noise of more than twice the range of pixels leaves nothing to see, and is often in other units.
_LARGE_SIGMA = 2.0

#: Largest number of an image, as counts files hold it.
_LARGEST_ID = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Asked:
    """A call of `certify` or `predict`, ready to be sampled.

    Attributes
    ----------
    call : str
        Its name.
    images : Images
        The images and, where they are known, their labels.
    ids : sequence of int
        The number of each image, which keys its noise.
    classifier : Module
        From images in [0,1] to logits.
    class_names : tuple of str or None
        What its classes are called, where that is known.
    classes : int
        How many it has.
    denoiser : Denoiser
        What comes before it.
    sigma, plan, seed, alpha, batch_size, precision
        As the call takes them.
    devices : list of torch.device
        Where it runs.
    """

    call: str
    images: Images
    ids: Sequence[int]
    classifier: nn.Module
    class_names: tuple[str, ...] | None
    classes: int
    denoiser: Denoiser
    sigma: float
    plan: Plan
    seed: int
    alpha: float
    batch_size: int | str
    precision: str
    devices: list[torch.device]

    @classmethod
    def of(
        cls,
        call: str,
        images: ImagesLike,
        classifier: nn.Module,
        denoiser: Denoiser | None,
        *,
        labels: ArrayLike | None,
        layout: str,
        processor: Any,
        ids: Sequence[int] | None,
        device: Devices,
        sigma: float,
        precision: str,
        **settings: Any,
    ) -> Asked:
        """Bring what a call is given into one form.

        Raises
        ------
        ValueError
            In one line: what is wrong, and the cure.
        """
        _check_networks(classifier, denoiser)
        given = as_images(images, labels, layout)
        devices = _as_devices(device, classifier)
        ready = as_classifier(classifier, processor)
        denoiser = NoDenoiser() if denoiser is None else denoiser
        count = count_classes(ready, given.pixels[:1], devices[0])
        inside = unwrapped(ready)
        names = names_of_classes(inside)
        _check_classes(given, count, names)
        _warn_of_squeezing(inside, *given.pixels.shape[2:])
        _warn_of_edges(inside, *given.pixels.shape[2:])
        _warn_of_other_size(denoiser, *given.pixels.shape[2:])
        return cls(
            call,
            given,
            _as_ids(ids, len(given.pixels)),
            ready,
            names,
            count,
            denoiser,
            sigma,
            devices=devices,
            # Settled once: devices, and calls that go on, must not choose for themselves.
            precision=choose_precision(precision, devices[0]),
            **settings,
        )

    @property
    def pixels(self) -> np.ndarray:
        """The images, (images, channels, height, width)."""
        return self.images.pixels

    @property
    def labels(self) -> np.ndarray | None:
        """The true classes, (images,), where they are known."""
        return self.images.labels

    @property
    def modules(self) -> list[nn.Module]:
        """All that is moved, put into evaluation mode and compiled meanwhile."""
        parts = (self.classifier, *self.denoiser.networks, self.denoiser)
        return [part for part in parts if isinstance(part, nn.Module)]

    def code(self) -> dict[str, str | None]:
        """Return hashes of what of a user's own runs, which are of a version of Python."""
        return {"python": get_python_version(), **own_code(self.classifier, self.denoiser)}

    def digests(self, without: Collection[str] = ()) -> dict[str, str]:
        """Return the hashes of the networks, without some attributes; a second a gigabyte."""
        return {
            "classifier": network_digest(self.classifier, without),
            "denoiser": network_digest(self.denoiser, without),
        }

    def facts(self, *, digests: bool = True) -> dict[str, Any]:
        """Return all that the votes depend on, as JSON can hold it.

        Parameters
        ----------
        digests : bool, optional
            Whether with the hashes of images and networks, which take a second a gigabyte.
        """
        hashes: dict[str, Any] = {}
        if digests:
            images = hashlib.sha256(self.pixels.data).hexdigest()
            hashes = {"images": images, "code": self.code(), **self.digests()}
        return hashes | {
            "call": self.call,
            "protocol": PROTOCOL,
            "ids": fingerprint(list(map(int, self.ids))),
            "labels": None if self.labels is None else fingerprint(self.labels.tolist()),
            "is_one": self.images.is_one,
            "sigma": float(self.sigma),
            "seed": self.seed,
            "n0": self.plan.n0,
            "n": self.plan.n,
            "plan": self.plan.to_dict(),
            "alpha": float(self.alpha),
            "precision": self.precision,
            "num_classes": self.classes,
            "class_names": None if self.class_names is None else list(self.class_names),
            "name": type(getattr(self.classifier, "network", self.classifier)).__name__,
            "backend": self.devices[0].type,
            "devices": sorted({_device_name(device) for device in self.devices}),
            "torch": torch.__version__,
        }


def check_noise(sigma: float) -> None:
    """Make sure that a noise level is one in [0,1] pixel units, and warn of one that hardly is.

    Raises
    ------
    ValueError
        Saying the range.
    """
    check_sigma(sigma)
    if sigma > _LARGE_SIGMA:
        warnings.warn(
            f"sigma {sigma:g} is {sigma:g} times the range of pixels; if it is one for pixels of 0 "
            f"to 255, divide it by 255: {sigma / 255:.3g}",
            stacklevel=4,
        )


def _check_networks(classifier: Any, denoiser: Any) -> None:
    kind = type(classifier).__name__
    if not isinstance(classifier, nn.Module):
        raise ValueError(
            f"the classifier is a {kind}; it must be a torch.nn.Module, such as the model in a "
            "pipeline"
        )
    kind = type(denoiser).__name__
    if denoiser is not None and (missing := missing_parts(denoiser)):
        raise ValueError(
            f"the denoiser is a {kind}, which has no {missing[0]}; wrap a network in "
            "dds.DiffusionDenoiser(network, schedule), or load it by dds.hub_denoiser"
        )
    # Some networks cast images to what their weights are in, and run.
    before = () if denoiser is None else denoiser.networks
    check_weights([("the classifier", classifier), *(("the denoiser", each) for each in before)])


def _as_devices(device: Devices, classifier: nn.Module) -> list[torch.device]:
    if device is None:
        return [_device_of(classifier)]
    several: list[Any]
    if isinstance(device, str) or not isinstance(device, Iterable):
        several = [device]
    else:
        several = list(device)
    for one in several:
        if not isinstance(one, str | torch.device):
            raise ValueError(f"device must be such as cuda, cuda:1 or cpu, not {shown(one)}")
    if not several:
        raise ValueError("device is an empty list; name one device or more, or leave it out")
    try:
        return [torch.empty(0, device=one).device for one in several]
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"device {device!r} cannot be used: {first_line(error)}") from error


def _device_of(network: nn.Module) -> torch.device:
    """Return where a network's weights lie: the CPU for one that has none."""
    weights = chain(network.parameters(), network.buffers())
    return next((weight.device for weight in weights), torch.device("cpu"))


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _as_ids(ids: Sequence[int] | None, images: int) -> Sequence[int]:
    if ids is None:
        return range(images)
    given = np.ravel(np.asarray(ids, object))
    if len(given) != images:
        raise ValueError(f"{len(given)} ids do not fit {images} images")
    found = [whole_number(one) for one in given]
    for one, read in zip(given, found, strict=True):
        if read is None or not 0 <= read <= _LARGEST_ID:
            raise ValueError(f"ids must be whole, from 0 to {_LARGEST_ID:,}, not {shown(one)}")
    return cast(list[int], found)


def count_classes(classifier: nn.Module, image: np.ndarray, device: str | torch.device) -> int:
    """Return how many logits a classifier has: it is tried, and given back as it came."""
    try:
        with lent([classifier]), current(device):
            classifier.to(device).eval()
            with torch.inference_mode():
                # Copied, for a network may work in place on what it is fed.
                logits = logits_of(classifier(torch.tensor(image, device=device)))
    except Exception as error:  # whatever a user's function raises
        raise ValueError(
            f"the classifier fails on images of shape {image.shape[1:]}: {first_line(error)}; "
            "dds.Classifier(network, size=..., mean=..., std=...) brings them to what it wants"
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        raise ValueError("the classifier must return logits of shape (batch, classes)")
    return logits.shape[1]


def _warn_of_squeezing(classifier: nn.Module, height: int, width: int) -> None:
    size = getattr(classifier, "size", None)
    if isinstance(classifier, Classifier) and size is not None and height != width:
        warnings.warn(
            f"images of {width} x {height} pixels are squeezed to the {size} x {size} that the "
            "classifier wants; crop them to squares where it was trained on crops",
            stacklevel=5,
        )


def _warn_of_edges(classifier: nn.Module, height: int, width: int) -> None:
    """Say that the network sees more of images than its library would show it."""
    cut_from, size = getattr(classifier, "_cut_from", None), getattr(classifier, "size", None)
    if cut_from is not None and (height, width) != (size, size):
        warnings.warn(
            f"the classifier is meant to see the middle {size} of {cut_from} pixels; here edges "
            f"are not cut off: images of {width} x {height} are resized whole; cut them to {size} "
            f"x {size} as its library does to certify what it would show",
            stacklevel=5,
        )


def _warn_of_other_size(denoiser: Denoiser, height: int, width: int) -> None:
    """Say that images are not those that the denoiser was trained on; it may be meant.

    The paper denoises images of 224 pixels by a network that was trained on 256.
    """
    size = denoiser.size if isinstance(denoiser, DiffusionDenoiser) else None
    if size is not None and (height, width) != (size, size):
        warnings.warn(
            f"the denoiser was trained on images of {size} x {size} pixels, and gets {width} x "
            f"{height}, which it may denoise worse; resize them to {size} x {size}, unless it is "
            "known to do well",
            stacklevel=5,
        )


def _check_classes(given: Images, classes: int, names: Sequence[str] | None) -> None:
    """Make sure that labels mean the classes that logits do."""
    if names is not None and len(names) != classes:
        raise ValueError(f"the classifier has {classes} logits and {len(names)} names of classes")
    if given.labels is None:
        return
    if (wrong := (given.labels < 0) | (given.labels >= classes)).any():
        index = int(np.argmax(wrong))
        raise ValueError(
            f"label {given.labels[index]} of image {index} is none of the classifier's {classes} "
            f"classes, 0 to {classes - 1}"
        )
    if given.classes is None:
        return
    if len(given.classes) != classes:
        raise ValueError(
            f"the data set has {len(given.classes)} classes, the classifier {classes}: labels "
            "would mean other classes; give images and labels= in the classifier's numbers"
        )
    if names is not None and (example := other_order(given.classes, names)):
        raise ValueError(
            "the data set and the classifier have the same classes in another order, such as "
            f"{example}; give images and labels= in the classifier's numbers"
        )


def other_order(classes: Sequence[str], others: Sequence[str]) -> str | None:
    """Return an example where the same classes come in another order; None where they do not.

    Examples
    --------
    >>> other_order(["cat", "dog"], ["dog", "cat"])
    'cat and dog for 0'
    """
    if sorted(classes) != sorted(others):
        return None
    pairs = enumerate(zip(classes, others, strict=True))
    return next(
        (f"{one} and {two} for {number}" for number, (one, two) in pairs if one != two), None
    )
