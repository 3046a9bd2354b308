"""Write what follows from the types of a study: schemas, and the tables of config/README.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from study import reference  # noqa: E402


def main() -> None:
    """Write the files, or say which differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, end with 1 if needed")
    if not parser.parse_args().check:
        reference.write(ROOT)
        print("reference: written")
        return
    stale = [str(path.relative_to(ROOT)) for path in reference.outdated(ROOT)]
    if stale:
        sys.exit(f"error: {', '.join(stale)}: not what the types say; run tools/reference.py")
    print("reference: as the types say")


if __name__ == "__main__":
    main()
