"""Build the HTML report of a finished study, beside its results: `make report`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from project import ROOT, open_study, whole_report


def main() -> None:
    """Read the command line and have Snakemake build the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", nargs="?", help="by default the one config/config.yaml names")
    parser.add_argument("--deposit", help="that it took votes from (docs/deposits.md)")
    arguments = parser.parse_args()
    study = open_study(arguments.study, arguments.deposit)
    results = Path("results", study.name)
    named = [f"{key}={value}" for key, value in vars(arguments).items() if value]
    config = ["--config", *named] if named else []
    command = [sys.executable, "-m", "snakemake", "all", "--cores", "1", *config, "--report"]
    with whole_report(results) as report:
        if subprocess.run([*command, str(report)], cwd=ROOT, check=False).returncode:
            sys.exit(f"report: there is no new one of {study.name}; the lines above say why")
    print(f"report: {results / report.name}")


if __name__ == "__main__":
    main()
