"""How far long work has come: a live bar on a terminal, sparse lines in a log."""

from __future__ import annotations

import logging
import sys
import time

from tqdm import tqdm

logger = logging.getLogger(__name__)


class Progress:
    """Report rate, amount done and time left of long work.

    On a terminal a bar is redrawn in place; a line of the same content goes to
    the log at most every `log_interval` seconds, and once at the end.

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
    log_interval : float, optional
        Seconds between lines in the log.
    scaled : bool, optional
        Write large numbers short, as 2.21G.
    """

    def __init__(
        self,
        total: int | None,
        label: str,
        unit: str,
        *,
        done: int = 0,
        log_interval: float = 30.0,
        scaled: bool = False,
    ) -> None:
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=label,
            unit=f" {unit}",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
            leave=False,
            unit_scale=scaled,
        )
        self._scaled = scaled
        self._label, self._unit, self._total = label, unit, total
        self._initial = self.done = done
        self._started = self._logged = time.monotonic()
        self._log_interval = log_interval

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()
        self._log()

    def advance(self, units: int) -> None:
        """Count `units` more as done."""
        self.done += units
        self._bar.update(units)
        if time.monotonic() - self._logged >= self._log_interval:
            self._log()

    def _log(self) -> None:
        self._logged = time.monotonic()
        elapsed = self._logged - self._started
        meter = tqdm.format_meter(
            self.done,
            self._total,
            elapsed,
            ncols=0,
            prefix=self._label,
            unit=f" {self._unit}",
            initial=self._initial,
            unit_scale=self._scaled,
        )
        logger.info(meter)


class Interrupted(RuntimeError):
    """Work was asked to stop, and what it had done is saved."""
