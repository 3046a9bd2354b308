"""What every rule's script does around its work: log it, and end cleanly when it fails."""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dds.progress import Interrupted

#: Exit status of a job that was asked to stop and has saved what it had done.
INTERRUPTED = 75

_log = logging.getLogger("job")


@contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Log to the rule's log file, and turn an exception into one line.

    Lines of level INFO and above go to ``snakemake.log[0]`` with the time. When the
    block raises, the log gets the traceback and, as its last line, the reason;
    standard error gets the reason and the log's name. The job exits with status 1,
    or with `INTERRUPTED` when the block raises `Interrupted`.

    Parameters
    ----------
    snakemake : object
        The object Snakemake gives a script: ``.rule`` and ``.log`` are read.
    """
    log_file = snakemake.log[0]
    logging.basicConfig(
        filename=log_file, filemode="w", force=True, level=logging.INFO,
        format="%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S",
    )  # fmt: skip
    logging.captureWarnings(True)
    try:
        yield
    except Interrupted as interruption:
        _log.info("%s", interruption)
        print(f"{snakemake.rule}: {interruption} (log: {log_file})", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        for line in traceback.format_exc().splitlines():
            _log.error("%s", line)
        _log.error("failed: %s", reason)
        print(f"{snakemake.rule}: {reason} (log: {log_file})", file=sys.stderr)
        sys.exit(1)


def defer_signals() -> Callable[[], bool]:
    """Let work that saves its state finish a step when it is told to end.

    From here on SIGTERM and SIGINT are only noted; a second one ends the process.

    Returns
    -------
    callable
        Tells whether a signal has come.
    """
    received: list[int] = []

    def note(number: int, frame: object) -> None:
        received.append(number)
        _log.info("got %s; stopping after this step", signal.Signals(number).name)
        if len(received) > 1:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    return lambda: bool(received)
