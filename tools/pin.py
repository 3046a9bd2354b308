"""Pin every dependency: pyproject.toml -> requirements.lock -> a conda environment a kind of work.

Likewise what the documentation is built with: docs.in -> docs.lock. Run by `make lock`. With
--check nothing is written; the exit status tells whether the files are what they should be, given
the lock.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ENVS = Path(__file__).parents[1] / "envs"
PROJECT = ENVS.parent / "pyproject.toml"
LOCK = ENVS / "requirements.lock"
#: What the documentation is built with, beside the library's own needs: apart from all else,
#: because nobody who runs the workflow needs it.
DOCS, DOCS_LOCK = ENVS / "docs.in", ENVS / "docs.lock"

#: What each environment holds of pyproject.toml, on top of the library's own needs: groups of
#: the workflow's and extras of the library's.
CONTENTS = {
    "download": [],
    "analysis": ["--group", "analysis"],
    "notebooks": ["--group", "notebooks"],
    "torch": ["--extra", "models", "--group", "gpu"],
}

PYTHON = "3.11"
# What names its channel comes from no other one, though a user's conda may know more. `nodefaults`
# among the channels would do, but recent versions of conda look for a channel of that name.
HEAD = """\
# Written by `make lock` from pyproject.toml; do not edit.
channels:
  - conda-forge
dependencies:
  - conda-forge::python=3.11.9
  - conda-forge::pip=24.2
  - pip:
      - --require-hashes
"""


def compile_requirements(*options: str) -> str:
    """Resolve pyproject.toml with uv and return the pins, one a line."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header",
               "--python-version", PYTHON, *options, str(PROJECT)]  # fmt: skip
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def locked_versions(lock: str) -> str:
    """Return the lock's pins as constraints, which take neither hashes nor extras."""
    pins = (line.removesuffix(" \\") for line in lock.splitlines() if line[:1].isalnum())
    return "".join(re.sub(r"\[.*?\]", "", pin) + "\n" for pin in pins)


def everything() -> list[str]:
    """Return the options that ask for all extras and groups of pyproject.toml."""
    groups = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["dependency-groups"]
    return ["--all-extras", *(word for group in groups for word in ("--group", group))]


def environment(contents: list[str], lock: Path) -> str:
    """Return the conda environment of some extras and groups, at the lock's versions."""
    pins = compile_requirements(
        *contents, "--no-annotate", "--generate-hashes", "--python-platform", "linux",
        "--constraint", str(lock),
    )  # fmt: skip
    # A pin and its hashes are one requirement; YAML needs no mark that it goes on.
    lines = (line.rstrip(" \\") for line in pins.splitlines())
    return HEAD + "".join(f"      {'' if line[0] == ' ' else '- '}{line}\n" for line in lines)


def documentation(lock: Path, *, upgrade: bool) -> str:
    """Return the documentation's lock, which keeps what versions it has unless asked to upgrade."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / DOCS_LOCK.name
        if DOCS_LOCK.exists() and not upgrade:
            shutil.copyfile(DOCS_LOCK, output)
        compile_requirements(
            str(DOCS), "--no-annotate", "--universal", "--generate-hashes",
            "--constraint", str(lock), "-o", str(output),
        )  # fmt: skip
        return output.read_text()


def main() -> int:
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions allowed")
    arguments = parser.parse_args()
    if not arguments.check:
        options = ["--upgrade"] if arguments.upgrade else []
        # Extras stay in the lock because older pips take no pin of a package for one of its extras.
        compile_requirements(
            *everything(), "--universal", "--generate-hashes", "--no-strip-extras",
            "-o", str(LOCK), *options,
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        versions = Path(folder) / "versions.txt"
        versions.write_text(locked_versions(LOCK.read_text()))
        wanted = {ENVS / f"{name}.yaml": environment(contents, versions)
                  for name, contents in CONTENTS.items()}  # fmt: skip
        wanted[DOCS_LOCK] = documentation(versions, upgrade=arguments.upgrade)
    drifted = [
        path.name for path, text in wanted.items() if not path.exists() or path.read_text() != text
    ]
    if arguments.check:
        print(f"environments: {', '.join(drifted)} drifted; run `make lock`" if drifted
              else "environments: as locked")  # fmt: skip
        return bool(drifted)
    for path, text in wanted.items():
        path.write_text(text)
    print(f"environments: {len(wanted)} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
