"""Look at results: those of `certify`, certificates of the workflow, and anyone's logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dds.commands.running import (
    PATH,
    Command,
    left_out,
    log_sigma_option,
    radii_option,
    refuse,
)
from dds.statistics.reach import can_reach

if TYPE_CHECKING:
    import pandas as pd

_PARQUET = b"PAR1"
#: Endings of pictures that matplotlib can write without a display.
_PICTURES = (".pdf", ".png", ".svg")
#: Beside the ten colours they tell twenty curves apart, neighbours also in grey.
_DASHES = ["-", "--", ":", "-."]
#: What stands for accuracies at radii that no image can have, in tables of the workflow, too.
_UNREACHABLE = "n/a"


@click.command(cls=Command, example="accuracy certificates.parquet --radii 0 0.25 0.5")
@click.argument("files", type=PATH, nargs=-1, required=True, metavar="FILE...")
@radii_option()
@log_sigma_option()
def accuracy(files: Sequence[Path], radii: Sequence[float], sigma: float | None) -> int:
    """Print certified accuracy (%) with its 95% interval.

    FILE holds results or certificates (.parquet), or is a log or a folder of logs in Cohen et
    al.'s format. A damaged log in a folder is reported and left out, and the exit status is then 1.
    """
    certificates, refused = read_results(files, sigma)
    print_accuracy(certificates, radii)
    return left_out(refused)


@click.command(cls=Command, example="plot certificates.parquet --to accuracy.pdf")
@click.argument("files", type=PATH, nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--to",
    type=PATH,
    default="certified_accuracy.pdf",
    show_default=True,
    metavar="PICTURE",
    help="The picture to write, .pdf, .png or .svg.",
)
@log_sigma_option()
def plot(files: Sequence[Path], to: Path, sigma: float | None) -> int:
    """Draw certified accuracy over the radius, a curve for each classifier and noise level.

    FILE is as for accuracy. Where the classes of images are not known, the share of images that
    are certified is drawn.
    """
    from matplotlib.colors import TABLEAU_COLORS
    from matplotlib.figure import Figure

    from dds.files import atomic_path
    from dds.front.curves import draw_curve

    if to.suffix not in _PICTURES:
        raise ValueError(f"--to {to}: must end in {', '.join(_PICTURES)}")
    certificates, refused = read_results(files, sigma)
    figure = Figure(figsize=(6, 4))
    ax = figure.subplots()
    ax.set_prop_cycle(color=[*TABLEAU_COLORS] * 2, linestyle=_DASHES * 5)
    for (name, level), rows in certificates.groupby(["classifier", "sigma"], dropna=False):
        draw_curve(rows, ax, label=f"{name}, sigma {level:g}" if level > 0 else str(name))
    # Names are long, and stand where no curve is behind them.
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.15), frameon=False, handlelength=3)
    with atomic_path(to) as temporary:
        figure.savefig(temporary, dpi=200, bbox_inches="tight")
    click.echo(to)
    return left_out(refused)


def print_accuracy(certificates: pd.DataFrame, radii: Sequence[float]) -> None:
    """Print a table of certified accuracies, one row a classifier and noise level.

    Where the classes of images are not known, it is of the share that is certified.
    """
    from dds.front.curves import counted
    from dds.statistics.accuracy import certified_accuracy

    rows, what = counted(certificates)
    key = ["classifier", "sigma"]
    # Which logs do not say, nor certificates of earlier versions.
    rows = rows.assign(largest_radius=rows.get("largest_radius", nan))
    largest = rows.groupby(key, dropna=False, as_index=False)["largest_radius"].max()
    accuracy = certified_accuracy(rows, radii).merge(largest, on=key)
    accuracy["cell"] = [_cell(row) for row in accuracy.to_dict("records")]
    table = accuracy.pivot(index=[*key, "images"], columns="radius", values="cell")
    click.echo(f"{what.capitalize()} (%) and its 95% interval, by radius")
    click.echo(table.reset_index().to_string(index=False, na_rep="-"))
    if accuracy["cell"].eq(_UNREACHABLE).any():
        click.echo(
            f"{_UNREACHABLE}: n is too small; not even n samples that all agree certify so large "
            "a radius"
        )


def _cell(number: Mapping[str, Any]) -> str:
    """Return an accuracy in percent with its interval, or why there is none."""
    if isnan(number["accuracy"]):
        return "not computed"
    if not can_reach(number["radius"], number["largest_radius"]):
        return _UNREACHABLE
    value, low, high = (100 * number[name] for name in ("accuracy", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def read_results(
    files: Sequence[Path], sigma: float | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Read results of any format.

    Parameters
    ----------
    files : sequence of Path
        Files of results or certificates, logs, or folders of logs; each is read once.
    sigma : float, optional
        Noise level of logs, in [0,1] pixel units, where their paths do not name it.

    Returns
    -------
    DataFrame
        With at least the columns `dds.logs.COLUMNS`. Where several files hold a classifier of
        one name at one noise level, the names tell the files too.
    list of str
        What is wrong with each log that was left out; it has been printed.

    Raises
    ------
    ValueError
        If a file is of no such format.
    """
    import pandas as pd

    once: dict[Path, Path] = {}
    for file in files:  # one that is named twice, perhaps in two ways, holds its images once
        once.setdefault(file.resolve(), file)
    read = [_read(file, sigma) for file in once.values()]
    parts = [
        part.assign(file=str(file)) for file, (part, _) in zip(once.values(), read, strict=True)
    ]
    table = pd.concat(parts, ignore_index=True)
    key = ["classifier", "sigma"]
    doubled = table.groupby(key, dropna=False)["file"].transform("nunique") > 1
    table.loc[doubled, "classifier"] += " (" + table["file"] + ")"
    return table.drop(columns="file"), [problem for _, refused in read for problem in refused]


def read_folder(folder: Path, sigma: float | None) -> tuple[pd.DataFrame, list[str]]:
    """Read the logs of a folder; say of each that is damaged why it is left out."""
    from dds.logs import read_logs

    refused: list[str] = []

    def leave_out(problem: str) -> None:
        refused.append(problem)
        refuse(problem)

    return read_logs(folder, sigma, on_refused=leave_out), refused


def _read(path: Path, sigma: float | None) -> tuple[pd.DataFrame, list[str]]:
    from dds.logs import read_log

    if is_parquet(path):
        return read_any_certificates(path), []
    if path.is_dir():
        return read_folder(path, sigma)
    return read_log(path, sigma=sigma), []


def is_parquet(path: Path) -> bool:
    """Tell a file of results or certificates from a log, and from a folder of logs."""
    if path.is_dir():
        return False
    with open(path, "rb") as file:
        return file.read(len(_PARQUET)) == _PARQUET


def read_any_certificates(path: Path) -> pd.DataFrame:
    """Read certificates, or results of `dds.certify`, from a parquet file."""
    import pyarrow as pa
    from pyarrow import parquet

    from dds.front.results import Certificates
    from dds.logs import read_certificates
    from dds.sampling.counts import read_counts

    with open(path, "rb") as file:  # whose errors name the file
        try:
            columns = parquet.read_schema(file).names
        except pa.ArrowInvalid:  # which reading it as certificates explains
            columns = []
    if "estimation" not in columns:
        return read_certificates(path)
    _, facts = read_counts(path)
    if facts.get("call") != "certify":
        raise ValueError(
            f"{path} holds votes and no certificates; take a file that certify saved, or "
            "certificates of the workflow"
        )
    return Certificates.load(path).to_frame()
