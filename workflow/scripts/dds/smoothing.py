"""The smoothed classifier's votes: noise, denoise, classify, count (Figure 1).

What is drawn for an image depends on the study's seed, the image, sigma and the
sampling plan alone: each block of noise has a generator of its own, and a plan is
asked for its next goal only when an image has reached the last one. Batches,
shards, order and restarts therefore leave the samples unchanged, and images share
batches freely, so that the device is kept full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dds.denoisers import Denoiser
from dds.plans import Plan
from dds.seeds import BLOCK, ESTIMATION, SELECTION, noise_seed

PRECISIONS = ("float32", "bfloat16")
NOISES = ("float", "integer")

_UNKNOWN = -1  # the goal of an image whose selection is not complete


@dataclass(eq=False)
class Votes:
    """The class counts of some images so far; all there is to know to go on.

    Attributes
    ----------
    selection : ndarray of int64, shape (images, classifiers, classes)
        Votes of the samples that select a class.
    estimation : ndarray of int64, shape (images, classifiers, classes)
        Votes of the samples that bound that class's probability.
    goals : ndarray of int64, shape (images, classifiers)
        How many estimation samples the plan wants before it is asked again; an
        image that has as many is finished. -1 while its selection is incomplete.
    """

    selection: np.ndarray
    estimation: np.ndarray
    goals: np.ndarray

    @classmethod
    def none(cls, images: int, classifiers: int, classes: int) -> Votes:
        """Return the votes before the first sample."""
        return cls(
            np.zeros((images, classifiers, classes), np.int64),
            np.zeros((images, classifiers, classes), np.int64),
            np.full((images, classifiers), _UNKNOWN, np.int64),
        )

    def wanting(self, row: int) -> np.ndarray:
        """Return the classifiers that still want samples of image `row`."""
        goals = self.goals[row]
        return np.flatnonzero((goals == _UNKNOWN) | (self.estimation[row].sum(axis=1) < goals))

    @property
    def samples(self) -> int:
        """How many noisy images have been denoised, each of which all classifiers may share."""
        return int(
            self.selection.sum(axis=2).max(axis=1).sum()
            + self.estimation.sum(axis=2).max(axis=1).sum()
        )


class Segment(NamedTuple):
    """Consecutive samples of one image, within one block of noise."""

    row: int  # position of the image among those sampled
    phase: str
    start: int
    stop: int
    wanted: tuple[int, ...]  # classifiers that count these samples

    @property
    def block(self) -> int:
        """Number of the block of noise that the samples lie in."""
        return self.start // BLOCK

    @property
    def inside(self) -> slice:
        """Where in that block the samples lie."""
        return slice(self.start - self.block * BLOCK, self.stop - self.block * BLOCK)


@dataclass(eq=False)
class SmoothedClassifier:
    """Base classifiers behind one denoiser, sampled under Gaussian noise.

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
    batch_size : int, optional
        Samples in a batch. Batches are filled across images.
    deterministic : bool, optional
        Run every block of noise as one batch of its own, whole, so that each sample
        meets the same kernels at the same place in a batch of the same shape
        whatever else is sampled; `batch_size` is then not used.
    noise : {"float", "integer"}, optional
        ``"integer"`` rounds the noise to multiples of 1/255, for images that are
        multiples of 1/255 (Voracek and Hein, 2023).
    precision : {"float32", "bfloat16"}, optional
        Of the networks' matrix products and convolutions.
    device : str or torch.device, optional
        Where the networks run.

    Notes
    -----
    The guarantee of Cohen et al. (2019, theorem 1) is about one fixed function. The
    networks are therefore put into evaluation mode, and precision and device belong
    to what is certified.
    """

    classifiers: Mapping[str, nn.Module]
    denoiser: Denoiser
    sigma: float
    plan: Plan
    seed: int
    batch_size: int = BLOCK
    deterministic: bool = False
    noise: str = "float"
    precision: str = "float32"
    device: str | torch.device = "cpu"

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"sigma must be above 0, not {self.sigma}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")
        if self.noise not in NOISES:
            raise ValueError(f"unknown noise {self.noise!r}; allowed: {', '.join(NOISES)}")
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"unknown precision {self.precision!r}; allowed: {', '.join(PRECISIONS)}"
            )
        for module in (*self.classifiers.values(), self.denoiser):
            if isinstance(module, nn.Module):
                module.to(self.device).eval()

    def sample(
        self,
        images: np.ndarray,
        labels: Sequence[int | None],
        ids: Sequence[int],
        *,
        classes: int,
        votes: Votes | None = None,
        after_batch: Callable[[Votes], None] | None = None,
    ) -> Votes:
        """Draw what the plan asks for and count the votes.

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

        Returns
        -------
        Votes
            With no image left that wants samples.

        Raises
        ------
        ValueError
            If an image leaves [0,1] (or, with integer noise, is no multiple of
            1/255), or a classifier has other than `classes` logits.
        FloatingPointError
            If a classifier returns NaN or infinity.
        """
        images = np.asarray(images, np.float32)
        self._check_images(images, ids)
        if votes is None:
            votes = Votes.none(len(ids), len(self.classifiers), classes)
        source = _NoiseSource(self.seed, self.sigma, ids, images.shape[1:], self.device)
        pixels = torch.from_numpy(images).to(self.device)
        queue = _Queue(votes, self.plan, labels)
        while batch := queue.next_batch(BLOCK if self.deterministic else self.batch_size,
                                        one_segment=self.deterministic):  # fmt: skip
            queue.record(batch, self._predict(pixels, source, batch, classes))
            if after_batch is not None:
                after_batch(votes)
        return votes

    def _check_images(self, images: np.ndarray, ids: Sequence[int]) -> None:
        for image, index in zip(images, ids, strict=True):
            if not ((image >= 0) & (image <= 1)).all():
                raise ValueError(f"image {index} has values outside [0,1]")
            if self.noise == "integer" and np.abs(image * 255 - np.round(image * 255)).max() > 1e-3:
                raise ValueError(
                    f"image {index} has values that are no multiples of 1/255, "
                    "which noise: integer needs"
                )

    def _predict(
        self, pixels: Tensor, source: _NoiseSource, batch: list[Segment], classes: int
    ) -> np.ndarray:
        """Return the class of every sample; (classifiers, samples), -1 where not wanted."""
        if not self.deterministic:
            return self._run(pixels, source, batch, classes)
        (segment,) = batch
        whole = segment._replace(start=segment.block * BLOCK, stop=(segment.block + 1) * BLOCK)
        return self._run(pixels, source, [whole], classes)[:, segment.inside]

    @torch.inference_mode()
    def _run(
        self, pixels: Tensor, source: _NoiseSource, batch: list[Segment], classes: int
    ) -> np.ndarray:
        lengths = torch.tensor([segment.stop - segment.start for segment in batch])
        rows = torch.tensor([segment.row for segment in batch]).repeat_interleave(lengths)
        noisy = self._add_noise(pixels[rows.to(self.device)], source.draw(batch))
        predictions = torch.full((len(self.classifiers), len(rows)), -1, device=self.device)
        bfloat16 = self.precision == "bfloat16"
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=bfloat16):
            clean = self.denoiser.denoise(noisy, self.sigma, lambda step: source.draw(batch, step))
            for index, (name, classifier) in enumerate(self.classifiers.items()):
                wanted = torch.tensor([index in segment.wanted for segment in batch])
                if not wanted.any():
                    continue
                chosen = wanted.repeat_interleave(lengths).to(self.device)
                logits = classifier(clean if wanted.all() else clean[chosen])
                _check_logits(logits, name, classes)
                predictions[index, chosen] = logits.argmax(dim=1)
        return predictions.cpu().numpy()

    def _add_noise(self, pixels: Tensor, normal: Tensor) -> Tensor:
        sigma = self.denoiser.noise_sigma(self.sigma)
        if self.noise == "integer":
            # Sums of integers are exact in float32, so that equal noisy images have
            # equal bits whichever image and noise they came from.
            return (torch.round(255 * pixels) + torch.round(255 * sigma * normal)) / 255
        return pixels + sigma * normal


class _NoiseSource:
    """Standard normal noise for segments, from one generator a block."""

    def __init__(
        self, seed: int, sigma: float, ids: Sequence[int], shape: Sequence[int],
        device: str | torch.device,
    ) -> None:  # fmt: skip
        self._seed, self._sigma, self._ids = seed, sigma, ids
        self._shape = (BLOCK, *shape)
        self._device = device
        self._last: tuple[int, Tensor] = (-1, torch.empty(0))

    def draw(self, batch: list[Segment], step: int = 0) -> Tensor:
        """Return the noise of a batch, shape (samples, channels, height, width)."""
        return torch.cat([self._block(segment, step)[segment.inside] for segment in batch])

    def _block(self, segment: Segment, step: int) -> Tensor:
        seed = noise_seed(
            self._seed, self._ids[segment.row], self._sigma, segment.phase, segment.block, step
        )
        if self._last[0] != seed:  # a block cut between two batches is asked for twice
            generator = torch.Generator(self._device).manual_seed(seed)
            noise = torch.randn(self._shape, generator=generator, device=self._device)
            self._last = (seed, noise)
        return self._last[1]


class _Queue:
    """Which samples to draw next: of each image up to its goal, then of the next image."""

    def __init__(self, votes: Votes, plan: Plan, labels: Sequence[int | None]) -> None:
        self._votes, self._plan, self._labels = votes, plan, labels
        self._selected = votes.selection[:, 0].sum(axis=1)  # samples handed out so far
        self._estimated = votes.estimation.sum(axis=2).max(axis=1)
        self._unfinished = [row for row in range(len(labels)) if votes.wanting(row).size]

    def next_batch(self, size: int, *, one_segment: bool = False) -> list[Segment]:
        """Take samples for a batch, at most `size`; none when no image wants more."""
        batch: list[Segment] = []
        for row in self._unfinished:
            while size > 0 and (segment := self._take(row, size)):
                batch.append(segment)
                size -= segment.stop - segment.start
                if one_segment:
                    return batch
            if size == 0:
                break
        return batch

    def record(self, batch: list[Segment], predictions: np.ndarray) -> None:
        """Count the predictions (classifiers, samples) of a batch, and ask for new goals."""
        votes, column = self._votes, 0
        for segment in batch:
            columns = slice(column, column + segment.stop - segment.start)
            column = columns.stop
            counts = votes.selection if segment.phase == SELECTION else votes.estimation
            for index in segment.wanted:
                counts[segment.row, index] += np.bincount(
                    predictions[index, columns], minlength=counts.shape[2]
                )
            self._update_goals(segment)

    def _take(self, row: int, size: int) -> Segment | None:
        everyone = tuple(range(self._votes.goals.shape[1]))
        start = int(self._selected[row])
        if start < self._plan.n0:
            segment = _cut(row, SELECTION, start, min(self._plan.n0, start + size), everyone)
            self._selected[row] = segment.stop
            return segment
        # Classifiers that want more have all seen the same samples; the nearest goal
        # comes first, so that what one classifier counts never depends on the others.
        wanted = self._votes.wanting(row)
        start = int(self._estimated[row])
        stop = min(int(self._votes.goals[row, wanted].min()), start + size)
        if start >= stop:  # all is handed out; the goals wait for the votes
            return None
        segment = _cut(row, ESTIMATION, start, stop, tuple(wanted))
        self._estimated[row] = segment.stop
        return segment

    def _update_goals(self, segment: Segment) -> None:
        votes, row = self._votes, segment.row
        if segment.phase == SELECTION:
            reached = range(votes.goals.shape[1]) if segment.stop == self._plan.n0 else ()
        else:
            reached = [i for i in segment.wanted if votes.goals[row, i] == segment.stop]
        for index in reached:
            votes.goals[row, index] = self._plan.goal(
                self._labels[row], votes.selection[row, index], votes.estimation[row, index]
            )
        if not votes.wanting(row).size:
            self._unfinished.remove(row)


def _cut(row: int, phase: str, start: int, stop: int, wanted: tuple[int, ...]) -> Segment:
    """Make the segment from `start`, ended by `stop` or by the end of the block."""
    return Segment(row, phase, start, min(stop, (start // BLOCK + 1) * BLOCK), wanted)


def _check_logits(logits: Tensor, name: str, classes: int) -> None:
    if logits.shape[1] != classes:
        raise ValueError(
            f"classifier {name!r} has {logits.shape[1]} classes, the dataset has {classes}"
        )
    if not torch.isfinite(logits).all():
        raise FloatingPointError(f"classifier {name!r} returned NaN or infinity")
