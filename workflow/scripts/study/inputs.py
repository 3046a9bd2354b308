"""Which files each result of a study is made from.

Beside `study.paths`, which says where they lie, and `study.depends`, which says what else
decides a result. Apart from the rules, as Snakemake's linter wants functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os.path import isfile  # false, not an error, for names that no file can have
from pathlib import Path

from dds.origins import DataFile
from paper.linked_logs import find_linked_logs
from study.config import Config
from study.errors import CONFIG, StudyError
from study.paths import LINKS, PUBLISHED, RATES, Paths
from study.study import Study


def find_published_logs(config: Config, root: Path) -> list[str]:
    """Return the logs of published rows that are at hand.

    Parameters
    ----------
    config : Config
        ``published_logs`` says where to look; empty for nowhere.
    root : Path
        The folder that holds ``config``.

    Raises
    ------
    StudyError
        If that is no folder, or holds no log that is linked: in one line.
    """
    if not config.published_logs:
        return []
    try:
        logs = find_linked_logs(root / LINKS, config.published_logs)
    except (OSError, ValueError) as error:
        raise StudyError(f"{CONFIG / 'published_logs'}: {error}") from error
    return sorted(map(str, logs.values()))


class Inputs:
    """The inputs of the rules of a study.

    Parameters
    ----------
    study : Study
        The study.
    paths : Paths
        Where its files lie.
    project : Path
        The folder of this project, with notebooks and the paper's template.
    logs : list of str
        The logs of published rows that are at hand, from `find_published_logs`.
    settings : Path, optional
        The folder whose ``config`` counts, if that is not this project's.
    """

    def __init__(
        self,
        study: Study,
        paths: Paths,
        project: Path,
        logs: list[str],
        settings: Path | None = None,
    ) -> None:
        self._study, self._paths, self._project = study, paths, project
        self._logs, self._settings = logs, settings or project

    # Images and models

    def dataset(self, name: str) -> list[str]:
        """Return the files that a dataset is made from: those with an address, and those there are.

        A file of the user's own that is missing is no input, so that a study can be planned
        where its data are not; nor is a folder, which changes whenever somebody puts a file
        into it.
        """
        origins = self._study.datasets[name].origins
        return [
            path
            for file, path in self._paths.data_files(name).items()
            if origins[file].url or Path(path).is_file()
        ]

    def images(self, experiment: str) -> str:
        """Return the prepared images that an experiment certifies."""
        settings = self._study.experiments[experiment]
        return self._paths.pack(settings.dataset, settings.split)

    def training_images(self, model: str) -> dict[str, str]:
        """Return the images that a model is trained and validated on."""
        dataset = self._study.models[model].weights.recipe.dataset
        return {split: self._paths.pack(dataset, split) for split in ("train", "validation")}

    def weights(self, models: Mapping[str, str], sigma: float | None = None) -> dict[str, str]:
        """Return the weights of models, by what a rule calls them.

        Those of the user's own that are missing are no inputs; see `dataset`.
        """
        paths = {part: self._paths.weights(name, sigma) for part, name in models.items()}
        own = {part for part, name in models.items() if self._study.models[name].weights.file}
        return {part: path for part, path in paths.items() if part not in own or isfile(path)}

    def tuning(self, model: str) -> dict[str, str]:
        """Return the weights that tuning a classifier starts from, and those of its denoiser."""
        return self.weights(self._study.models[model].weights.recipe.reads)

    def measured_images(self, model: str) -> str:
        """Return the images that a classifier's accuracy is measured on: its first experiment's."""
        return self.images(self._study.users(model)[0])

    def accuracies(self) -> list[str]:
        """Return the measured accuracies of the study's classifiers, each once."""
        measured = set(self._study.measured_models)
        paths = [
            self._paths.accuracy(model, sigma)
            for experiment in self._study.experiments.values()
            for model in experiment.classifiers
            if model in measured
            for sigma in experiment.sigmas
        ]
        return list(dict.fromkeys(paths))

    def deposit(self, deposit: DataFile) -> list[str]:
        """Return a deposit, which is no input where it is a folder; see `dataset`."""
        path = self._paths.deposit(deposit)
        return [path] if deposit.url or Path(path).is_file() else []

    # Votes and certificates

    def smoothed_models(self, experiment: str, sigma: float) -> dict[str, str]:
        """Return the weights of an experiment's classifiers and denoiser, by their names."""
        models = self._study.experiments[experiment].models
        return self.weights({name: name for name in models}, sigma)

    def attacked_models(self, attack: str, sigma: float) -> dict[str, str]:
        """Return the weights of what an attack is on, by their names."""
        experiment = self._study.attacks[attack].experiment
        denoiser = self._study.experiments[experiment].denoiser
        used = (*self._study.attacked_classifiers(attack), denoiser)
        models = self.smoothed_models(experiment, sigma).items()
        return {name: path for name, path in models if name in used}

    def attacked_images(self, attack: str) -> str:
        """Return the prepared images that are attacked."""
        return self.images(self._study.attacks[attack].experiment)

    def certificates(self, experiments: list[str]) -> list[str]:
        """Return the certificates of experiments."""
        return [self._paths.certificates(experiment) for experiment in experiments]

    def summaries(self, experiments: list[str]) -> list[str]:
        """Return where the counts of experiments come from."""
        return [self._paths.summary(experiment) for experiment in experiments]

    # Tables, figures, notebooks, checks

    def published_to_check(self) -> list[str]:
        """Return the published values, where checks compare with some."""
        compares = any(check.is_with_paper for check in self._study.checks)
        return [str(self._settings / PUBLISHED)] if compares else []

    def published(self, table: str) -> dict[str, str | list[str]]:
        """Return published values, and where their logs are, for a table that shows some."""
        if not self._study.tables[table].shows_published:
            return {}
        return {
            "published": str(self._settings / PUBLISHED),
            "links": str(self._settings / LINKS),
            "logs": self._logs,
        }

    def estimates(self, table: str) -> dict[str, str]:
        """Return the estimated costs for a table that shows some."""
        gpu = getattr(self._study.tables[table], "gpu", None)
        return {"estimates": self._paths.costs(gpu)} if gpu else {}

    def rates(self) -> str:
        """Return the measured rates of GPUs, which costs are estimated by."""
        return str(self._settings / RATES)

    def figure(self, name: str) -> list[str]:
        """Return what a figure is drawn from: its pictures, or certificates and attacks."""
        entry = self._study.figures[name]
        if entry.shows_pictures:
            return [self._paths.pictures(name)]
        return self.certificates(entry.experiments) + self.attacks(entry.attacks)

    def attacks(self, attacks: Iterable[str]) -> list[str]:
        """Return what became of the images of attacks."""
        return [self._paths.attack(attack) for attack in attacks]

    def pictures(self) -> list[str]:
        """Return the images that notebooks show, or the figures of them that are deposited."""
        return [
            self._paths.figure(name, "png")
            if self._study.deposit_of_figure(name)
            else self._paths.pictures(name)
            for name in self._study.pictures
        ]

    def notebook(self, name: str) -> Path:
        """Return the notebook that is executed."""
        return self._project / "notebooks" / f"{name}.ipynb"

    def report(self, name: str) -> str:
        """Return a file of the paper's: its template or its references."""
        return str(self._project / "workflow" / "report" / name)
