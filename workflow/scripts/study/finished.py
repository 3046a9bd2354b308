"""The results of a finished study, found from its name: what notebooks start from."""

from __future__ import annotations

from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paper.figures import read_data
from paper.tables import read_table
from study.config import Config
from study.errors import StudyError
from study.inputs import Inputs
from study.load import load_study
from study.paths import Paths, find_settings
from study.study import Study

if TYPE_CHECKING:
    import pandas as pd

#: The folder of this project.
_PROJECT = Path(__file__).parents[3]


class ResultsError(Exception):
    """Results that are not there; the message is one line, and all that a notebook shows."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


@dataclass(frozen=True)
class Results:
    """The results of a finished study.

    Attributes
    ----------
    study : Study
        What was asked for.
    paths : Paths
        Where everything lies.
    """

    study: Study
    paths: Paths

    def table(self, name: str) -> pd.DataFrame:
        """Return a table's numbers, as `paper.tables.read_table` does."""
        return read_table(self.paths.table(name, "csv"))

    def figure(self, name: str) -> dict[str, Any] | None:
        """Return what a figure is drawn from, as `paper.figures.read_data` does.

        None for images that are not there, because the figure is taken from a deposit.
        """
        files = self._inputs.figure(name)
        return read_data(files) if all(Path(file).is_file() for file in files) else None

    def drawn(self, name: str) -> bytes:
        """Return a figure as the study has drawn it: a PNG."""
        return Path(self.paths.figure(name, "png")).read_bytes()

    @property
    def missing(self) -> list[str]:
        """The files that are shown, or that what is shown is made from, and are not there."""
        files = [
            *(self.paths.table(name, "csv") for name in self.study.tables),
            *map(self._pictures, self.study.pictures),
            *map(self.paths.counts, self.study.experiments),
            *map(self.paths.certificates, self.study.experiments),
            *map(self.paths.attack, self.study.attacks),
        ]
        return [file for file in files if not Path(file).is_file()]

    def _pictures(self, name: str) -> str:
        """Return the images of a figure or, where they are not there but it is, the figure."""
        figure, images = self.paths.figure(name, "png"), self.paths.pictures(name)
        return figure if Path(figure).is_file() and not Path(images).is_file() else images

    @property
    def _inputs(self) -> Inputs:
        return Inputs(self.study, self.paths, _PROJECT, [])


def open_results(study: str, folder: str) -> Results:
    """Open the results of a finished study.

    Parameters
    ----------
    study : str
        A file in config/studies/ without its ending, or the path of a study file.
    folder : str
        Where its results lie, such as ``results/digits``. Paths are relative to the working
        directory or, where it has no such folder, to this project's.

    Returns
    -------
    Results
        All of them are there.

    Raises
    ------
    ResultsError
        If some are missing, or there is no such study; in one line, with what to run where.
    """
    base = Path.cwd() if Path(folder).is_dir() else _PROJECT
    try:
        with chdir(base):
            # The results are there, so that weights and images need not be.
            settings = Config(study=study, deposit=folder)
            loaded = load_study(settings, find_settings(_PROJECT), _PROJECT)
    except StudyError as error:
        raise ResultsError(str(error)) from error
    results = Results(loaded, Paths(loaded, results=str(base / folder)))
    if missing := results.missing:
        raise ResultsError(
            f"there is no {missing[0]}; to make it, run in {base}: "
            f"snakemake --cores all --config study={study}"
        )
    return results
