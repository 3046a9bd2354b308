"""Attack images in one call, without a study: how far what is certified is from what falls."""

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
from dds.sampling.attack import PGD, Attacker, distance
from dds.sampling.checks import check_images, explained
from dds.statistics.predictions import predict_counts


@dataclass(frozen=True, eq=False)
class Attacked:
    """Images that were attacked, and what the smoothed classifier answers on them.

    Attributes
    ----------
    images : ndarray of float32, shape (images, channels, height, width)
        The attacked images. They may leave [0,1], unless they were to be clipped.
    norm : ndarray of float64, shape (images,)
        l2 norm of each perturbation in [0,1] pixel units, at most the radius: that of the
        difference of the very numbers in `images` and in what was attacked.
    prediction : ndarray of int, shape (images,)
        What PREDICT answers: a class, or `dds.ABSTAIN`.
    votes : ndarray of int, shape (images, classes)
        Class counts of the samples that it answers by.
    correct : ndarray of bool, shape (images,)
        Whether the answer is the label. An image on which PREDICT abstains is not correct, and
        yet no success against a certificate, which another class alone would refute.
    """

    images: np.ndarray
    norm: np.ndarray
    prediction: np.ndarray
    votes: np.ndarray
    correct: np.ndarray


def attack(
    images: ArrayLike | torch.Tensor,
    labels: Sequence[int],
    classifier: nn.Module,
    denoiser: Denoiser | None,
    sigma: float,
    radius: float,
    *,
    steps: int = 20,
    samples: int = 16,
    restarts: int = 1,
    step_size: float | None = None,
    clip: bool = False,
    n: int = 1000,
    alpha: float = 0.001,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    batch_size: int = 100,
    precision: str = "float32",
    device: str | torch.device | None = None,
) -> Attacked:
    """Attack a smoothed classifier within an l2 ball: EOT-PGD, judged by PREDICT.

    Projected gradient descent on the probability that the soft smoothed classifier gives the
    label, through classifier and denoiser, averaged over noise (expectation over
    transformation). What comes out is judged by Cohen's PREDICT on noise that the attack has
    not seen. That an attack fails proves nothing; that it succeeds within a certified radius
    would prove the certificate, or PREDICT, wrong, each of which has probability `alpha` at most.

    Parameters
    ----------
    images : array_like or Tensor of float, shape (images, channels, height, width)
        In [0,1].
    labels : sequence of int
        The class of each that the smoothed classifier shall not answer.
    classifier, denoiser, sigma
        As `dds.certify` takes them.
    radius : float
        l2 radius of the ball in [0,1] pixel units, at least 0.
    steps : int, optional
        Gradient steps from each start.
    samples : int, optional
        Noisy copies of the image, fresh at every step, that a gradient is averaged over.
    restarts : int, optional
        Starts from random points of the ball, beside the first one from the image itself.
    step_size : float, optional
        Length of a step as a share of the radius, at most 2; by default 2.5 / `steps`.
    clip : bool, optional
        Keep attacked images in [0,1]. A certificate is about the whole ball, with what of it
        lies outside, so that this is not the default.
    n : int, optional
        Samples of an attacked image that PREDICT answers by.
    alpha : float, optional
        Probability, at most, of an answer that is not the smoothed classifier's.
    seed, ids, batch_size, precision, device
        As `dds.certify` takes them. The noise is that of no certificate of the same seed. An
        image is attacked alike, with the same noise, whatever others there are.

    Returns
    -------
    Attacked

    Raises
    ------
    ValueError
        If images are not in [0,1] or of another shape, labels are no classes, an argument is
        out of range, or a network returns what cannot be used.
    FloatingPointError
        If the classifier returns NaN or infinity.

    References
    ----------
    .. [1] Salman et al., Provably Robust Deep Learning via Adversarially Trained Smoothed
       Classifiers, NeurIPS 2019: section 2.2.
    .. [2] Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018.
    .. [3] Cohen et al., Certified Adversarial Robustness via Randomized Smoothing, ICML 2019:
       PREDICT.

    Examples
    --------
    Which of two pixels is brighter? The smoothed answer is certain up to a radius of
    0.7 / sqrt(2) = 0.495, where both are as bright:

    >>> import torch
    >>> from dds import attack
    >>> image, network = torch.tensor([[[[0.1, 0.8]]]]), torch.nn.Flatten()
    >>> for radius in (0.4, 0.6):
    ...     found = attack(image, [1], network, None, sigma=0.25, radius=radius)
    ...     print(found.prediction, found.norm.round(3))
    [1] [0.4]
    [0] [0.6]
    """
    pixels = images.detach().cpu().numpy() if isinstance(images, torch.Tensor) else images
    pixels = np.asarray(pixels, dtype=np.float32)
    if pixels.ndim != 4 or 0 in pixels.shape:
        raise ValueError(
            f"images must have shape (images, channels, height, width), not {pixels.shape}"
        )
    ids = list(range(len(pixels)) if ids is None else ids)
    if not len(pixels) == len(labels) == len(ids):
        raise ValueError(f"{len(labels)} labels and {len(ids)} ids do not fit {len(pixels)} images")
    check_images(pixels, ids, whole_levels=False)
    denoiser = NoDenoiser() if denoiser is None else denoiser
    pgd = PGD(steps, samples, restarts, step_size, clip)
    parts = (classifier, *denoiser.networks, denoiser)
    with lent(part for part in parts if isinstance(part, nn.Module)):
        device = _device_of(classifier) if device is None else torch.device(device)
        classes = _count_classes(classifier.to(device).eval(), pixels[:1], device)
        if wrong := [label for label in labels if not 0 <= label < classes]:
            raise ValueError(f"label {wrong[0]} is no class; they are 0 to {classes - 1}")
        attacker = Attacker(
            classifier, denoiser, sigma, seed, pgd, classes=classes, n=n,
            batch_size=batch_size, precision=precision, device=device,
        )  # fmt: skip
        found = [
            attacker.attack(image, label, index, radius)
            for image, label, index in zip(pixels, labels, ids, strict=True)
        ]
        votes = attacker.judge(np.stack(found), ids)
    prediction, _ = predict_counts(votes, alpha)
    return Attacked(
        np.stack(found),
        np.array([distance(*pair) for pair in zip(pixels, found, strict=True)]),
        prediction,
        votes,
        prediction == np.asarray(labels),
    )


def _device_of(network: nn.Module) -> torch.device:
    """Return where a network's weights lie: the CPU for one that has none."""
    weights = chain(network.parameters(), network.buffers())
    return next((weight.device for weight in weights), torch.device("cpu"))


@torch.no_grad()
def _count_classes(classifier: nn.Module, image: np.ndarray, device: torch.device) -> int:
    with explained([("the classifier", classifier)]):
        logits = logits_of(classifier(torch.from_numpy(image).to(device)))
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        raise ValueError("the classifier must return logits of shape (batch, classes)")
    return logits.shape[1]
