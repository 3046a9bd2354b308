"""Exchange certificates with other projects: ``python -m dds --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from math import isnan
from pathlib import Path

import pandas as pd

from dds.logs import read_certificates, read_log, read_logs, write_certificates, write_logs
from dds.statistics.accuracy import certified_accuracy, leaves_undecided
from dds.version import __version__

_PARQUET = b"PAR1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    That is 0, or 2 after one line about what is wrong, or 1 after a line about each log that was
    left out of what was done.
    """
    options = _parser().parse_args(arguments)
    options.refused = []
    try:
        options.run(options)
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except ValueError as error:
        return _refuse(str(error))
    if options.refused:
        print(f"error: {len(options.refused)} damaged logs are left out", file=sys.stderr)
    return 1 if options.refused else 0


def _refuse(problem: str) -> int:
    print(f"error: {' '.join(problem.split())}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dds", description=__doc__.split(":")[0] + ".")
    parser.add_argument("--version", action="version", version=f"dds {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("import-logs", help="turn a folder of logs into certificates")
    command.add_argument("folder", type=Path, help="holds logs in Cohen et al.'s format")
    command.add_argument("output", type=Path, help="certificates to write (.parquet)")
    _add_sigma(command)
    command.set_defaults(run=_import_logs)

    command = commands.add_parser("export-log", help="turn certificates into logs")
    command.add_argument("certificates", type=Path, help="certificates to read (.parquet)")
    command.add_argument("folder", type=Path, help="gets a log a classifier and noise level")
    command.set_defaults(run=_export_logs)

    command = commands.add_parser("accuracy", help="print certified accuracy (%%)")
    command.add_argument("file", type=Path, help="certificates, a log or a folder of logs")
    command.add_argument(
        "--radii",
        type=float,
        nargs="+",
        default=[0, 0.25, 0.5, 0.75, 1],
        metavar="R",
        help="in [0,1] pixel units",
    )
    _add_sigma(command)
    command.set_defaults(run=_print_accuracy)
    return parser


def _add_sigma(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--sigma",
        type=float,
        help="noise level of the logs, in [0,1] pixel units; by default from paths like sigma_0.25",
    )


def _read_folder(folder: Path, options: argparse.Namespace) -> pd.DataFrame:
    """Read the logs of a folder; say of each that is damaged why it is left out."""

    def leave_out(problem: str) -> None:
        options.refused.append(problem)
        _refuse(problem)

    return read_logs(folder, options.sigma, on_refused=leave_out)


def _import_logs(options: argparse.Namespace) -> None:
    certificates = _read_folder(options.folder, options)
    write_certificates(certificates, options.output)
    logs = certificates.groupby(["classifier", "sigma"], dropna=False).ngroups
    print(f"{options.output}: {len(certificates)} certificates from {logs} logs")


def _export_logs(options: argparse.Namespace) -> None:
    certificates = read_certificates(options.certificates)
    if leaves_undecided(certificates):
        raise ValueError(
            f"{options.certificates}: its sampling plan left radii undecided, which a log cannot "
            "say; export certificates of a plan that decides all, such as fixed"
        )
    for path in write_logs(certificates, options.folder):
        print(path)


def _print_accuracy(options: argparse.Namespace) -> None:
    certificates = _read_any(options)
    accuracy = certified_accuracy(certificates, options.radii)
    percent = 100 * accuracy[["accuracy", "low", "high"]]
    accuracy["cell"] = [
        "not computed" if isnan(value) else f"{value:.1f} [{low:.1f}, {high:.1f}]"
        for value, low, high in percent.itertuples(index=False)
    ]
    table = accuracy.pivot(index=["classifier", "sigma", "images"], columns="radius", values="cell")
    print("Certified accuracy (%) and its 95% interval, by radius")
    print(table.reset_index().to_string(index=False, na_rep="-"))


def _read_any(options: argparse.Namespace) -> pd.DataFrame:
    path = options.file
    if path.is_dir():
        return _read_folder(path, options)
    with open(path, "rb") as file:
        is_parquet = file.read(len(_PARQUET)) == _PARQUET
    return read_certificates(path) if is_parquet else read_log(path, sigma=options.sigma)


if __name__ == "__main__":
    sys.exit(main())
