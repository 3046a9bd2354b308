"""What every rule's script does around its work: log it, and end cleanly when it fails."""

from __future__ import annotations

import gc
import logging
import os
import platform
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from dds.progress import Interrupted
from jobs.alone import stand_in
from jobs.records import check_inputs, contents, write_records
from jobs.running import recorded

#: Exit status of a job that was asked to stop and has saved what it had done.
INTERRUPTED = 75

_log = logging.getLogger("job")


@contextmanager
def job(namespace: dict[str, Any], *, trusting: bool = False) -> Iterator[Any]:
    """Give a rule's script what it works on, log to the rule's log file, and fail in one line.

    What the job reads must be what was made for this study, and what it makes gets a record
    (`jobs.records`).

    Lines of level INFO and above go to ``snakemake.log[0]`` with the time; the first says
    where the job runs. When the block raises, the log gets the traceback and, as its
    last line, the reason; standard error gets the reason and the log's name. The job
    exits with status 1, or with `INTERRUPTED` when the block raises `Interrupted`.
    Meanwhile a record of how far it is lies beside the log (`jobs.running`).

    Parameters
    ----------
    namespace : dict
        The script's ``globals()``.
    trusting : bool, optional
        Whether the script itself looks at what is wrong with what it reads.

    Yields
    ------
    object
        What Snakemake gave the script; when it is run alone, a stand-in (`jobs.alone`).
    """
    collect_seldom()
    if "snakemake" not in namespace:
        logging.basicConfig(force=True, level=logging.INFO, format="%(message)s")
        # Whoever runs a script alone wants its exceptions.
        with _on_record(stand_in(sys.argv[0]), trusting) as snakemake:
            yield snakemake
        return
    snakemake = namespace["snakemake"]
    log_file = snakemake.log[0]
    logging.raiseExceptions = False  # a full disk is reported once, not for each line
    try:
        logging.basicConfig(
            filename=log_file,
            filemode="w",
            force=True,
            level=logging.INFO,
            format="%(asctime)s %(message)s",
            datefmt="%Y-%m-%d %H:%M:%S",
        )
    except OSError as error:
        _end(snakemake, f"cannot write the log: {error}", 1)
    logging.captureWarnings(True)
    _log.info("%s on %s", snakemake.rule, whereabouts())
    try:
        with recorded(snakemake.rule, log_file), _on_record(snakemake, trusting):
            yield snakemake
    except Interrupted as interruption:
        _log.info("interrupted: %s", interruption)
        _end(snakemake, str(interruption), INTERRUPTED)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        for line in traceback.format_exc().splitlines():
            _log.error("%s", line)
        _log.error("failed: %s", reason)
        _end(snakemake, reason, 1)


@contextmanager
def _on_record(snakemake: Any, trusting: bool) -> Iterator[Any]:
    """Look at what a job reads before it works, and leave the records of what it has made."""
    if not trusting:
        check_inputs(snakemake)
    before = contents(snakemake)
    yield snakemake
    write_records(snakemake, before)


def collect_seldom() -> None:
    """Look for garbage seldom: modules are a million objects that stay.

    To look among them each time that a few hundred more have come takes a sixth of the time in
    which a job imports libraries and builds networks.
    """
    gc.set_threshold(100_000)


def whereabouts() -> str:
    """Return the host and process that this is, and the SLURM job it is part of."""
    number = os.environ.get("SLURM_JOB_ID")
    return f"{platform.node()}, process {os.getpid()}" + (f", SLURM job {number}" if number else "")


def defer_signals() -> Callable[[], bool]:
    """Let work that saves its state finish a step when it is told to end.

    From here on SIGTERM and SIGINT are only noted. Repeated ones are too: SLURM sends
    SIGTERM twice at a time limit.

    Returns
    -------
    callable
        Tells whether a signal has come.
    """
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: received.append(number))
    return lambda: bool(received)


def _end(snakemake: Any, reason: str, status: int) -> NoReturn:
    print(f"{snakemake.rule}: {reason} (log: {snakemake.log[0]})", file=sys.stderr)
    sys.exit(status)
