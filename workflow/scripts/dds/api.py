"""Certify images in one call, without a study: models in, radii out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from dds.networks.classifiers import logits_of
from dds.networks.denoisers import Denoiser, NoDenoiser
from dds.networks.lending import lent
from dds.sampling.checks import check_sigma, explained
from dds.sampling.smoothing import SmoothedClassifier
from dds.statistics.bounds import largest_radius
from dds.statistics.certificates import ABSTAIN, certify_counts
from dds.statistics.plans.fixed import Fixed

#: Images have no more colour channels, where they have them last.
_MOST_COLOURS = 4


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is known of the smoothed classifier's answer on an image, or on each of a batch.

    With probability at least 1 - `alpha` over the samples, an image either abstains or
    has the smoothed classifier answer `prediction` everywhere within `radius` of it
    (Cohen et al., 2019, theorem 1).

    Attributes
    ----------
    prediction : ndarray of int, shape (images,) or ()
        The class, or `dds.ABSTAIN`.
    radius : ndarray of float, shape (images,) or ()
        l2 radius in [0,1] pixel units; 0 where it abstains.
    p_lower : ndarray of float, shape (images,) or ()
        Lower confidence bound of the selected class's probability under noise.
    selection : ndarray of int, shape (images, classes) or (classes,)
        Class counts of the n0 samples that select a class.
    estimation : ndarray of int, shape (images, classes) or (classes,)
        Class counts of the n samples that bound its probability.
    sigma, alpha : float
        Noise level in [0,1] pixel units, and error probability of each certificate.
    """

    prediction: np.ndarray
    radius: np.ndarray
    p_lower: np.ndarray
    selection: np.ndarray
    estimation: np.ndarray
    sigma: float
    alpha: float

    def __repr__(self) -> str:
        settings = f"sigma {self.sigma:g}, alpha {self.alpha:g}"
        if self.prediction.ndim:
            radii = self.radius[self.prediction != ABSTAIN]
            found = f"{len(radii)} certified"
            if len(radii):
                low, middle, high = map(_down, (radii.min(), np.median(radii), radii.max()))
                found += f", radius {low} to {high} (median {middle})"
            return f"<Certificate of {len(self.prediction)} images: {found}; {settings}>"
        if self.prediction == ABSTAIN:
            return f"<Certificate: abstains; {settings}>"
        return (
            f"<Certificate: class {self.prediction} within {_down(float(self.radius))}; {settings}>"
        )


def _down(radius: float) -> str:
    """Return a radius in three decimals that promise no more than it does."""
    return f"{np.floor(1000 * radius) / 1000:.3f}"


def certify(
    images: ArrayLike | torch.Tensor,
    classifier: nn.Module,
    denoiser: Denoiser | None,
    sigma: float,
    *,
    n0: int = 100,
    n: int = 10_000,
    alpha: float = 0.001,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    batch_size: int = 100,
    precision: str = "float32",
    device: str | torch.device | None = None,
) -> Certificate:
    """Predict the class of images and certify radii around them.

    Parameters
    ----------
    images : array_like or Tensor of float, shape (images, channels, height, width)
        In [0,1]. One image of shape (channels, height, width) gives a certificate
        without the first dimension.
    classifier : Module
        Maps images in [0,1] to logits (batch, classes), or to an object that holds them as
        ``.logits``, as networks of the transformers library do; any network of yours, or a
        `dds.Classifier`, which resizes and normalises for a network that needs it. Weights
        are in float32.
    denoiser : Denoiser or None
        What comes before the classifier; None for randomized smoothing without.
    sigma : float
        Noise level in [0,1] pixel units, at most 10.
    n0, n : int, optional
        Samples of an image that select its class and that bound its probability.
        No radius can exceed ``dds.statistics.bounds.largest_radius(n, alpha, sigma)``.
    alpha : float, optional
        Error probability of each certificate, 0 < alpha < 1.
    seed : int, optional
        Keys the noise, together with `ids` and `sigma`.
    ids : sequence of int, optional
        Number of each image in its dataset, 0, 1, 2, ... by default. An image gets the
        same noise whatever it is batched with; images of one number share theirs.
    batch_size : int, optional
        Noisy images the networks see at a time.
    precision : {"float32", "bfloat16"}, optional
        Of the networks' matrix products and convolutions.
    device : str or torch.device, optional
        Where the networks run, by default where the classifier lies. They run in evaluation
        mode, and afterwards are as they came: on their device, in their mode, not compiled.

    Returns
    -------
    Certificate

    Raises
    ------
    ValueError
        If images are not in [0,1] or of another shape, an argument is out of range, the
        classifier does not return two logits or more for each image, or weights are not in
        float32.
    FloatingPointError
        If the classifier returns NaN or infinity.

    References
    ----------
    .. [1] Carlini et al., (Certified!!) Adversarial Robustness for Free!, ICLR 2023.
    .. [2] Cohen et al., Certified Adversarial Robustness via Randomized Smoothing, ICML 2019.

    Examples
    --------
    Which of two pixels is brighter? A network that hands them on as its logits:

    >>> import torch
    >>> from dds import certify
    >>> image = torch.tensor([[[0.2, 0.9]]])
    >>> certificate = certify(image, torch.nn.Flatten(), None, sigma=0.5, n=1000)
    >>> certificate
    <Certificate: class 1 within 0.398; sigma 0.5, alpha 0.001>
    """
    pixels = _as_pixels(images)
    batch = pixels if pixels.ndim == 4 else pixels[None]
    ids = range(len(batch)) if ids is None else ids
    if len(ids) != len(batch):
        raise ValueError(f"{len(ids)} ids do not fit {len(batch)} images")
    plan = Fixed(n0, n)
    check_sigma(sigma)
    largest_radius(n, alpha, sigma)  # checks ranges before anything is sampled
    denoiser = NoDenoiser() if denoiser is None else denoiser
    device = _device_of(classifier) if device is None else device
    parts = (classifier, *denoiser.networks, denoiser)
    with lent(part for part in parts if isinstance(part, nn.Module)):
        smoothed = SmoothedClassifier(
            {"classifier": classifier}, denoiser, sigma, plan, seed,
            batch_size=batch_size, precision=precision, device=device,
        )  # fmt: skip
        classes = _count_classes(classifier, batch[:1], device)
        votes = smoothed.count_votes(batch, [None] * len(batch), ids, classes=classes)
    selection, estimation = votes.selection[:, 0], votes.estimation[:, 0]
    unknown = np.full(len(batch), ABSTAIN)
    columns = certify_counts(selection, estimation, sigma, unknown, plan, alpha)
    results = (columns["prediction"], columns["radius"], columns["p_lower"], selection, estimation)
    if pixels.ndim == 3:
        results = tuple(values[0] for values in results)
    return Certificate(*results, sigma=sigma, alpha=alpha)


def _as_pixels(images: ArrayLike | torch.Tensor) -> np.ndarray:
    if isinstance(images, torch.Tensor):
        images = images.detach().cpu().numpy()
    pixels = np.asarray(images)
    if pixels.ndim not in (3, 4) or 0 in pixels.shape:
        raise ValueError(
            "images must have shape (images, channels, height, width) or "
            f"(channels, height, width), not {pixels.shape}"
        )
    if pixels.shape[-1] <= _MOST_COLOURS < pixels.shape[-3]:
        raise ValueError(
            f"images of shape {pixels.shape} seem to have their channels last; give them as "
            "(images, channels, height, width), by np.moveaxis(images, -1, -3)"
        )
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ValueError(f"images must be floats in [0,1], not {pixels.dtype}; divide bytes by 255")
    return pixels


def _device_of(network: nn.Module) -> torch.device:
    """Return where a network's weights lie: the CPU for one that has none."""
    weights = chain(network.parameters(), network.buffers())
    return next((weight.device for weight in weights), torch.device("cpu"))


@torch.inference_mode()
def _count_classes(classifier: nn.Module, image: np.ndarray, device: str | torch.device) -> int:
    with explained([("the classifier", classifier)]):
        logits = logits_of(classifier(torch.from_numpy(image.astype(np.float32)).to(device)))
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        raise ValueError("the classifier must return logits of shape (batch, classes)")
    return logits.shape[1]
