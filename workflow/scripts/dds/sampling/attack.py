"""An attack on the smoothed classifier: projected gradient descent through denoiser and classifier.

A certificate says what no perturbation of some length can do; an attack shows what one can.
So the accuracy that an attack leaves is an upper bound of what certificates may promise, and an
attack that succeeds within a certified radius refutes all that the certificate rests on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dds.networks.classifiers import logits_of
from dds.networks.denoisers import Denoiser, Normal
from dds.sampling.checks import check_denoised, check_logits, explained, in_one_line
from dds.sampling.noise import NoiseSource
from dds.sampling.smoothing import SmoothedClassifier
from dds.sampling.votes import Segment, Votes
from dds.seeds import BLOCK, SELECTION, stream_seed
from dds.statistics.plans._predict import Predict

logger = logging.getLogger(__name__)

#: A number for each sample, of its logits and the label, that an attack makes smaller.
Measure = Callable[[Tensor, int], Tensor]

#: How far a perturbation that rounding has made too long is shortened, beyond what is measured.
_SHORTER = 1 - 1e-7


@dataclass(frozen=True)
class PGD:
    """How hard an attack tries.

    Parameters
    ----------
    steps : int, optional
        Gradient steps from each start.
    samples : int, optional
        Noisy copies of the image, fresh at every step, that a gradient is averaged over.
    restarts : int, optional
        Starts from random points of the ball, beside the first one from the image itself.
    step_size : float, optional
        Length of a step as a share of the radius; by default 2.5 / `steps`, with which any
        point of the ball can be reached from any other (Madry et al., 2018).
    clip : bool, optional
        Keep attacked images in [0,1], as those that a file can hold. A certificate is about
        the whole ball, with what of it lies outside that range, so that is not the default.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    steps: int = 20
    samples: int = 16
    restarts: int = 1
    step_size: float | None = None
    clip: bool = False

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("samples", 1), ("restarts", 0)):
            if (value := getattr(self, name)) < least or value != int(value):
                raise ValueError(f"{name} must be a whole number of at least {least}, not {value}")
        if self.step_size is not None and not 0 < self.step_size <= 2:
            raise ValueError(
                "step_size must be a share of the radius, above 0 and at most 2, "
                f"not {self.step_size:g}"
            )

    @property
    def share(self) -> float:
        """Length of a step as a share of the radius."""
        return 2.5 / self.steps if self.step_size is None else self.step_size


class Attacker:
    """Attacks the smoothed classifier that a classifier makes, image by image, and judges it.

    The gradient is that of the soft smoothed classifier (Salman et al., 2019, section 2.2): the
    mean, over noise, of the probability that the softmax gives the label. They descend the
    logarithm of that mean, whose gradient has the same direction; as steps have a length of
    their own (l2), it is the same attack. Every image is attacked alone: neither its noise nor
    its arithmetic depends on others.

    Parameters
    ----------
    classifier : Module
        As of `dds.sampling.smoothing.SmoothedClassifier`.
    denoiser : Denoiser
        What comes before it.
    sigma : float
        Noise level in [0,1] pixel units.
    seed : int
        The study's seed. It keys the noise of attacks and of judging, which are independent of
        each other and of that of certificates.
    pgd : PGD
        How hard to try.
    classes : int
        Number of classes.
    n : int
        Samples of an image that it is judged by.
    **running
        ``batch_size``, ``deterministic``, ``precision`` and ``device`` of
        `dds.sampling.runner.Runner`. Gradients are taken in the same precision.

    Attributes
    ----------
    smoothed : SmoothedClassifier
        What judges, on noise of its own.

    References
    ----------
    .. [1] Salman et al., Provably Robust Deep Learning via Adversarially Trained Smoothed
       Classifiers, NeurIPS 2019: section 2.2.
    .. [2] Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018.
    .. [3] Cohen et al., Certified Adversarial Robustness via Randomized Smoothing, ICML 2019:
       PREDICT.
    """

    def __init__(
        self,
        classifier: nn.Module,
        denoiser: Denoiser,
        sigma: float,
        seed: int,
        pgd: PGD,
        *,
        classes: int,
        n: int,
        **running: Any,
    ) -> None:
        self._classifier, self._denoiser, self._sigma = classifier, denoiser, sigma
        self._pgd, self._classes, self._seed = pgd, classes, stream_seed(seed, "attack")
        self.smoothed = SmoothedClassifier(
            # Programs that are compiled to be run have no gradients.
            {"attacked": classifier}, denoiser, sigma, Predict(n=n), self._seed,
            compiled=False, **running,
        )  # fmt: skip
        self._device, most = torch.device(self.smoothed.runner.device), self.smoothed.batch_size
        self._rows = min(pgd.samples, most) if isinstance(most, int) else pgd.samples

    def attack(self, image: np.ndarray, label: int, index: int, radius: float) -> np.ndarray:
        """Return an image within a radius of another that the classifier gets wrong, if it can.

        Parameters
        ----------
        image : ndarray of float32, shape (channels, height, width)
            In [0,1].
        label : int
            The class that the smoothed classifier shall not answer.
        index : int
            The image's index in its dataset, which keys its noise.
        radius : float
            l2 radius in [0,1] pixel units, at least 0.

        Returns
        -------
        ndarray of float32, shape (channels, height, width)
            At most `radius` from the image, as `distance` measures it. Of several starts, the
            one that leaves the label the least probability under noise that none has seen.

        Raises
        ------
        ValueError
            If the networks return what `SmoothedClassifier.count_votes` refuses, no gradient
            passes them, or the radius is negative.
        FloatingPointError
            If the classifier returns NaN or infinity, or has such a gradient.
        """
        if not 0 <= radius < np.inf:
            raise ValueError(f"the radius must be a number of at least 0, not {radius:g}")
        if radius == 0:
            return image
        centre = torch.from_numpy(image).to(self._device)
        ball = _Ball(centre, radius, clip=self._pgd.clip)
        soft = _Soft(self, NoiseSource(self._seed, self._sigma, [index], centre[None]), label)
        starts = [centre]
        for number in range(self._pgd.restarts):
            seed = stream_seed(self._seed, f"start {number} of {index} at {self._sigma!r}")
            starts.append(ball.at_random(seed))
        ends = [self._descend(ball, soft, start) for start in starts]
        if len(ends) > 1:
            unseen = range(soft.drawn, soft.drawn + max(self._pgd.samples, BLOCK))
            ends.sort(key=lambda x: soft.probability(x, unseen))
        return within(image, ends[0].cpu().numpy(), radius)

    def judge(self, images: np.ndarray, ids: Sequence[int]) -> np.ndarray:
        """Count the votes on images, by samples that no attack has seen.

        Parameters
        ----------
        images : ndarray of float32, shape (images, channels, height, width)
            Attacked, so that they may leave [0,1].
        ids : sequence of int
            Index of each in its dataset, which keys its noise.

        Returns
        -------
        ndarray of int, shape (images, classes)
            What `dds.statistics.predictions.predict_counts` takes.
        """
        votes = Votes.none(len(ids), 1, self._classes)
        votes.goals[:] = self.smoothed.plan.n
        unknown = [None] * len(ids)
        self.smoothed.count_votes(
            images, unknown, ids, classes=self._classes, votes=votes, any_range=True
        )
        return votes.estimation[:, 0]

    def _descend(self, ball: _Ball, soft: _Soft, x: Tensor) -> Tensor:
        """Return where the steps from a start end."""
        for _ in range(self._pgd.steps):
            gradient = soft.gradient(x, self._pgd.samples).double()
            length = gradient.norm()
            if length > 0:
                direction = (gradient / length).to(x.dtype)
                x = ball.nearest(x - self._pgd.share * ball.radius * direction)
        return x

    def logits(self, x: Tensor, normal: Normal) -> Tensor:
        """Return the base classifier's logits under noise, with the way back to x."""
        noisy = x + self._denoiser.noise_sigma(self._sigma) * normal(0)
        clean = self._denoiser.denoise(noisy, self._sigma, normal)
        check_denoised(clean, noisy, type(self._denoiser).__name__)
        logits = logits_of(self._classifier(clean))
        check_logits(logits, len(noisy), self._classes, "attacked")
        return logits.float()

    def in_parts(self, samples: range, work: Callable[[Segment], None]) -> None:
        """Do work on samples, in batches that a GPU has the memory for."""
        networks = [("the denoiser", network) for network in self._denoiser.networks]
        reduced, start = self.smoothed.precision == "bfloat16", samples.start
        with (
            explained([*networks, ("the classifier", self._classifier)]),
            torch.autocast(self._device.type, torch.bfloat16, enabled=reduced),
        ):
            while start < samples.stop:
                stop = min(samples.stop, start + self._rows, (start // BLOCK + 1) * BLOCK)
                try:
                    work(Segment(0, SELECTION, start, stop, (0,)))
                    start = stop
                    continue
                except torch.OutOfMemoryError:
                    if self._rows == 1:
                        raise
                # Not earlier, because the exception kept the tensors of the batch alive.
                self._rows //= 2
                logger.warning("out of memory; gradients of %d samples at a time", self._rows)
                torch.cuda.empty_cache()


class _Soft:
    """The soft smoothed classifier around an image: a label's mean probability under noise."""

    def __init__(self, attacker: Attacker, source: NoiseSource, label: int) -> None:
        self._attacker, self._source, self._label = attacker, source, label
        #: Samples that gradients were taken of.
        self.drawn = 0

    def gradient(self, x: Tensor, samples: int) -> Tensor:
        """Return the gradient of the probability at x, over samples that are drawn for it.

        Where all of them are so certain that it vanishes in float32, it is that of the margin
        between the label's logit and the largest other one.
        """
        fresh = range(self.drawn, self.drawn + samples)
        self.drawn = fresh.stop
        slope = torch.zeros_like(x)
        for measure in (_likely, _margin):

            def add(segment: Segment, measure: Measure = measure) -> None:
                point = x.detach().requires_grad_()
                total = measure(self._logits(point, segment), self._label).sum()
                slope.add_(torch.autograd.grad(total, point)[0])

            with in_one_line(
                "no gradient passes the classifier and the denoiser",
                "an attack needs networks that PyTorch differentiates, without no_grad or detach",
            ):
                self._attacker.in_parts(fresh, add)
            # Without a direction there would be no step, and the image would seem to withstand.
            if not torch.isfinite(slope).all():
                raise FloatingPointError("the classifier's gradient has NaN or infinity")
            if slope.any():
                break
        return slope

    @torch.no_grad()
    def probability(self, x: Tensor, samples: range) -> float:
        """Return the probability at x over some samples."""
        found: list[Tensor] = []
        self._attacker.in_parts(
            samples, lambda segment: found.append(_likely(self._logits(x, segment), self._label))
        )
        return float(torch.cat(found).mean())

    def _logits(self, x: Tensor, segment: Segment) -> Tensor:
        normal = partial(self._source.normal, [segment], segment.length)
        logits = self._attacker.logits(x, normal)
        if not torch.isfinite(logits).all():
            raise FloatingPointError("the classifier returned NaN or infinity")
        return logits


def _likely(logits: Tensor, label: int) -> Tensor:
    """Return the probability of a label by the softmax, (samples,)."""
    return logits.softmax(dim=1)[:, label]


def _margin(logits: Tensor, label: int) -> Tensor:
    """Return how much larger the logit of a label is than all others, (samples,)."""
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
    return logits[:, label] - others.amax(dim=1)


def distance(image: np.ndarray, other: np.ndarray) -> float:
    """Return the l2 distance of two images in float64, of the very numbers that they hold."""
    return float(np.linalg.norm(np.subtract(other, image, dtype=np.float64)))


def within(image: np.ndarray, other: np.ndarray, radius: float) -> np.ndarray:
    """Return the image next to `other`, on the way to `image`, that is no farther than a radius.

    Rounding to float32 moves an image by more than nothing: it is shortened until the distance
    of what is returned, not of what was meant, is at most the radius.

    Parameters
    ----------
    image, other : ndarray of float32
        Of the same shape.
    radius : float
        In [0,1] pixel units, at least 0.

    Returns
    -------
    ndarray of float32

    Examples
    --------
    >>> image = np.full((1, 8, 8), 0.3, np.float32)
    >>> near = within(image, image + np.float32(0.1), radius=0.5)
    >>> 0.4999 < distance(image, near) <= 0.5
    True
    """
    way = np.subtract(other, image, dtype=np.float64)
    share = 1.0
    while True:
        near = (image + share * way).astype(np.float32)
        length = distance(image, near)
        if length <= radius:
            return near
        share *= radius / length * _SHORTER


class _Ball:
    """The images that an attack may choose from."""

    def __init__(self, centre: Tensor, radius: float, *, clip: bool) -> None:
        self.centre, self.radius, self._clip = centre, radius, clip

    def nearest(self, x: Tensor) -> Tensor:
        """Return the nearest point of the ball; with `clip` moved into [0,1], where it stays."""
        way = x - self.centre
        length = float(way.double().norm())
        near = self.centre + way * min(1.0, self.radius / length) if length else self.centre
        # What is clipped comes nearer to the centre, which is in [0,1] itself.
        return near.clamp(0, 1) if self._clip else near

    def at_random(self, seed: int) -> Tensor:
        """Return a point of the ball, all of its volume alike; the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        way = torch.randn(self.centre.shape, generator=generator)
        share = torch.rand((), generator=generator) ** (1 / way.numel())
        way = way * (self.radius * share / way.norm())
        return self.nearest(self.centre + way.to(self.centre))
