"""Build what the library is installed from: an sdist and, of that, a wheel.

Run by `make wheel`, and with --check, which keeps neither, by `make lint`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "workflow" / "scripts"
#: What the distribution is made of.
PARTS = ("pyproject.toml", "LICENSE", "docs/library.md", "workflow/scripts/dds")


def copy_parts(folder: Path) -> None:
    """Copy what the distribution is made of: to build it writes beside the sources."""
    for part in PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, folder / part, ignore=ignore)
        else:
            shutil.copy(ROOT / part, folder / part)


def misfits(wheel: Path) -> list[str]:
    """Return the files that a wheel lacks, or holds beside the library and what describes it."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {
        path.relative_to(SCRIPTS).as_posix()
        for path in (SCRIPTS / "dds").rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    return sorted(held ^ wanted)


def main() -> int:
    """Build, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="keep nothing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as copy, tempfile.TemporaryDirectory() as out:
        copy_parts(Path(copy))
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, copy]
        built = subprocess.run(command, capture_output=True, text=True)
        if built.returncode:
            print(f"{built.stdout}{built.stderr}wheel: cannot be built", file=sys.stderr)
            return 1
        sdist, wheel = sorted(Path(out).iterdir(), key=lambda path: path.suffix == ".whl")
        if wrong := misfits(wheel):
            print(f"wheel: lacks, or should not hold, {', '.join(wrong)}", file=sys.stderr)
            return 1
        if not arguments.check:
            (ROOT / "dist").mkdir(exist_ok=True)
            shutil.copy(sdist, ROOT / "dist")
            shutil.copy(wheel, ROOT / "dist")
    print(f"wheel: {sdist.name} and {wheel.name} {'build' if arguments.check else 'in dist/'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
