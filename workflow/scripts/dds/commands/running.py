"""What all commands share: how they read numbers, and how they refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import click

from dds.files import parquet_path

#: A file or folder, as click hands it over.
PATH = click.Path(path_type=Path)
#: A height or width.
PIXELS = click.IntRange(min=1, max=10_000)
#: Widest lines of help.
WIDTH = 100
#: Radii that tables of results are for, where none are given, in [0,1] pixel units.
RADII = (0.0, 0.25, 0.5, 0.75, 1.0)


def to_parquet(context: click.Context, parameter: click.Parameter, path: Path) -> Path:
    """Refuse, before any work, a file to write that is not named as a parquet file."""
    return parquet_path(path)


class Command(click.Command):
    """A command whose help ends in an example, and whose repeatable options take several values.

    ``--radii 0 0.25 0.5`` is ``--radii 0 --radii 0.25 --radii 0.5``.

    Parameters
    ----------
    example : str
        What to type, without ``python -m dds``; it may have several lines.
    """

    def __init__(self, *arguments: Any, example: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example, line by line as it is."""
        with formatter.section("Example"):
            for line in f"python -m dds {self.example}".splitlines():
                formatter.write(f"  {line}\n")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments, once an option stands before each of its values."""
        options = [one for one in self.params if isinstance(one, click.Option) and one.multiple]
        names = {name for option in options for name in option.opts}
        return super().parse_args(ctx, list(_repeated(args, names)))


def _repeated(arguments: Sequence[str], options: AbstractSet[str]) -> Iterator[str]:
    """Write ``--radii 0 0.5`` as ``--radii 0 --radii 0.5``."""
    option, is_first = None, False
    for argument in arguments:
        if option and not is_first and _is_number(argument):
            yield option
        elif not is_first:
            option = argument if argument in options else None
        yield argument
        is_first = argument in options


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def added(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a decorator that adds several arguments and options, in this order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def radii_option(**settings: Any) -> Any:
    """Return the option ``--radii R ...``."""
    settings = {"help": "Radii in [0,1] pixel units, at least 0.", "default": RADII} | settings
    return click.option("--radii", type=float, multiple=True, metavar="R ...", **settings)


size_option = click.option(
    "--size",
    type=PIXELS,
    metavar="PIXELS",
    help="Height and width of images: the shorter side is resized to it, and the centre is kept. "
    "By default images stay as they are.",
)

channels_option = click.option(
    "--channels",
    type=click.Choice(["3", "1"]),
    callback=lambda context, parameter, channels: int(channels),
    default="3",
    show_default=True,
    help="3 for colour, 1 for grey.",
)


def log_sigma_option() -> Any:
    """Return the option ``--sigma`` of commands that read logs."""
    return click.option(
        "--sigma",
        type=float,
        help="Noise level of logs, in [0,1] pixel units; by default from paths like sigma_0.25.",
    )


def refuse(problem: str) -> int:
    """Say in one line what is wrong, and return the exit status of a command that did nothing."""
    click.echo(f"error: {' '.join(problem.split())}", err=True)
    return 2


def how_many(number: int, what: str) -> str:
    """Return a number of things in words, such as ``1 log`` and ``2 logs``."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def left_out(problems: Sequence[str]) -> int:
    """Return the exit status of a command that left damaged logs out, after saying how many."""
    if problems:
        are = "is" if len(problems) == 1 else "are"
        refuse(f"{how_many(len(problems), 'damaged log')} {are} left out")
    return 1 if problems else 0


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of text in columns, right-aligned but for the first."""
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for first, *rest in table:
        cells = [first.ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
        click.echo("  ".join(cells).rstrip())
