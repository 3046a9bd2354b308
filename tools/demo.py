"""Run a study to its end, build its report, and say where to look: `make demo`."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from project import ROOT, open_study, whole_report

# isort: split
from paper.sheets import to_text
from paper.tables import lay_out, read_table

#: Chatter that hides the progress of the jobs.
QUIET = ["--quiet", "rules", "host", "reason"]

#: Whether Ctrl-C was pressed. Snakemake gets it too, and needs its time to end its jobs.
interrupted = threading.Event()


def snakemake(*arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in the project's root; end when it was interrupted."""
    command = [sys.executable, "-m", "snakemake", *arguments]
    answer = subprocess.run(command, cwd=ROOT, text=True, check=False, capture_output=capture)
    if interrupted.is_set():
        sys.exit("demo: interrupted; run it again to go on from here")
    return answer


def run(results: Path, options: list[str]) -> bool:
    """Build the study and its report; tell whether there was anything to do."""
    preview = snakemake("all", *options, "--dry-run", capture=True)
    if preview.returncode:
        sys.exit((preview.stderr or preview.stdout).strip())
    complete = "Nothing to be done" in preview.stdout + preview.stderr
    if not complete and snakemake("all", *options, *QUIET).returncode:
        sys.exit("demo: failed; the lines above name the rule and its log file")
    if complete and (ROOT / results / "report.zip").exists():
        return False
    with whole_report(results) as report:
        made = snakemake("all", *options, "--report", str(report), capture=True)
        if made.returncode:
            sys.exit(f"demo: the report failed: {made.stderr.strip().splitlines()[-1]}")
    return True


def print_summary(results: Path, tables: dict) -> None:
    """Print the table that compares methods, and where everything lies."""
    comparing = [name for name in tables if tables[name].kind == "best_over_sigma"]
    for name in [name for name in comparing if name == "table_3"] or comparing[:1]:
        entry = tables[name]
        sheets = lay_out(entry, read_table(ROOT / results / "tables" / f"{name}.csv"))
        print(f"\n{to_text(sheets, entry.caption)}")
    print(f"  {results}/paper.pdf   every table and figure, typeset")
    print(f"  {results}/report.zip  the HTML report: unpack it, open report.html")
    print(f"  {results}/            tables, figures, notebooks, certificates, counts")


def main() -> None:
    """Read the command line and run."""
    signal.signal(signal.SIGINT, lambda number, frame: interrupted.set())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", help="by default the one config/config.yaml names")
    parser.add_argument("--cores", default="all")
    arguments = parser.parse_args()
    study = open_study(arguments.study)
    options = ["--cores", arguments.cores]
    if arguments.study:
        options += ["--config", f"study={arguments.study}"]
    results, started = Path("results", study.name), time.monotonic()
    worked = run(results, options)
    print_summary(results, study.tables)
    took = f"done in {time.monotonic() - started:.0f} s" if worked else "nothing to do"
    print(f"\ndemo: {took}; {results} is complete")


if __name__ == "__main__":
    main()
