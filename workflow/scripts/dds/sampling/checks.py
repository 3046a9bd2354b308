"""What the smoothed classifier refuses, as the votes would mean something else than they say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from dds.keys import LARGEST_SIGMA
from dds.reasons import first_line
from dds.sampling.votes import NOT_FINITE


def check_sigma(sigma: float) -> None:
    """Make sure that a noise level is one in [0,1] pixel units.

    Raises
    ------
    ValueError
        Saying the range.
    """
    if not 0 < sigma <= LARGEST_SIGMA:
        raise ValueError(
            f"sigma must be above 0 and at most {LARGEST_SIGMA:g} in [0,1] pixel units, not "
            f"{sigma:g}; divide one for pixels of 0 to 255 by 255"
        )


def check_noise(noise_sigma: float, sigma: float) -> None:
    """Make sure that no less noise is added than certificates are for.

    Raises
    ------
    ValueError
        Naming both noise levels.
    """
    if not noise_sigma >= sigma:
        raise ValueError(
            f"the denoiser wants noise of {noise_sigma:.6g} for sigma {sigma:.6g}; a radius that "
            "is certified for sigma holds with that much noise or more"
        )


def check_weights(networks: Iterable[tuple[str, nn.Module]]) -> None:
    """Make sure that weights are in float32, as images are.

    Raises
    ------
    ValueError
        Naming the first network whose weights are not.
    """
    for name, network in networks:
        kinds = {p.dtype for p in network.parameters() if p.is_floating_point()}
        if kinds - {torch.float32}:
            kind = str((kinds - {torch.float32}).pop()).removeprefix("torch.")
            raise ValueError(
                f"{name} has weights in {kind} and is given images in float32; call .float() "
                "on it, and choose precision bfloat16 for speed"
            )


@contextmanager
def explained(networks: Iterable[tuple[str, nn.Module]]) -> Iterator[None]:
    """Say of networks that fail whether it is for weights that are not float32.

    Raises
    ------
    ValueError
        Naming the first such network, in place of PyTorch's error about two types of numbers.
    """
    try:
        yield
    except RuntimeError as error:
        try:
            check_weights(networks)
        except ValueError as cause:
            raise cause from error
        raise


@contextmanager
def in_one_line(what: str, cure: str) -> Iterator[None]:
    """Say in one line that a network fails, whatever it raises.

    Memory that is used up is for the caller, and what is refused already is in one line.

    Raises
    ------
    ValueError
        `what`, the first line of the network's error, and the cure.
    """
    try:
        yield
    except (ValueError, FloatingPointError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a user's network raises
        raise ValueError(f"{what}: {first_line(error)}; {cure}") from error


def check_images(images: np.ndarray, ids: Sequence[int], *, whole_levels: bool) -> None:
    """Make sure that images are in [0,1] and, for integer noise, multiples of 1/255.

    Raises
    ------
    ValueError
        Naming the first image that is not.
    """
    for image, index in zip(images, ids, strict=True):
        if not ((image >= 0) & (image <= 1)).all():
            raise ValueError(f"image {index} has values outside [0,1]")
        if whole_levels and np.abs(image * 255 - np.round(image * 255)).max() > 1e-3:
            raise ValueError(
                f"image {index} has values that are no multiples of 1/255, "
                "which noise: integer needs"
            )


def check_denoised(clean: Tensor, noisy: Tensor, denoiser: str) -> None:
    """Make sure that a denoiser returns images of the shape it got.

    Raises
    ------
    ValueError
        Naming the denoiser and both shapes.
    """
    if clean.shape != noisy.shape:
        raise ValueError(
            f"denoiser {denoiser} returned shape {tuple(clean.shape)} "
            f"for images of shape {tuple(noisy.shape)}"
        )


def check_logits(logits: Tensor, rows: int, classes: int, classifier: str) -> None:
    """Make sure that a classifier has a logit for each image and class, and classes to choose from.

    Raises
    ------
    ValueError
        Naming the classifier and what it returned.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(
            f"classifier {classifier!r} must return logits of shape (batch, classes), not {found}"
        )
    if len(logits) != rows:
        raise ValueError(
            f"classifier {classifier!r} returned {len(logits)} rows of logits for {rows} images"
        )
    if logits.shape[1] == 1:
        raise ValueError(
            f"classifier {classifier!r} has a single logit; it needs one for each of 2 classes "
            "or more"
        )
    if logits.shape[1] != classes:
        raise ValueError(
            f"classifier {classifier!r} has {logits.shape[1]} classes, the dataset has {classes}"
        )


def check_finite(predictions: np.ndarray, classifiers: Iterable[str]) -> None:
    """Make sure that no logits were NaN or infinite, by the predictions (classifiers, samples).

    Raises
    ------
    FloatingPointError
        Naming the classifier.
    """
    for name, found in zip(classifiers, predictions, strict=True):
        if (found == NOT_FINITE).any():
            raise FloatingPointError(f"classifier {name!r} returned NaN or infinity")
