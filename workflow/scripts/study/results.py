"""What a study has when it is finished: every file, and what it depends on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from study import depends
from study.paths import Paths
from study.study import Study


def results(study: Study, project: Path) -> dict[str, dict[str, Any]]:
    """Return the files of a finished study, with what each depends on.

    Weights, images and pictures are left out, which are no results to be shown: what is
    written beside weights says which they were.

    Parameters
    ----------
    study : Study
        The study.
    project : Path
        The folder that holds ``notebooks``.
    """
    return {path: needs for paths, needs in _made(study, Paths(study), project) for path in paths}


def _made(study: Study, paths: Paths, project: Path) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Yield what each job makes, and what that depends on."""
    for name in study.experiments:
        for shard in paths.shards(name) if name in study.sampled else ():
            beside = str(Path(shard).with_suffix(".json"))
            yield [shard, beside], depends.votes(study, name)
        yield [paths.counts(name), paths.summary(name)], depends.merged(study, name)
        yield [paths.certificates(name)], depends.certificates(study, name)
        yield from _models(study, paths, name)
    for name in study.attacks:
        for shard in paths.attack_shards(name) if name in study.attacked else ():
            yield [shard, str(Path(shard).with_suffix(".json"))], depends.attack(study, name)
        yield [paths.attack(name), paths.attack_summary(name)], depends.merged_attack(study, name)
    for name, table in study.tables.items():
        if gpu := getattr(table, "gpu", None):
            yield [paths.costs(gpu)], depends.costs(study)
        yield paths.table_files(name), depends.table(study, name)
    for name in study.figures:
        yield paths.figure_files(name), depends.figure(study, name)
    for name in study.notebooks:
        notebook = project / "notebooks" / f"{name}.ipynb"
        yield [paths.executed_notebook(name)], depends.notebook(study, notebook)
    yield [paths.document, paths.provenance], depends.paper(study)
    yield [paths.checks, paths.checks_page], depends.checks(study)


def _models(
    study: Study, paths: Paths, experiment: str
) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Yield what is written of the models of an experiment: origins, and measured accuracies."""
    for sigma in study.experiments[experiment].sigmas:
        for name in study.experiments[experiment].models:
            model = study.models[name]
            its = sigma if model.is_per_sigma else None
            if study.deposit_of_model(name):
                pass  # its weights were never here
            elif model.weights.download:
                yield [paths.origin(name)], depends.download(study, name)
            elif not model.weights.file:
                yield [paths.origin(name, its)], depends.weights(study, name, its)
            if name in study.measured_models:
                yield [paths.accuracy(name, its)], depends.accuracy(study, name)
