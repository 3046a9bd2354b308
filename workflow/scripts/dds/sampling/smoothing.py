"""The smoothed classifier's votes: noise, denoise, classify, count (Figure 1).

What is drawn for an image depends on the study's seed, the image, sigma and the
sampling plan alone: each block of noise has a generator of its own, and a plan is
asked for its next goal only when an image has reached the last one. Batches,
shards, order and restarts therefore leave the samples unchanged, and images share
batches freely, so that the device is kept full.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dds.networks.denoisers import Denoiser, Normal
from dds.sampling.kernels import (
    choose_precision,
    compile_networks,
    fastest_batch_size,
    inference,
    wait_for,
)
from dds.seeds import BLOCK, ESTIMATION, SELECTION, noise_seed
from dds.statistics.plans import Plan

NOISES = ("float", "integer")

logger = logging.getLogger(__name__)

_UNKNOWN = -1  # the goal of an image whose selection is not complete
_NOT_WANTED, _NOT_FINITE = -1, -2  # in place of a predicted class


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
    def length(self) -> int:
        """How many samples there are."""
        return self.stop - self.start

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
    batch_size : int or "auto", optional
        Samples in a batch. Batches are filled across images. ``"auto"`` is replaced,
        when sampling begins, by the smallest that is about as fast as any. It is
        halved whenever a GPU runs out of memory.
    deterministic : bool, optional
        Run every block of noise as one batch of its own, whole, so that each sample
        meets the same kernels at the same place in a batch of the same shape
        whatever else is sampled; `batch_size` is then not used.
    noise : {"float", "integer"}, optional
        ``"integer"`` rounds the noise to multiples of 1/255, for images that are
        multiples of 1/255 (Voracek and Hein, 2023).
    precision : {"float32", "bfloat16", "auto"}, optional
        Of the networks' matrix products and convolutions; ``"auto"`` is replaced by
        what `dds.sampling.kernels.choose_precision` finds.
    device : str or torch.device, optional
        Where the networks run.
    compiled : bool, optional
        Whether torch.compile makes one program of each network, run in batches of one
        shape only. By default on a GPU, unless `deterministic`.

    Notes
    -----
    The guarantee of Cohen et al. (2019, theorem 1) is about one fixed function. The
    networks are therefore put into evaluation mode, and precision and device belong
    to what is certified: read them here, after ``"auto"`` has been replaced.
    """

    classifiers: Mapping[str, nn.Module]
    denoiser: Denoiser
    sigma: float
    plan: Plan
    seed: int
    batch_size: int | str = BLOCK
    deterministic: bool = False
    noise: str = "float"
    precision: str = "float32"
    device: str | torch.device = "cpu"
    compiled: bool | None = None

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"sigma must be above 0, not {self.sigma}")
        if self.batch_size != "auto" and not (
            isinstance(self.batch_size, int) and self.batch_size >= 1
        ):
            raise ValueError(f"batch_size must be auto or at least 1, not {self.batch_size!r}")
        if self.noise not in NOISES:
            raise ValueError(f"unknown noise {self.noise!r}; allowed: {', '.join(NOISES)}")
        self.device = torch.device(self.device)
        self.precision = choose_precision(self.precision, self.device)
        if self.compiled is None:
            self.compiled = self._is_cuda and not self.deterministic
        # On a GPU one batch is queued before the votes of the last are counted.
        self._ahead = 1 if self._is_cuda else 0
        self._is_ready = False
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
        pixels = torch.from_numpy(images).to(self.device)
        source = _NoiseSource(self.seed, self.sigma, ids, pixels)
        self._get_ready(pixels, classes)
        queue = _Queue(votes, self.plan, labels, one_segment=self.deterministic)
        running: deque[_Running] = deque()

        def count_oldest() -> None:
            queue.record(*self._finish(running.popleft()))
            if after_batch is not None:
                after_batch(votes)

        with inference(self.device, self.precision, compiled=self.compiled):
            while True:
                batch = queue.next_batch(self._rows)
                while running and queue.can_extend(batch, self._rows):
                    count_oldest()  # images may be waiting for its votes
                    batch += queue.next_batch(self._rows - _length(batch))
                if not batch:
                    return votes
                running.extend(self._start(source, batch, classes))
                while len(running) > self._ahead:
                    count_oldest()

    @property
    def _is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def _rows(self) -> int:
        """Samples in a full batch."""
        return BLOCK if self.deterministic else self.batch_size

    def _check_images(self, images: np.ndarray, ids: Sequence[int]) -> None:
        for image, index in zip(images, ids, strict=True):
            if not ((image >= 0) & (image <= 1)).all():
                raise ValueError(f"image {index} has values outside [0,1]")
            if self.noise == "integer" and np.abs(image * 255 - np.round(image * 255)).max() > 1e-3:
                raise ValueError(
                    f"image {index} has values that are no multiples of 1/255, "
                    "which noise: integer needs"
                )

    def _get_ready(self, pixels: Tensor, classes: int) -> None:
        """Settle the batch size and compile the networks, once."""
        if self._is_ready:
            return

        def run(size: int) -> None:
            noisy = torch.rand(size, *pixels.shape[1:], device=self.device)
            everyone = [[slice(0, size)]] * len(self.classifiers)
            self._classify(noisy, lambda step: torch.randn_like(noisy), everyone, classes)
            wait_for(self.device)

        if self.batch_size == "auto":
            with inference(self.device, self.precision):
                self.batch_size = BLOCK if self.deterministic else fastest_batch_size(run)
            logger.info("batch size %d", self.batch_size)
        if self.compiled:
            once = getattr(self.denoiser, "steps", 1) == 1
            with inference(self.device, self.precision, compiled=True):
                self.compiled = compile_networks(
                    self._networks(), lambda: run(self._rows), once=once
                )
        self._is_ready = True

    def _networks(self) -> list[nn.Module]:
        denoising = getattr(self.denoiser, "network", None)
        return [*self.classifiers.values(), *([] if denoising is None else [denoising])]

    def _start(self, source: _NoiseSource, batch: list[Segment], classes: int) -> list[_Running]:
        """Queue a batch on the device, in parts where its memory does not hold the whole."""
        started, waiting = [], [batch]
        while waiting:
            waiting[:1] = _split(waiting[0], self._rows)
            try:
                started.append(self._run(source, waiting[0], classes))
                del waiting[0]
                continue
            except torch.OutOfMemoryError:
                if self.deterministic or self.batch_size == 1:
                    raise
            # Not earlier, because the exception kept the tensors of the batch alive.
            self._halve_batches()
        return started

    def _halve_batches(self) -> None:
        size = self.batch_size
        self.batch_size = size // 2
        logger.warning("out of memory at batch size %d; going on with %d", size, size // 2)
        if self._is_cuda:
            torch.compiler.reset()  # programs for the old size hold memory
            torch.cuda.empty_cache()

    def _run(self, source: _NoiseSource, batch: list[Segment], classes: int) -> _Running:
        drawn, rows = batch, self._rows if self.compiled else _length(batch)
        if self.deterministic:
            drawn = [
                segment._replace(start=segment.block * BLOCK, stop=(segment.block + 1) * BLOCK)
                for segment in batch
            ]
            rows = BLOCK
        noisy = self._add_noise(source.pixels(drawn, rows), source.noise(drawn, rows))
        wanted = [_places(drawn, index) for index in range(len(self.classifiers))]
        normal = lambda step: source.noise(drawn, rows, step)  # noqa: E731
        predictions = self._classify(noisy, normal, wanted, classes)
        if self.deterministic:
            predictions = predictions[:, batch[0].inside]
        return _Running.queue(batch, predictions)

    def _classify(
        self, noisy: Tensor, normal: Normal, wanted: list[list[slice]], classes: int
    ) -> Tensor:
        """Return the class of every sample, on the device; (classifiers, samples)."""
        if self.compiled:
            torch.compiler.cudagraph_mark_step_begin()
        predictions = torch.full(
            (len(self.classifiers), len(noisy)), _NOT_WANTED, device=self.device
        )
        clean = self.denoiser.denoise(noisy, self.sigma, normal)
        for index, (name, classifier) in enumerate(self.classifiers.items()):
            if not wanted[index]:
                continue
            logits = classifier(self._choose(clean, wanted[index]))
            if logits.shape[1] != classes:
                raise ValueError(
                    f"classifier {name!r} has {logits.shape[1]} classes, the dataset has {classes}"
                )
            finite = torch.isfinite(logits).all(dim=1)
            found = torch.where(finite, logits.argmax(dim=1), _NOT_FINITE)
            for place in wanted[index]:
                size = place.stop - place.start
                predictions[index, place], found = found[:size], found[size:]
        return predictions

    def _choose(self, clean: Tensor, wanted: list[slice]) -> Tensor:
        """Return the images that a classifier wants, one after another."""
        chosen = torch.cat([clean[place] for place in wanted])
        if not self.compiled:
            return chosen
        # Four shapes at most, for a program is compiled for each.
        quarter = -(-self._rows // 4)
        return _pad(chosen, -(-len(chosen) // quarter) * quarter)

    def _finish(self, running: _Running) -> tuple[list[Segment], np.ndarray]:
        predictions = running.read()
        for name, found in zip(self.classifiers, predictions, strict=True):
            if (found == _NOT_FINITE).any():
                raise FloatingPointError(f"classifier {name!r} returned NaN or infinity")
        return running.batch, predictions

    def _add_noise(self, pixels: Tensor, normal: Tensor) -> Tensor:
        sigma = self.denoiser.noise_sigma(self.sigma)
        if self.noise == "integer":
            # Sums of integers are exact in float32, so that equal noisy images have
            # equal bits whichever image and noise they came from.
            return (torch.round(255 * pixels) + torch.round(255 * sigma * normal)) / 255
        return pixels + sigma * normal


@dataclass(eq=False)
class _Running:
    """A batch that the device may still be working on."""

    batch: list[Segment]
    predictions: Tensor  # on the host, (classifiers, samples)
    arrived: torch.cuda.Event | None = None

    @classmethod
    def queue(cls, batch: list[Segment], predictions: Tensor) -> _Running:
        """Have the predictions copied to the host, without waiting for it."""
        if predictions.device.type != "cuda":
            return cls(batch, predictions)
        host = torch.empty(predictions.shape, dtype=predictions.dtype, pin_memory=True)
        host.copy_(predictions, non_blocking=True)
        return cls(batch, host, torch.cuda.current_stream(predictions.device).record_event())

    def read(self) -> np.ndarray:
        """Wait for the predictions and return them."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.predictions.numpy()


class _NoiseSource:
    """Images and standard normal noise for segments; one generator a block of noise."""

    def __init__(self, seed: int, sigma: float, ids: Sequence[int], pixels: Tensor) -> None:
        self._seed, self._sigma, self._ids, self._pixels = seed, sigma, ids, pixels
        self._last: tuple[int, Tensor] = (-1, torch.empty(0))

    def pixels(self, batch: list[Segment], rows: int) -> Tensor:
        """Return the image of every sample, and zeros up to `rows` samples."""
        images = [self._pixels[s.row].expand(s.length, -1, -1, -1) for s in batch]
        return _pad(torch.cat(images), rows)

    def noise(self, batch: list[Segment], rows: int, step: int = 0) -> Tensor:
        """Return the noise of every sample, and zeros up to `rows` samples."""
        noise = [self._block(segment, step)[segment.inside] for segment in batch]
        return _pad(torch.cat(noise), rows)

    def _block(self, segment: Segment, step: int) -> Tensor:
        seed = noise_seed(
            self._seed, self._ids[segment.row], self._sigma, segment.phase, segment.block, step
        )
        if self._last[0] != seed:  # a block cut between two batches is asked for twice
            device = self._pixels.device
            generator = torch.Generator(device).manual_seed(seed)
            shape = (BLOCK, *self._pixels.shape[1:])
            noise = torch.randn(shape, generator=generator, device=device)
            self._last = (seed, noise)
        return self._last[1]


class _Queue:
    """Which samples to draw next: of each image up to its goal, then of the next image."""

    def __init__(
        self, votes: Votes, plan: Plan, labels: Sequence[int | None], *, one_segment: bool
    ) -> None:
        self._votes, self._plan, self._labels = votes, plan, labels
        self._one_segment = one_segment  # whether a batch holds no more than one
        self._selected = votes.selection[:, 0].sum(axis=1)  # samples handed out so far
        self._estimated = votes.estimation.sum(axis=2).max(axis=1)
        self._unfinished = [row for row in range(len(labels)) if votes.wanting(row).size]

    def can_extend(self, batch: list[Segment], size: int) -> bool:
        """Tell whether a batch of at most `size` samples has room for a segment."""
        return not batch if self._one_segment else _length(batch) < size

    def next_batch(self, size: int) -> list[Segment]:
        """Take samples for a batch, at most `size`; none while no image wants more."""
        batch: list[Segment] = []
        for row in self._unfinished:
            while size > 0 and (segment := self._take(row, size)):
                batch.append(segment)
                size -= segment.length
                if self._one_segment:
                    return batch
            if size == 0:
                break
        return batch

    def record(self, batch: list[Segment], predictions: np.ndarray) -> None:
        """Count the predictions (classifiers, samples) of a batch, and ask for new goals."""
        votes, column = self._votes, 0
        for segment in batch:
            columns = slice(column, column + segment.length)
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


def _length(batch: list[Segment]) -> int:
    return sum(segment.length for segment in batch)


def _split(batch: list[Segment], size: int) -> list[list[Segment]]:
    """Cut a batch into parts of at most `size` samples, in the same order."""
    parts: list[list[Segment]] = [[]]
    for segment in batch:
        while segment.length:
            room = size - _length(parts[-1])
            if room == 0:
                parts.append([])
                continue
            cut = min(segment.start + room, segment.stop)
            parts[-1].append(segment._replace(stop=cut))
            segment = segment._replace(start=cut)
    return parts


def _places(batch: list[Segment], classifier: int) -> list[slice]:
    """Return where in a batch the samples lie that a classifier counts."""
    places, column = [], 0
    for segment in batch:
        if classifier in segment.wanted:
            places.append(slice(column, column + segment.length))
        column += segment.length
    return places


def _pad(samples: Tensor, rows: int) -> Tensor:
    """Append zeros up to `rows` samples."""
    if len(samples) == rows:
        return samples
    return torch.cat([samples, samples.new_zeros(rows - len(samples), *samples.shape[1:])])
