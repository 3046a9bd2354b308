"""Build the HTML report of a finished study, beside its results: `make report`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from project import ROOT, open_study


def main() -> None:
    """Read the command line and have Snakemake build the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", nargs="?", help="by default the one config/config.yaml names")
    parser.add_argument("--deposit", help="that it took votes from (docs/deposits.md)")
    arguments = parser.parse_args()
    study = open_study(arguments.study, arguments.deposit)
    report = Path("results", study.name, "report.zip")
    command = [sys.executable, "-m", "snakemake", "all", "--cores", "1", "--report", str(report)]
    named = [f"{key}={value}" for key, value in vars(arguments).items() if value]
    answer = subprocess.run([*command, *(["--config", *named] if named else [])],
                            cwd=ROOT, check=False)  # fmt: skip
    if answer.returncode:
        sys.exit(f"report: there is none of {study.name}; the lines above say why")
    print(f"report: {report}")


if __name__ == "__main__":
    main()
