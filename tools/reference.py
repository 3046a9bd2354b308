"""Write what follows from the code: schemas, tables of config/README.md, help of the commands."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from dds.commands import commands  # noqa: E402
from study import reference  # noqa: E402

#: The page of the command line; help stands between ``<!-- help: NAME -->`` and ``<!-- end -->``.
_PAGE = ROOT / "docs" / "command_line.md"
_MARKED = re.compile(r"(<!-- help: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_WIDTH = 98


def files() -> dict[Path, str]:
    """Return what each file should hold."""
    return reference.files(ROOT) | {_PAGE: with_help(_PAGE.read_text(encoding="utf-8"))}


def with_help(page: str) -> str:
    """Return a page with the help of the commands filled in."""
    return _MARKED.sub(lambda mark: f"{mark[1]}\n{help_of(mark[2])}\n\n{mark[3]}", page)


def help_of(name: str) -> str:
    """Return what a command says of itself, as a block of a page."""
    above = click.Context(commands, info_name="python -m dds", **commands.context_settings)
    context = click.Context(
        commands.commands[name],
        above,
        name,
        terminal_width=_WIDTH,
        help_option_names=above.help_option_names,
    )
    text = context.command.get_help(context)
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def main() -> None:
    """Write the files, or say which differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, end with 1 if needed")
    if not parser.parse_args().check:
        reference.write(files())
        print("reference: written")
        return
    if stale := reference.outdated(files()):
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        sys.exit(f"error: {names}: not what the code says; run tools/reference.py")
    print("reference: as the code says")


if __name__ == "__main__":
    main()
