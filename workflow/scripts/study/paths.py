"""Where the results of a study lie, below the working directory."""

from __future__ import annotations

from pathlib import Path

from dds.names import shard_names, sigma_name
from study.study import Study


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
        return {
            name: file.file or f"{self.results}/data/{dataset}/{Path(file.url).name}"
            for name, file in files.items()
        }

    def weights(self, model: str, sigma: float | None = None) -> str:
        """Return where the weights of a model, for a noise level if it has several, lie."""
        weights = self._study.models[model].weights
        if weights.file:
            return weights.file
        suffix = Path(weights.download.url).suffix if weights.download else ".pt"
        return f"{self.results}/models/{self.weights_name(model, sigma)}{suffix}"

    def weights_name(self, model: str, sigma: float | None = None) -> str:
        """Return what a model's weights, for a noise level if it has several, are called."""
        per_sigma = self._study.models[model].is_per_sigma
        return f"{model}/{sigma_name(sigma)}" if per_sigma else model

    def accuracy(self, model: str, sigma: float | None = None) -> str:
        """Return where a classifier's measured accuracy on clean images lies."""
        return f"{self.results}/models/{self.weights_name(model, sigma)}.accuracy.json"

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

    def pictures(self, figure: str) -> str:
        """Return the images that a figure of pictures shows."""
        return f"{self.results}/pictures/{figure}.npz"

    def table(self, name: str, form: str) -> str:
        """Return a table in one of its forms: csv, md, tex, html, json."""
        return f"{self.results}/tables/{name}.{form}"

    def figure(self, name: str, form: str) -> str:
        """Return a figure in one of its forms: pdf, png, json."""
        return f"{self.results}/figures/{name}.{form}"
