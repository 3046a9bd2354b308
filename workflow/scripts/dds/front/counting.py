"""The votes of a call: on one device or several, with a bar, saved now and then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from dds.front.asked import Asked
from dds.front.saved import SavedVotes, part_of
from dds.networks.lending import lent
from dds.progress import Interrupted
from dds.sampling.batch_check import check_batches
from dds.sampling.denoising_check import check_denoising
from dds.sampling.forecast import sampling_progress
from dds.sampling.kernels import current
from dds.sampling.smoothing import SmoothedClassifier
from dds.sampling.votes import Votes


def count_votes(
    asked: Asked, save_to: Path | None, *, progress: bool | None
) -> tuple[Votes, dict[str, Any]]:
    """Draw the samples that a call asks for.

    Images are shared out among the devices in turn, so that a plan that draws more of some has
    all devices busy for about as long. What is drawn of an image depends on the image alone.
    Several devices each have their networks, the first one the given ones and the others copies.

    Parameters
    ----------
    asked : Asked
        What is asked.
    save_to : Path or None
        Where votes are kept, as `dds.front.saved.SavedVotes`.
    progress : bool or None
        Whether a bar is drawn; None for where the standard error is a terminal.

    Returns
    -------
    votes : Votes
        With no image left that wants samples.
    facts : dict
        What they depend on, as JSON can hold it; with hashes where they are kept.
    """
    devices = asked.devices[: len(asked.ids)]
    parts = [slice(first, None, len(devices)) for first in range(len(devices))]
    saved = SavedVotes(save_to, asked, parts)
    votes = saved.take_up(asked.plan, asked.classes)
    if votes.finished.all():
        return votes, saved.facts
    bar: AbstractContextManager[Callable[[], None]] = nullcontext(lambda: None)
    if progress is not False:
        label = f"{asked.call} at sigma {asked.sigma:g}"
        bar = sampling_progress(asked.plan, votes, label, shown=progress)
    with lent(asked.modules), bar as tell:
        smoothed = _smoothed(asked, devices, compiled=saved.compiled)
        check_networks(asked, smoothed[0])
        saved.look_again()
        saved.start(votes)
        try:
            _Counting(asked, votes, parts, saved, tell).run(smoothed)
        finally:
            saved.finish()
    return votes, saved.facts


def check_networks(asked: Asked, smoothed: SmoothedClassifier) -> None:
    """Make sure, ahead of a call's samples, that networks do what it takes for granted.

    Raises
    ------
    ValueError
        As `check_denoising` and `check_batches`.
    """
    with current(smoothed.runner.device):
        check_denoising(smoothed, asked.pixels)
        check_batches(smoothed, asked.pixels, asked.classes)


class _Counting:
    """Parts of the votes, counted at once."""

    def __init__(
        self,
        asked: Asked,
        votes: Votes,
        parts: Sequence[slice],
        saved: SavedVotes,
        tell: Callable[[], None],
    ) -> None:
        self._asked, self._votes, self._parts = asked, votes, parts
        self._saved, self._tell = saved, tell
        self._lock, self._is_stopped = Lock(), False

    def run(self, smoothed: Sequence[SmoothedClassifier]) -> None:
        """Count all parts: one here, so that it is interrupted at once, several in threads."""
        if len(smoothed) == 1:
            self._count(0, smoothed[0])
            return
        with ThreadPoolExecutor(len(smoothed)) as pool:
            running = [pool.submit(self._count, *part) for part in enumerate(smoothed)]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
            finally:
                self._is_stopped = True  # for those that still run, where one has failed
        for failed in (part.exception() for part in running):
            if failed is not None and not isinstance(failed, Interrupted):
                raise failed

    def _count(self, part: int, smoothed: SmoothedClassifier) -> None:
        asked, rows = self._asked, self._parts[part]
        ids = asked.ids[rows]
        with current(smoothed.runner.device):
            smoothed.count_votes(
                asked.pixels[rows],
                [None] * len(ids) if asked.labels is None else asked.labels[rows].tolist(),
                ids,
                classes=asked.classes,
                votes=part_of(self._votes, rows),
                after_batch=partial(self._after_batch, part, smoothed),
            )

    def _after_batch(self, part: int, smoothed: SmoothedClassifier, counted: Votes) -> None:
        ends = self._is_stopped or bool(counted.finished.all())
        with self._lock:
            self._saved.note_compiled(bool(smoothed.runner.compiled))
            self._saved.note(part, counted, at_once=ends)
            self._tell()
        if self._is_stopped:
            raise Interrupted("another device has failed, or was interrupted")


def _smoothed(
    asked: Asked, devices: Sequence[torch.device], *, compiled: bool | None
) -> list[SmoothedClassifier]:
    """Return the smoothed classifier on each device; `compiled` says what saved votes are of."""
    # torch.compile's graphs work in the main thread alone. What was begun without goes on without.
    is_compiled = False if len(devices) > 1 or compiled is False else None
    # Copied before the first is moved.
    copies = [deepcopy((asked.classifier, asked.denoiser)) for _ in devices[1:]]
    networks = [(asked.classifier, asked.denoiser), *copies]
    return [
        SmoothedClassifier(
            {"classifier": classifier},
            denoiser,
            asked.sigma,
            asked.plan,
            asked.seed,
            batch_size=asked.batch_size,
            precision=asked.precision,
            device=device,
            compiled=is_compiled,
        )
        for device, (classifier, denoiser) in zip(devices, networks, strict=True)
    ]
