"""Look at results: those of `certify`, certificates of the workflow, and anyone's logs."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dds.commands.running import (
    PATH,
    Command,
    left_out,
    log_sigma_option,
    radii_option,
    refuse,
)

if TYPE_CHECKING:
    import pandas as pd

_PARQUET = b"PAR1"


@click.command(cls=Command)
@click.argument("files", type=PATH, nargs=-1, required=True, metavar="FILE...")
@radii_option()
@log_sigma_option()
def accuracy(files: Sequence[Path], radii: Sequence[float], sigma: float | None) -> int:
    """Print certified accuracy (%) with its 95% interval.

    FILE holds results or certificates (.parquet), or is a log or a folder of logs in Cohen et
    al.'s format. A damaged log in a folder is reported and left out, and the exit status is then 1.

    \b
    Example:
      python -m dds accuracy certificates.parquet --radii 0 0.25 0.5
    """
    certificates, refused = read_results(files, sigma)
    print_accuracy(certificates, radii)
    return left_out(refused)


def print_accuracy(certificates: pd.DataFrame, radii: Sequence[float]) -> None:
    """Print a table of certified accuracies, one row a classifier and noise level."""
    from dds.statistics.accuracy import certified_accuracy

    accuracy = certified_accuracy(certificates, radii)
    percent = 100 * accuracy[["accuracy", "low", "high"]]
    accuracy["cell"] = [
        "not computed" if isnan(value) else f"{value:.1f} [{low:.1f}, {high:.1f}]"
        for value, low, high in percent.itertuples(index=False)
    ]
    table = accuracy.pivot(index=["classifier", "sigma", "images"], columns="radius", values="cell")
    click.echo("Certified accuracy (%) and its 95% interval, by radius")
    click.echo(table.reset_index().to_string(index=False, na_rep="-"))


def read_results(
    files: Sequence[Path], sigma: float | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Read results of any format.

    Parameters
    ----------
    files : sequence of Path
        Files of results or certificates, logs, or folders of logs.
    sigma : float, optional
        Noise level of logs, in [0,1] pixel units, where their paths do not name it.

    Returns
    -------
    DataFrame
        With at least the columns `dds.logs.COLUMNS`.
    list of str
        What is wrong with each log that was left out; it has been printed.

    Raises
    ------
    ValueError
        If a file is of no such format, or two hold the same classifier at the same noise level.
    """
    import pandas as pd

    parts, problems, seen = [], [], {}
    for file in files:
        part, refused = _read(file, sigma)
        for one in part.groupby(["classifier", "sigma"], dropna=False).groups:
            if one in seen:
                raise ValueError(
                    f"{seen[one]} and {file} both hold classifier {one[0]} at sigma {one[1]:g}"
                )
            seen[one] = file
        parts.append(part)
        problems += refused
    return pd.concat(parts, ignore_index=True), problems


def read_folder(folder: Path, sigma: float | None) -> tuple[pd.DataFrame, list[str]]:
    """Read the logs of a folder; say of each that is damaged why it is left out."""
    from dds.logs import read_logs

    refused: list[str] = []

    def leave_out(problem: str) -> None:
        refused.append(problem)
        refuse(problem)

    return read_logs(folder, sigma, on_refused=leave_out), refused


def _read(path: Path, sigma: float | None) -> tuple[pd.DataFrame, list[str]]:
    from dds.logs import read_certificates, read_log

    if path.is_dir():
        return read_folder(path, sigma)
    with open(path, "rb") as file:
        is_parquet = file.read(len(_PARQUET)) == _PARQUET
    return (read_certificates(path) if is_parquet else read_log(path, sigma=sigma)), []
