"""Where the results of a study lie, below the working directory."""

from __future__ import annotations

from pathlib import Path

from dds.names import shard_names, sigma_name
from dds.origins import DataFile, digest, file_name
from study.study import Study

#: Published numbers, and the logs behind some of them, in this project's folder;
#: config/literature/README.md describes the columns.
PUBLISHED = Path("config", "literature", "published.csv")
LINKS = PUBLISHED.with_name("logs.csv")
#: How fast networks were on GPUs, in the same folder; config/README.md describes the columns.
RATES = Path("config", "rates.csv")

#: What tells the folder of a configuration from others that are called ``config``.
_SETTINGS = (Path("config", "models.yaml"), Path("config", "studies"))

#: Compiled networks, of all studies; not a result, and made again where it is missing.
PROGRAMS = Path("results", ".programs")


def find_settings(project: Path) -> Path:
    """Return the folder whose ``config`` counts: its studies, models and published numbers.

    That is the working directory where somebody keeps a copy of them, as `snakedeploy` makes
    one to be edited, and otherwise this project.

    Parameters
    ----------
    project : Path
        This project's folder.
    """
    return Path() if all(path.exists() for path in _SETTINGS) else project


class Paths:
    """The files of a study.

    Parameters
    ----------
    study : Study
        The study.
    results : str, optional
        The folder of its results, where that is not the one below the working directory.

    Attributes
    ----------
    results : str
        The folder of the study's results.
    """

    def __init__(self, study: Study, results: str = "") -> None:
        self._study = study
        self.results = results or f"results/{study.name}"

    def pack(self, dataset: str, split: str) -> str:
        """Return where the prepared images of a split of a dataset lie."""
        return f"{self.results}/data/{dataset}/{split}.npz"

    def data_files(self, dataset: str) -> dict[str, str]:
        """Return where the files that a dataset is made from lie, by what they are."""
        files = self._study.datasets[dataset].origins
        called = {name: file_name(file.url) for name, file in files.items() if file.url}
        # Addresses may differ in what does not show in the name.
        if len(set(called.values())) < len(called):
            called = {name: f"{name}_{other}" for name, other in called.items()}
        folder = f"{self.results}/data/{dataset}"
        return {name: file.file or f"{folder}/{called[name]}" for name, file in files.items()}

    def weights(self, model: str, sigma: float | None = None) -> str:
        """Return where the weights of a model, for a noise level if it has several, lie."""
        weights = self._study.models[model].weights
        if own := weights.file_for(sigma):
            return own
        suffix = Path(file_name(weights.download.url)).suffix if weights.download else ".pt"
        return f"{self.results}/models/{self.weights_name(model, sigma)}{suffix}"

    def weights_name(self, model: str, sigma: float | None = None) -> str:
        """Return what a model's weights, for a noise level if it has several, are called."""
        per_sigma = self._study.models[model].is_per_sigma
        return f"{model}/{sigma_name(sigma)}" if per_sigma else model

    def accuracy(self, model: str, sigma: float | None = None) -> str:
        """Return where a classifier's measured accuracy on clean images lies."""
        return f"{self.results}/models/{self.weights_name(model, sigma)}.accuracy.json"

    def deposit(self, deposit: DataFile) -> str:
        """Return where a deposit that votes are taken from lies."""
        if deposit.file is not None:
            return deposit.file
        return f"{self.results}/deposits/{digest(deposit.url)}/{file_name(deposit.url)}"

    def shards(self, experiment: str) -> list[str]:
        """Return the counts of all shards of an experiment."""
        settings = self._study.experiments[experiment]
        return [
            f"{self.results}/counts/{experiment}/{sigma_name(sigma)}/{shard}.parquet"
            for sigma in settings.sigmas
            for shard in shard_names(settings.images, settings.images_per_shard)
        ]

    def counts(self, experiment: str) -> str:
        """Return the counts of an experiment, all its shards merged."""
        return f"{self.results}/counts/{experiment}.parquet"

    def summary(self, experiment: str) -> str:
        """Return where an experiment's counts come from, all its shards summed up."""
        return f"{self.results}/counts/{experiment}.json"

    def certificates(self, experiment: str) -> str:
        """Return the certificates of an experiment."""
        return f"{self.results}/certificates/{experiment}.parquet"

    def attack_shards(self, attack: str) -> list[str]:
        """Return the attacked images of all shards of an attack."""
        entry = self._study.attacks[attack]
        return [
            f"{self.results}/attacks/{attack}/{sigma_name(sigma)}/{shard}.parquet"
            for sigma in self._study.attacked_sigmas(attack)
            for shard in shard_names(entry.images, entry.images_per_shard)
        ]

    def attack(self, attack: str) -> str:
        """Return what became of all images of an attack, its shards merged."""
        return f"{self.results}/attacks/{attack}.parquet"

    def attack_summary(self, attack: str) -> str:
        """Return where an attack's results come from, all its shards summed up."""
        return f"{self.results}/attacks/{attack}.json"

    def costs(self, gpu: str) -> str:
        """Return what the study is estimated to take on a GPU."""
        return f"{self.results}/costs/{gpu}.json"

    def pictures(self, figure: str) -> str:
        """Return the images that a figure of pictures shows."""
        return f"{self.results}/pictures/{figure}.npz"

    def table(self, name: str, form: str) -> str:
        """Return a table in one of its forms: csv, md, tex, html, json."""
        return f"{self.results}/tables/{name}.{form}"

    def table_files(self, name: str) -> list[str]:
        """Return a table in all of its forms."""
        return [self.table(name, form) for form in ("csv", "md", "tex", "html", "json")]

    def figure(self, name: str, form: str) -> str:
        """Return a figure in one of its forms: pdf, png, json."""
        return f"{self.results}/figures/{name}.{form}"

    def figure_files(self, name: str) -> list[str]:
        """Return a figure in all of its forms."""
        return [self.figure(name, form) for form in ("pdf", "png", "json")]

    def executed_notebook(self, name: str) -> str:
        """Return an executed notebook."""
        return f"{self.results}/notebooks/{name}.ipynb"

    @property
    def document(self) -> str:
        """The typeset paper."""
        return f"{self.results}/paper.pdf"

    @property
    def provenance(self) -> str:
        """Where all results come from, as a page."""
        return f"{self.results}/provenance.html"

    @property
    def checks(self) -> str:
        """What holds of the results."""
        return f"{self.results}/checks.json"

    @property
    def checks_page(self) -> str:
        """The same as a page."""
        return f"{self.results}/checks.html"

    def origin(self, model: str, sigma: float | None = None) -> str:
        """Return where it is written where the weights that a job makes come from."""
        return f"{self.results}/models/{self.weights_name(model, sigma)}.json"
