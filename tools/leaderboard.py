"""Put the certification logs and deposits below a folder beside each other: a page and a csv.

    python tools/leaderboard.py FOLDER [--radii 0 0.25 0.5] [--output dist]

Logs are those of Cohen et al. (2019), of any project; deposits are what `make archive` writes,
packed or not. What they do not say may stand in FOLDER/leaderboard.yaml (docs/leaderboard.md).
What is damaged is left out, with one line on stderr.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from project import ROOT

# isort: split
import pandas as pd

from dds.files import atomic_path, sha256
from dds.keys import Keys, Text, key
from dds.logs import COLUMNS, find_logs, read_log
from jobs.deposit import STUDY, SUMS, Deposit, open_deposit
from paper.leaderboard import Standing, leaderboard, leaderboard_page
from paper.tables import check_certificates
from study.errors import Place, StudyError, conform
from study.yaml_files import read_yaml

NOTES = "leaderboard.yaml"

_PACKED = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".zip")


class Note(Keys):
    """What is known of some logs or deposits, beside what they hold."""

    files: Text = key("A pattern of their paths below the folder, such as `macer/*`.")
    method: Text | None = key("What to call the method.", None)
    dataset: Text | None = key("What the images are.", None)
    source: Text | None = key("Where they are from: an address, a paper.", None)
    sigma: float | None = key("The noise level, in [0,1] pixel units.", None, gt=0)
    n: int | None = key("How many samples of an image were drawn at most.", None, ge=1)
    alpha: float | None = key("The error probability of each certificate.", None, gt=0, lt=1)


def complain(problem: object) -> None:
    """Say what is left out."""
    print(f"leaderboard: {' '.join(str(problem).split())}", file=sys.stderr)


def read_notes(folder: Path) -> list[Note]:
    """Return what the folder's own file says, or end with one line about what is wrong."""
    path = folder / NOTES
    if not path.exists():
        return []
    try:
        return conform(read_yaml(path, str(path)), list[Note], Place(str(path)))
    except StudyError as error:
        sys.exit(f"leaderboard: {error}")


def noted(notes: list[Note], file: str) -> dict[str, Any]:
    """Return what the notes say of a file; of two that say the same, the later one counts."""
    said: dict[str, Any] = {}
    for note in notes:
        if fnmatchcase(file, note.files):
            said |= note.model_dump(exclude={"files"}, exclude_none=True)
    return said


class Content(NamedTuple):
    """What stands in a log, or in the certificates of a deposit's experiment."""

    file: str
    sha256: str
    standings: list[Standing]


def from_logs(paths: list[Path], folder: Path, notes: list[Note]) -> Iterator[Content]:
    """Yield the logs that are whole."""
    for path in paths:
        file = path.relative_to(folder).as_posix()
        said = noted(notes, file)
        try:
            digest = sha256(path)
            certificates = read_log(path, sigma=said.pop("sigma", None))
        except (OSError, ValueError) as error:
            complain(error)
            continue
        yield Content(file, digest, [Standing(certificates, file, **said)])


def from_deposit(deposit: Deposit, file: str, notes: list[Note]) -> Iterator[Content]:
    """Yield the experiments of a deposit, with every classifier at every noise level."""
    study = deposit.description["name"]
    said = {key: value for key, value in noted(notes, file).items() if key != "sigma"}
    for name, experiment in deposit.description["experiments"].items():
        path, standings = f"results/{study}/certificates/{name}.parquet", []
        content = deposit.read(path)
        certificates = read_certificates(deposit, path, content)
        for (classifier, _), rows in certificates.groupby(["classifier", "sigma"]):
            behind = experiment.get("denoiser", "none")
            standing = Standing(
                rows,
                f"{file}: {name}",
                method=classifier if behind == "none" else f"{classifier} behind {behind}",
                dataset=experiment["dataset"],
                n=experiment["n"],
                alpha=experiment["alpha"],
            )
            standings.append(replace(standing, **said))
        yield Content(f"{file}: {name}", hashlib.sha256(content).hexdigest(), standings)


def read_certificates(deposit: Deposit, name: str, content: bytes) -> pd.DataFrame:
    """Return the certificates of an experiment of a deposit."""
    try:
        certificates = pd.read_parquet(io.BytesIO(content))
    except Exception as error:  # pyarrow has many ways to say so
        raise ValueError(f"{deposit.path}: {name} is not a certificates file") from error
    if missing := [column for column in COLUMNS if column not in certificates]:
        raise ValueError(f"{deposit.path}: {name} has no column {missing[0]}")
    try:
        check_certificates({name: certificates}, {})
    except ValueError as error:
        raise ValueError(f"{deposit.path}: {error}") from error
    return certificates


def from_deposits(paths: list[Path], folder: Path, notes: list[Note]) -> Iterator[Content]:
    """Yield what stands in the deposits that are whole."""
    for path in paths:
        try:
            with open_deposit(path) as deposit:
                file = path.relative_to(folder).as_posix()
                yield from list(from_deposit(deposit, file, notes))
        except (KeyError, TypeError, AttributeError) as error:
            complain(f"{path}: {STUDY} is of no study: {error!r}")
        except (OSError, ValueError) as error:
            complain(error)


def each_once(contents: Iterable[Content]) -> Iterator[Standing]:
    """Yield what stands in files, of those with the same content in the first one."""
    seen: dict[str, str] = {}
    for content in contents:
        first = seen.setdefault(content.sha256, content.file)
        if first == content.file:
            yield from content.standings
        else:
            complain(f"{content.file} has the content of {first}, which stands for both")


def find_deposits(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the unpacked and the packed deposits below a folder; packed ones by their names."""
    unpacked = sorted(path.parent for path in folder.rglob(SUMS) if (path.parent / STUDY).is_file())
    files = (path for path in sorted(folder.rglob("*")) if path.name.endswith(_PACKED))
    return unpacked, [path for path in files if path.is_file()]


def find_standings(folder: Path) -> list[Standing]:
    """Return what stands in the logs and deposits below a folder."""
    notes = read_notes(folder)
    unpacked, packed = find_deposits(folder)
    logs = [path for path in find_logs(folder) if not set(path.parents) & set(unpacked)]
    files = [path.relative_to(folder).as_posix() for path in (*logs, *unpacked, *packed)]
    for index, note in enumerate(notes):
        if not any(fnmatchcase(file, note.files) for file in files):
            place = f"{folder / NOTES}: [{index}].files"
            complain(f"{place}: {note.files} fits no log and no deposit")
    deposits = from_deposits([*unpacked, *packed], folder, notes)
    return list(each_once(chain(from_logs(logs, folder, notes), deposits)))


def main() -> None:
    """Read the command line and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="where logs and deposits lie, at any depth"
    )
    parser.add_argument("--radii", type=float, nargs="+", help="by default those of the literature")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="by default dist")
    arguments = parser.parse_args()
    folder = arguments.folder
    if not folder.is_dir():
        sys.exit(f"leaderboard: {folder} is no folder")
    standings = find_standings(folder)
    if not standings:
        sys.exit(f"leaderboard: {folder} holds no log and no deposit that is whole")
    try:
        table = leaderboard(standings, arguments.radii)
    except ValueError as error:
        sys.exit(f"leaderboard: {error}")
    page, numbers = (arguments.output / f"leaderboard.{ending}" for ending in ("html", "csv"))
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
        with atomic_path(page) as temporary:
            temporary.write_text(leaderboard_page(table), encoding="utf-8")
        with atomic_path(numbers) as temporary:
            table.to_csv(temporary, index=False)
    except OSError as error:
        sys.exit(f"leaderboard: {arguments.output} cannot be written: {error.strerror}")
    print(f"leaderboard: open {page}; {len(standings)} classifiers, every number in {numbers}")


if __name__ == "__main__":
    main()
