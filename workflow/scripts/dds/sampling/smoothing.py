"""Diffusion denoised smoothing: add noise, denoise in one shot, classify, count the votes.

`SmoothedClassifier._denoise_and_classify` is Figure 1 of Carlini et al. (2023), on a batch:

    t*, alpha = computeTimestep(sigma)    equation 4: the denoiser, by its schedule
    x_t* = sqrt(alpha) (x + delta)        equation 6: `_add_noise`; the denoiser scales
    x_hat = denoise(x_t*; t*)             equation 7: the denoiser
    y = f_clf(x_hat)                      equation 8: `_classify`

Which samples come next is in `dds.sampling.votes`, their noise in `dds.sampling.noise`, how
batches run on a device in `dds.sampling.runner`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dds.networks.classifiers import logits_of
from dds.networks.denoisers import Denoiser, Normal
from dds.sampling.checks import (
    check_denoised,
    check_finite,
    check_images,
    check_logits,
    check_noise,
    check_sigma,
    explained,
)
from dds.sampling.noise import NoiseSource
from dds.sampling.runner import Runner, scatter
from dds.sampling.votes import NOT_FINITE, NOT_WANTED, Queue, Segment, Votes
from dds.statistics.plans import Plan

NOISES = ("float", "integer")


class SmoothedClassifier:
    """The smoothed classifier g: what the base classifier f answers most often under noise.

    f is a denoiser and a classifier (equation 2); several classifiers make several g.

    Parameters
    ----------
    classifiers : mapping of str to Module
        Each maps images (batch, channels, height, width) in [0,1] to logits
        (batch, classes); all have the same classes. They share every denoised batch.
    denoiser : Denoiser
        What comes before them.
    sigma : float
        Noise level in [0,1] pixel units.
    plan : Plan
        How many samples to draw, and when to stop.
    seed : int
        The study's seed, which keys the noise.
    noise : {"float", "integer"}, optional
        ``"integer"`` rounds the noise to multiples of 1/255, for images that are
        multiples of 1/255 (Voracek and Hein, 2023).
    **running
        ``batch_size``, ``deterministic``, ``precision``, ``device`` and ``compiled``
        of `dds.sampling.runner.Runner`.

    Notes
    -----
    The guarantee of Cohen et al. (2019, theorem 1) is about one fixed function. The
    networks are therefore put into evaluation mode, and precision and device belong
    to what is certified: read `precision` here, after ``"auto"`` has been replaced.

    References
    ----------
    .. [1] Carlini et al., (Certified!!) Adversarial Robustness for Free!, ICLR 2023.
    .. [2] Cohen et al., Certified Adversarial Robustness via Randomized Smoothing, ICML 2019.
    .. [3] Voracek and Hein, Sound Randomized Smoothing in Floating-Point Arithmetic, ICLR 2023.

    Examples
    --------
    Which of two pixels is brighter? A network that hands them on as its logits:

    >>> import numpy as np, torch
    >>> from dds import NoDenoiser, SmoothedClassifier, make_plan
    >>> plan = make_plan({"plan": "fixed", "n0": 10, "n": 1000}, sigma=0.5)
    >>> smoothed = SmoothedClassifier({"f": torch.nn.Flatten()}, NoDenoiser(), 0.5, plan, seed=1)
    >>> image = np.array([[[0.2, 0.9]]])
    >>> votes = smoothed.count_votes(image[None], labels=[1], ids=[0], classes=2)
    >>> votes.selection.tolist(), votes.estimation.tolist()
    ([[[3, 7]]], [[[150, 850]]])
    """

    def __init__(
        self,
        classifiers: Mapping[str, nn.Module],
        denoiser: Denoiser,
        sigma: float,
        plan: Plan,
        seed: int,
        *,
        noise: str = "float",
        **running: Any,
    ) -> None:
        check_sigma(sigma)
        check_noise(denoiser.noise_sigma(sigma), sigma)
        if noise not in NOISES:
            raise ValueError(f"unknown noise {noise!r}; allowed: {', '.join(NOISES)}")
        self.classifiers, self.denoiser = classifiers, denoiser
        self.sigma, self.plan, self.seed, self.noise = sigma, plan, seed, noise
        self.runner = Runner(list(classifiers.values()), denoiser, **running)
        self.precision = self.runner.precision

    @property
    def batch_size(self) -> int | str:
        """Samples in a batch."""
        return self.runner.batch_size

    def count_votes(
        self,
        images: np.ndarray,
        labels: Sequence[int | None],
        ids: Sequence[int],
        *,
        classes: int,
        votes: Votes | None = None,
        after_batch: Callable[[Votes], None] | None = None,
        see_answers: Callable[[list[Segment], np.ndarray], None] | None = None,
        any_range: bool = False,
    ) -> Votes:
        """Draw the samples that the plan asks for, and count what f answers.

        Parameters
        ----------
        images : ndarray of float, shape (images, channels, height, width)
            In [0,1].
        labels : sequence of int or None
            True class of each image, where known; a plan may skip images by it.
        ids : sequence of int
            Index of each image in its dataset, which keys its noise.
        classes : int
            Number of classes.
        votes : Votes, optional
            Where an earlier call was interrupted; changed in place.
        after_batch : callable, optional
            Called with the votes after each batch; may raise to interrupt.
        see_answers : callable, optional
            Called with each batch before it is counted: which samples they are, and the class
            of each, an ndarray of int of shape (classifiers, samples).
        any_range : bool, optional
            Take images that leave [0,1], too: those that an attack has made.

        Returns
        -------
        Votes
            With no image left that wants samples.

        Raises
        ------
        ValueError
            If an image leaves [0,1] (or, with integer noise, is no multiple of 1/255),
            the denoiser changes the shape of images, a classifier does not return
            `classes` logits, 2 or more, for each of them, or weights are not in float32.
        FloatingPointError
            If a classifier returns NaN or infinity.
        """
        images = np.asarray(images, np.float32)
        if not any_range:
            check_images(images, ids, whole_levels=self.noise == "integer")
        if votes is None:
            votes = Votes.none(len(ids), len(self.classifiers), classes)
        queue = Queue(votes, self.plan, labels, one_segment=self.runner.deterministic)
        on_device = torch.from_numpy(images).to(self.runner.device)
        dtype = torch.float64 if self.noise == "integer" else torch.float32
        source = NoiseSource(self.seed, self.sigma, ids, on_device, dtype)
        base = partial(self._denoise_and_classify, classes=classes)
        with explained(self.networks):
            most = len(ids) * (self.plan.n0 + self.plan.n)
            self.runner.get_ready(base, images.shape[1:], most)
        with explained(self.networks), self.runner.inference():
            for batch, predictions in self.runner.run(base, queue, source):
                check_finite(predictions, self.classifiers)
                if see_answers is not None:
                    see_answers(batch, predictions)
                queue.count(batch, predictions)
                if after_batch is not None:
                    after_batch(votes)
        return votes

    @property
    def networks(self) -> list[tuple[str, nn.Module]]:
        """Every network, each behind what to call it in an error."""
        denoisers = [("the denoiser", network) for network in self.denoiser.networks]
        return denoisers + [(f"classifier {name!r}", f) for name, f in self.classifiers.items()]

    def _denoise_and_classify(
        self, images: Tensor, normal: Normal, wanted: list[list[slice]], *, classes: int
    ) -> Tensor:
        """Return the class of every sample that is wanted, (classifiers, samples)."""
        noisy = self._add_noise(images, normal(0))
        clean = self.denoiser.denoise(noisy, self.sigma, normal)
        check_denoised(clean, noisy, type(self.denoiser).__name__)
        predictions = torch.full(
            (len(self.classifiers), len(clean)), NOT_WANTED, device=clean.device
        )
        for row, samples, name in zip(predictions, wanted, self.classifiers, strict=True):
            if samples:
                chosen = self.runner.gather(clean, samples)
                scatter(self._classify(name, chosen, classes), samples, row)
        return predictions

    def _add_noise(self, images: Tensor, normal: Tensor) -> Tensor:
        """Return x + delta, where delta ~ N(0, sigma^2 I)."""
        sigma = self.denoiser.noise_sigma(self.sigma)
        if self.noise == "integer":
            # Sums of integers are exact in float32, so that equal noisy images have
            # equal bits whichever image and noise they came from.
            levels = torch.round(255 * sigma * normal).to(images.dtype)
            return (torch.round(255 * images) + levels) / 255
        return images + sigma * normal

    def _classify(self, name: str, clean: Tensor, classes: int) -> Tensor:
        """Return argmax f_clf(x_hat)."""
        logits = logits_of(self.classifiers[name](clean))
        check_logits(logits, len(clean), classes, name)
        finite = torch.isfinite(logits).all(dim=1)
        return torch.where(finite, logits.argmax(dim=1), NOT_FINITE)
