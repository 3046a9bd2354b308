"""Running batches on a device: how large, in which precision, compiled, how many at once.

Nothing here chooses which samples are drawn or what is computed of them.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from dds.networks.compiling import compile_networks, free_programs, worth_compiling
from dds.networks.denoisers import Denoiser, Normal
from dds.sampling.kernels import choose_precision, fastest_batch_size, inference, wait_for
from dds.sampling.noise import NoiseSource, pad
from dds.sampling.votes import Queue, Segment, length, places, split
from dds.seeds import BLOCK

logger = logging.getLogger(__name__)

#: The base classifiers: from images, their standard normal noise, and where the samples lie
#: that each classifier wants, to the class of every sample, (classifiers, samples).
Base = Callable[[Tensor, Normal, list[list[slice]]], Tensor]

T = TypeVar("T")

#: Samples in a batch while the batch size is still to be chosen.
_UNSETTLED = 4


@dataclass(eq=False)
class Runner:
    """Runs batches of samples through networks on a device.

    Parameters
    ----------
    classifiers : sequence of Module
        Moved to the device, put into evaluation mode and compiled, as is what the
        denoiser runs.
    denoiser : Denoiser
        What comes before them.
    batch_size : int or "auto", optional
        Samples in a batch. Batches are filled across images. ``"auto"`` is replaced,
        when sampling begins, by the smallest that is about as fast as any. It is
        halved whenever a GPU runs out of memory.
    deterministic : bool, optional
        Run every block of noise as one batch of its own, whole, so that each sample
        meets the same kernels at the same place in a batch of the same shape
        whatever else is sampled; `batch_size` is then not used.
    precision : {"float32", "bfloat16", "auto"}, optional
        Of the networks' matrix products and convolutions; ``"auto"`` is replaced by
        what `dds.sampling.kernels.choose_precision` finds.
    device : str or torch.device, optional
        Where the networks run.
    compiled : bool, optional
        Whether torch.compile makes one program of each network, run in batches of few
        shapes only. By default on a GPU, unless `deterministic`, of the networks that have
        enough to do (`dds.networks.compiling.worth_compiling`); False after `get_ready`
        where none has, or where compiling failed.

    Attributes
    ----------
    programs : Path or None
        The folder where compiled networks are found and kept as whole programs, see
        `dds.networks.programs.Program`. None, which it is unless somebody sets it, keeps none.
    ahead : int
        How many batches are queued on the device while the votes of an older one are
        awaited: 1 on a GPU, which would idle meanwhile, else 0.
    """

    classifiers: Sequence[nn.Module]
    denoiser: Denoiser
    _: KW_ONLY
    batch_size: int | str = BLOCK
    deterministic: bool = False
    precision: str = "float32"
    device: str | torch.device = "cpu"
    compiled: bool | None = None

    def __post_init__(self) -> None:
        # True is a whole number to Python.
        if self.batch_size != "auto" and not (type(self.batch_size) is int and self.batch_size > 0):
            raise ValueError(f"batch_size must be auto or at least 1, not {self.batch_size!r}")
        self.device = torch.device(self.device)
        self.precision = choose_precision(self.precision, self.device)
        self._compiles_all = self.compiled is not None
        if self.compiled is None:
            self.compiled = self._is_cuda and not self.deterministic
        self.programs: Path | None = None
        self.ahead = 1 if self._is_cuda else 0
        self._is_ready = False
        self._networks = [*self.classifiers, *self.denoiser.networks]
        self._once = self.denoiser.runs == 1
        for module in (*self._networks, self.denoiser):
            if isinstance(module, nn.Module):
                module.to(self.device).eval()
                if self._is_cuda:  # the order of memory that convolutions on tensor cores want
                    convert_conv2d_weight_memory_format(module, torch.channels_last)

    @property
    def rows(self) -> int:
        """Samples in a full batch."""
        return BLOCK if self.deterministic else self.batch_size

    def inference(self) -> AbstractContextManager[None]:
        """Return the context that batches run in."""
        return inference(self.device, self.precision, compiled=self.compiled)

    def begin_batch(self) -> None:
        """Say that what CUDA graphs returned so far is no longer wanted, or copied."""
        # Asking for it loads all of torch's compiler. Where that is not loaded, no graph is its.
        if "torch._inductor.cudagraph_trees" in sys.modules:
            torch.compiler.cudagraph_mark_step_begin()

    def try_out(self, work: Callable[[int], T], most: int) -> T:
        """Try networks ahead of the run, in batches no larger than its own.

        Parameters
        ----------
        work : callable
            Does it in batches of so many samples. It is called again, with half as many, whenever
            memory is used up.
        most : int
            Samples in a batch, where those of the run are not smaller.

        Returns
        -------
        object
            What `work` does.

        Raises
        ------
        torch.OutOfMemoryError
            If not even one sample fits.
        """
        rows = min(most, self.rows if isinstance(self.rows, int) else _UNSETTLED)
        while True:
            try:
                return work(rows)
            except torch.OutOfMemoryError:
                if rows == 1:
                    raise
            # Not earlier, because the exception kept the tensors of the batch alive.
            rows //= 2
            self._empty_cache()

    def get_ready(self, base: Base, shape: Sequence[int], samples: int) -> None:
        """Settle the batch size and compile the networks, once.

        Parameters
        ----------
        base : callable
            Tried on random images.
        shape : sequence of int
            Channels, height and width of an image.
        samples : int
            The most that are to be run, those of earlier runs of the same work included: one
            that goes on where another ended compiles the same networks.
        """
        if self._is_ready:
            return

        def run(size: int) -> None:
            images = torch.rand(size, *shape, device=self.device)
            everyone = [[slice(0, size)]] * len(self.classifiers)
            self.begin_batch()
            base(images, lambda step: torch.randn_like(images), everyone)
            wait_for(self.device)

        wanted, self.compiled = self.compiled, False  # nothing is yet: samples run as they come
        if self.batch_size == "auto":
            with self.inference():
                self.batch_size = BLOCK if self.deterministic else fastest_batch_size(run)
            logger.info("batch size %d", self.batch_size)
        if wanted and (networks := self._to_compile(run, samples)):
            self.compiled = True
            with self.inference():
                self.compiled = compile_networks(
                    networks, lambda: run(self.rows), once=self._once, programs=self.programs
                )
        self._is_ready = True

    def run(
        self, base: Base, queue: Queue, source: NoiseSource
    ) -> Iterator[tuple[list[Segment], np.ndarray]]:
        """Run all that a queue gives, in the context of `inference`.

        Parameters
        ----------
        base : callable
            What a batch runs through.
        queue : Queue
            Which samples.
        source : NoiseSource
            Their images and noise.

        Yields
        ------
        batch : list of Segment
            In the order that the queue gave.
        predictions : ndarray of int, shape (classifiers, samples)
            To be counted before the next are asked for: goals depend on them.
        """
        running: deque[_Running] = deque()
        while True:
            batch = queue.next_batch(self.rows)
            while running and queue.can_extend(batch, self.rows):
                yield running.popleft().read()  # images may be waiting for its votes
                batch += queue.next_batch(self.rows - length(batch))
            if not batch:
                return
            running.extend(self._start(batch, base, source))
            while len(running) > self.ahead:
                yield running.popleft().read()

    def gather(self, samples: Tensor, at: list[slice]) -> Tensor:
        """Return the samples at some places of a batch, one after another."""
        chosen = torch.cat([samples[place] for place in at])
        if not self.compiled:
            return chosen
        # Few shapes, for a program is compiled for each. A classifier that is alone wants all
        # samples of a batch, which is full but for the last ones.
        step = self.rows if len(self.classifiers) == 1 else -(-self.rows // 4)
        return pad(chosen, -(-len(chosen) // step) * step)

    def _to_compile(self, run: Callable[[int], None], samples: int) -> Sequence[nn.Module]:
        networks = [
            network
            for network in self._networks
            if not isinstance(network, torch.jit.ScriptModule)  # which is compiled already
        ]
        if self._compiles_all:
            return networks
        with inference(self.device, self.precision, compiled=True):
            return worth_compiling(networks, lambda: run(1), samples)

    @property
    def _is_cuda(self) -> bool:
        return self.device.type == "cuda"

    def _start(self, batch: list[Segment], base: Base, source: NoiseSource) -> list[_Running]:
        """Queue a batch on the device, in parts where its memory does not hold the whole."""
        started, waiting = [], [batch]
        while waiting:
            waiting[:1] = split(waiting[0], self.rows)
            try:
                started.append(self._run(waiting[0], base, source))
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
            free_programs(self._networks)  # those for the old size hold memory
        self._empty_cache()

    def _empty_cache(self) -> None:
        if self._is_cuda:
            torch.cuda.empty_cache()

    def _run(self, batch: list[Segment], base: Base, source: NoiseSource) -> _Running:
        drawn, rows = batch, self.rows if self.compiled else length(batch)
        if self.deterministic:
            drawn, rows = [segment.whole_block for segment in batch], BLOCK
        wanted = [places(drawn, index) for index in range(len(self.classifiers))]
        self.begin_batch()
        predictions = base(source.images(drawn, rows), partial(source.normal, drawn, rows), wanted)
        if self.deterministic:
            predictions = predictions[:, batch[0].inside]
        return _Running.queue(batch, predictions)


def scatter(values: Tensor, at: list[slice], onto: Tensor) -> None:
    """Write values one after another to some places; the inverse of `Runner.gather`."""
    for place in at:
        size = place.stop - place.start
        onto[place], values = values[:size], values[size:]


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

    def read(self) -> tuple[list[Segment], np.ndarray]:
        """Wait for the predictions, and return the batch with them."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.batch, self.predictions.numpy()
