"""How far long work has come: a live bar on a terminal, sparse lines in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

logger = logging.getLogger(__name__)

_LOG_SECONDS = 30.0  # between lines in the log

_current: Progress | None = None


class Progress:
    """Report rate, amount done and time left of long work.

    On a terminal a bar is redrawn in place; a line of the same content goes to
    the log every half a minute at most, and once at the end. Work in parts, some of which
    take more than others, is as far as parts are finished: it has no percentage.

    Parameters
    ----------
    total : int or None
        How many units make the whole, where that is known.
    label : str
        What is being done, for the start of every line.
    unit : str
        What is counted, in the plural: ``"samples"``, ``"iterations"``.
    done : int, optional
        Units that an earlier run had finished; not counted in the rate.
    scaled : bool, optional
        Write large numbers short, as 2.21G.
    parts : int, optional
        How many parts the work has, where they are reported as they are finished.
    parts_done : int, optional
        How many of them an earlier run had finished.
    part_unit : str, optional
        What the parts are, in the plural: ``"images"``.
    shown : bool, optional
        Whether the bar is drawn; by default where the standard error is a terminal.
    """

    def __init__(
        self,
        total: int | None,
        label: str,
        unit: str,
        *,
        done: int = 0,
        scaled: bool = False,
        parts: int | None = None,
        parts_done: int = 0,
        part_unit: str | None = None,
        shown: bool | None = None,
    ) -> None:
        from tqdm import tqdm  # Snakemake, which reads progress, does without

        self._bar = tqdm(
            total=total,
            initial=done,
            desc=label,
            unit=f" {unit}",
            dynamic_ncols=True,
            disable=not (sys.stderr.isatty() if shown is None else shown),
            leave=False,
            unit_scale=scaled,
            bar_format=None if parts is None else "{desc}",
        )
        self.parts, self.part_unit = parts, part_unit
        self.parts_done = parts_done if parts is not None else None
        self.label, self.unit, self.total = label, unit, total
        self._scaled = scaled
        self._initial = self.done = done
        self._started = self._logged = time.monotonic()
        #: What is being done before the next units come, as "compiling"; see `preparing`.
        self.preparing: str | None = None
        # What came first, and when: what precedes it, as compiling, does not come again.
        self._first: tuple[int, float] | None = None

    def __enter__(self) -> Progress:
        global _current
        _current = self
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()
        self._log()

    def advance(
        self, units: int, *, total: int | None = None, parts_done: int | None = None
    ) -> None:
        """Count `units` more as done.

        Parameters
        ----------
        units : int
            How many.
        total : int, optional
            What the whole is expected to be by now, where that is learnt on the way.
        parts_done : int, optional
            How many parts are finished.
        """
        self.done += units
        if parts_done is not None:
            self.parts_done = parts_done
        if total is not None:
            self.total = self._bar.total = total
        if self._first is None:
            self._first = (self.done, time.monotonic())
        if self.parts is not None and not self._bar.disable:
            self._bar.set_description_str(self._in_parts(), refresh=False)
        self._bar.update(units)
        if time.monotonic() - self._logged >= _LOG_SECONDS:
            self._log()

    @property
    def rate(self) -> float | None:
        """Units a second, from the first that came on; None before."""
        if self._first is None:
            return None
        (done, since), now = self._first, time.monotonic()
        if self.done == done:
            done, since = self._initial, self._started
        return (self.done - done) / max(now - since, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all is done at this rate; None where that cannot be told."""
        rate = self.rate
        return max(self.total - self.done, 0) / rate if rate and self.total is not None else None

    def _in_parts(self) -> str:
        """Return the line of work in parts."""
        finished = f"{self.parts_done:,} of {self.parts:,} {self.part_unit}"
        words = [finished, f"{self.done:,} {self.unit}"]
        if rate := self.rate:
            words.append(f"{rate:,.{0 if rate >= 10 else 2}f} {self.unit}/s")
        if (left := self.seconds_left) is not None:
            words.append(f"ETA {clock(left)}")
        return f"{self.label}: {', '.join(words)}"

    def _log(self) -> None:
        self._logged = time.monotonic()
        if self.parts is not None:
            logger.info(self._in_parts())
            return
        meter = self._bar.format_meter(
            self.done,
            self.total,
            self._logged - self._started,
            ncols=0,
            prefix=self.label,
            unit=f" {self.unit}",
            rate=self.rate,
            unit_scale=self._scaled,
        )
        logger.info(meter)


def clock(seconds: float) -> str:
    """Write a time as ``2:10``, ``1:02:10`` or ``2 days, 1:02:10``."""
    return str(timedelta(seconds=round(seconds))).removeprefix("0:").removeprefix("0")


def current() -> Progress | None:
    """Return the work of this process that was begun last; None before the first."""
    return _current


@contextmanager
def preparing(what: str) -> Iterator[None]:
    """Have it said, for the length of the block, what the current work waits for."""
    work = _current
    if work is not None:
        work.preparing = what
    try:
        yield
    finally:
        if work is not None:
            work.preparing = None


def say(line: str) -> None:
    """Write a line to the standard error, above a bar that is drawn there."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)


class Interrupted(RuntimeError):
    """Work was asked to stop, and what it had done is saved."""
