"""The command line: ``python -m dds --help``.

A command is a function in a module of this package. Modules import what is heavy inside their
functions, so that help and mistakes are told at once.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from dds.commands.certify import certify, predict
from dds.commands.exchange import export_log, import_logs
from dds.commands.plan import plan
from dds.commands.results import accuracy, plot
from dds.commands.running import WIDTH, refuse
from dds.extras import needed
from dds.progress import say
from dds.reasons import first_line
from dds.version import __version__

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH}


@click.group(no_args_is_help=False, context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="dds", message="%(prog)s %(version)s")
def commands() -> None:
    """Certified robustness by diffusion denoised smoothing, with models as they are."""


for _command in (certify, predict, plan, accuracy, plot, import_logs, export_log):
    commands.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    That is 0, or 2 after one line about what is wrong, or 1 after a line about each log that was
    left out of what was done, or 130 where it was interrupted.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.
    """
    given = None if arguments is None else list(arguments)
    try:
        with warnings.catch_warnings(), _logged(), needed():
            warnings.showwarning = _warn  # type: ignore[assignment]
            return commands.main(given, standalone_mode=False) or 0
    except click.UsageError as error:
        command = f"; see {error.ctx.command_path} --help" if error.ctx else ""
        return refuse(error.format_message().rstrip(".") + command)
    except click.ClickException as error:
        return refuse(error.format_message())
    except click.Abort:  # what click makes of an interrupt
        refuse("interrupted")
        return 130
    except BrokenPipeError:  # whoever reads has read enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (ValueError, ArithmeticError, ModuleNotFoundError) as error:
        return refuse(str(error))
    except RuntimeError as error:  # PyTorch's, which go on for pages
        is_full = "OutOfMemory" in type(error).__name__
        return refuse(first_line(error) + "; take a smaller --batch-size" * is_full)


def _warn(message: Warning | str, *where: object) -> None:
    """Say a warning in one line, without where in the code it comes from."""
    say(f"warning: {' '.join(str(message).split())}")


@contextmanager
def _logged() -> Iterator[None]:
    """Say what the library logs: warnings, and how well a denoiser denoises."""
    library, check = map(logging.getLogger, ("dds", "dds.sampling.denoising_check"))
    levels, handler = (library.level, check.level), _Saying()
    library.addHandler(handler)
    library.setLevel(logging.WARNING)
    check.setLevel(logging.INFO)
    try:
        yield
    finally:
        library.removeHandler(handler)
        for logger, level in zip((library, check), levels, strict=True):
            logger.setLevel(level)


class _Saying(logging.Handler):
    """Writes each record in one line."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            _warn(record.getMessage())
        else:
            say(record.getMessage())


__all__ = ["commands", "main"]
