"""Attack images in one call, without a study: how far what is certified is from what falls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from dds.front.arguments import plain
from dds.front.asked import Asked, Devices, check_noise
from dds.front.counting import check_networks
from dds.front.images import ImagesLike
from dds.networks.denoisers import Denoiser
from dds.networks.lending import lent
from dds.sampling.attack import PGD, Attacker, distance
from dds.sampling.kernels import current
from dds.statistics.bounds import check_alpha
from dds.statistics.plans._predict import Predict
from dds.statistics.predictions import predict_counts
from dds.statistics.reach import check_enough


@dataclass(frozen=True, eq=False)
class Attacked:
    """Images that were attacked, and what the smoothed classifier answers on them.

    Of one image, given without the first dimension, no field has it.

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


@torch.inference_mode(False)  # gradients are wanted, also where the caller runs networks alone
@plain
def attack(
    images: ImagesLike,
    classifier: nn.Module,
    denoiser: Denoiser | None,
    sigma: float,
    radius: float,
    *,
    labels: ArrayLike | None = None,
    layout: str = "CHW",
    processor: Any = None,
    steps: int = 20,
    samples: int = 16,
    restarts: int = 1,
    step_size: float | None = None,
    clip: bool = False,
    n: int = 1000,
    alpha: float = 0.001,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    batch_size: int | str = 100,
    precision: str = "float32",
    device: Devices = None,
) -> Attacked:
    """Attack a smoothed classifier within an l2 ball: EOT-PGD, judged by PREDICT.

    Projected gradient descent on the probability that the soft smoothed classifier gives the
    label, through classifier and denoiser, averaged over noise (expectation over
    transformation). What comes out is judged by Cohen's PREDICT on noise that the attack has
    not seen. That an attack fails proves nothing; that it succeeds within a certified radius
    would prove the certificate, or PREDICT, wrong, each of which has probability `alpha` at most.

    Parameters
    ----------
    images, classifier, denoiser, sigma, layout, processor
        As `certify` takes them. Logits give better gradients than probabilities.
    radius : float
        l2 radius of the ball in [0,1] pixel units, at least 0.
    labels : array_like of int
        The class of each image that the smoothed classifier shall not answer. Data sets and
        loaders bring theirs.
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
        As `certify` takes them; of several devices the first does all. The noise is that of no
        certificate of the same seed. An image is attacked alike whatever others there are.

    Returns
    -------
    Attacked

    Raises
    ------
    ValueError, FloatingPointError
        As `certify`; and if there are no labels, `n` samples name no class whatever they answer,
        no gradient passes the networks, it has NaN or infinity, or an argument is out of its range.

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
    ...     found = attack(image, network, None, sigma=0.25, radius=radius, labels=[1])
    ...     print(found.prediction, found.norm.round(3))
    [1] [0.4]
    [0] [0.6]
    """
    check_noise(sigma)
    check_alpha(alpha)
    check_enough(n, alpha)
    pgd = PGD(steps, samples, restarts, step_size, clip)
    asked = Asked.of(
        "attack", images, classifier, denoiser, labels=labels, layout=layout, processor=processor,
        ids=ids, device=device, sigma=sigma, plan=Predict(n=n), seed=seed, alpha=alpha,
        batch_size=batch_size, precision=precision,
    )  # fmt: skip
    if asked.labels is None:
        raise ValueError("an attack needs to know what is right; give labels=, a class an image")
    with lent(asked.modules), current(asked.devices[0]):
        attacker = Attacker(
            asked.classifier, asked.denoiser, sigma, seed, pgd, classes=asked.classes, n=n,
            batch_size=batch_size, precision=asked.precision, device=asked.devices[0],
        )  # fmt: skip
        check_networks(asked, attacker.smoothed)
        found = np.stack([
            attacker.attack(image, int(label), index, radius)
            for image, label, index in zip(asked.pixels, asked.labels, asked.ids, strict=True)
        ])  # fmt: skip
        votes = attacker.judge(found, asked.ids)
    norm = np.array([distance(*pair) for pair in zip(asked.pixels, found, strict=True)])
    prediction, _ = predict_counts(votes, alpha)
    results = (found, norm, prediction, votes, prediction == asked.labels)
    return Attacked(*(values[0] for values in results) if asked.images.is_one else results)
