"""What must hold between the keys of a study, which no type can say."""

from __future__ import annotations

import ast
import csv
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from os.path import exists, isfile  # false, not an error, for names that no file can have
from pathlib import Path
from typing import Any

from dds.data.sources import SOURCES
from dds.data.splits import may_overlap, most_at_random, most_images
from dds.networks.families import CONTRACT, FAMILIES
from dds.origins import DataFile
from dds.seeds import MOST_STEPS
from dds.statistics.plans import PLANS
from dds.statistics.reach import largest_radius, samples_needed
from paper.figures import FIGURES
from paper.tables import TABLES
from study.artefacts import Artefact, Check, parts, sourced_parts
from study.attacks import Attack
from study.code import closure
from study.datasets import Dataset
from study.errors import Place, StudyError, number, show, suggestion
from study.experiments import Experiment
from study.models import Classifier, Denoiser, Finetune, Model, Recipe
from study.paths import PUBLISHED
from study.references import read_references
from study.study import Study


def check_study(
    study: Study, places: Mapping[str, Place], root: Path, project: Path, at: Place
) -> None:
    """Check what must hold between the parts of a study.

    Parameters
    ----------
    study : Study
        With every model that it could use.
    places : mapping of str to Place
        Where each model is written.
    root : Path
        The folder that holds ``config``.
    project : Path
        The folder that holds ``notebooks`` and ``workflow``.
    at : Place
        The study file.

    Raises
    ------
    StudyError
        Naming, in one line, the file, the key and what is allowed.
    """
    for name, dataset in study.datasets.items():
        _check_splits(dataset, at / "datasets" / name / "splits")
    for name, experiment in study.experiments.items():
        _check_parts_exist(experiment, study, at / "experiments" / name)
    for name in needed_models(study):
        _check_model(name, study, places[name])
    for name, experiment in study.experiments.items():
        _check_experiment(experiment, study, at / "experiments" / name)
    for name, attack in study.attacks.items():
        _check_attack(attack, study, at / "attacks" / name)
    _check_targets(study, project, at)
    for kinds, section, entries in (
        (TABLES, "tables", study.tables),
        (FIGURES, "figures", study.figures),
    ):
        for name, entry in entries.items():
            _check_published(entry, root, at / section / name)
            check = getattr(kinds[entry.kind], "check", None)
            _check_artefact(entry, check, study, at / section / name)
    for index, check in enumerate(study.checks):
        _check_check(check, study, root, at / "checks" / index)
    _check_notebooks(study.notebooks, project, at / "notebooks")


def needed_models(study: Study) -> list[str]:
    """Return the models of the experiments, and those that their fine-tuning needs."""
    used = chain.from_iterable(experiment.models for experiment in study.experiments.values())
    made_of = _made_of(dict.fromkeys(used), study)
    return [name for name in study.models if name in made_of]


def _made_of(models: Collection[str], study: Study) -> list[str]:
    """Return models, and those that their fine-tuning reads."""
    recipes = [study.models[name].weights.finetune for name in models]
    return [*models, *(name for recipe in recipes if recipe for name in recipe.reads.values())]


def check_files_exist(dataset: str, study: Study) -> None:
    """Check that the files of the user's own that a dataset is made from are there.

    Apart from `check_study`, so that a study can be planned where its data are not.

    Raises
    ------
    StudyError
        Naming, in one line, what was looked for, where, and how to get it.
    """
    at = Place(f"study {study.name}", ("datasets", dataset, "files"))
    for name, file in study.datasets[dataset].origins.items():
        _check_exists(file, at / name)


def check_weights_exist(model: str, study: Study) -> None:
    """Check that the weights of the user's own that a model has are there, for every sigma.

    Apart from `check_study`, so that a study can be planned where its weights are not.

    Raises
    ------
    StudyError
        Naming, in one line, what was looked for, where, and how to get it.
    """
    weights = study.models[model].weights
    for sigma in study.sigmas_of(model) or [None]:
        file = weights.file_for(sigma)
        if file is not None and not isfile(file):
            at = Place(f"study {study.name}", ("models", model, "weights", "file"))
            raise _absent(f"file {show(file)}", weights.obtain, at)


def _check_exists(file: DataFile, at: Place) -> None:
    if file.file is not None and not exists(file.file):
        raise _absent(show(file.file), file.obtain, at / "file")


def _absent(what: str, obtain: str | None, at: Place) -> StudyError:
    """Return the error of something of the user's own that is not there, with how to get it."""
    return StudyError(f"{at}: there is no {what}" + (f"; {obtain}" if obtain else ""))


def check_deposits_exist(study: Study) -> None:
    """Check that the deposits of the user's own that votes are taken from are there.

    Apart from `check_study`, for whoever plans by a study or tells how far it is.

    Raises
    ------
    StudyError
        Naming, in one line, what was looked for, where, and how to get it.
    """
    for name, deposit in study.deposited.items():
        _check_exists(deposit, Place(f"study {study.name}", ("experiments", name, "votes")))


def check_folders() -> None:
    """Check that where files go, ``results`` and ``downloads``, are folders, or lead to some.

    Raises
    ------
    StudyError
        Naming, in one line, what lies there instead.
    """
    for folder in map(Path, ("results", "downloads")):
        if os.path.lexists(folder) and not folder.is_dir():
            found = "a file"
            if folder.is_symlink():
                found = f"a link to {os.readlink(folder)}, where no folder is"
            raise StudyError(f"{folder} is {found}; make that folder, or remove {folder}")


def check_name(name: Any, allowed: Iterable[str], what: str, at: Place) -> None:
    """Refuse the name of something that is not there, and suggest one that is."""
    allowed = list(allowed)
    if name not in allowed:
        raise StudyError(f"{at}: {show(name)} is no {what}; {suggestion(name, allowed)}")


def _check_parts_exist(experiment: Experiment, study: Study, at: Place) -> None:
    """Check that the dataset, denoiser and classifiers of an experiment are what they must be."""
    check_name(experiment.dataset, study.datasets, "dataset", at / "dataset")
    _check_split(experiment.split, experiment.dataset, study, at / "split")
    if experiment.denoiser != "none":
        _check_kind(experiment.denoiser, "denoiser", study, at / "denoiser")
    for index, name in enumerate(experiment.classifiers):
        _check_kind(name, "classifier", study, at / "classifiers" / index)


def _check_experiment(experiment: Experiment, study: Study, at: Place) -> None:
    _check_images(experiment, study, at / "images")
    for sigma, keys, radius in _radii_to_decide(experiment):
        _check_reach(radius, sigma, at.keys[-1], experiment, _below(at, keys))
    if experiment.denoiser != "none":
        _check_fit(experiment.denoiser, experiment.dataset, study, at / "denoiser")
        _check_schedule(experiment.denoiser, study, experiment.sigmas, at / "sigmas")
        _check_steps(experiment, study, at / "steps")
    first = experiment.classifiers[0]
    for index, name in enumerate(experiment.classifiers):
        here = at / "classifiers" / index
        _check_fit(name, experiment.dataset, study, here)
        classes, wanted = (len(study.models[key].classes) for key in (name, first))
        if classes != wanted:
            raise StudyError(
                f"{here}: {name} has {classes} classes, {first} has {wanted}; "
                "an experiment's classifiers need the same"
            )
        _check_tuned_for(name, experiment, study, at)
    _check_unseen(experiment, study, at / "split")


def _check_attack(attack: Attack, study: Study, at: Place) -> None:
    """Check that an attack is on classifiers, noise levels and images of its experiment."""
    name = attack.experiment
    check_name(name, study.experiments, "experiment", at / "experiment")
    experiment = study.experiments[name]
    for index, classifier in enumerate(attack.classifiers or ()):
        what = f"classifier of experiment {name}"
        check_name(classifier, experiment.classifiers, what, at / "classifiers" / index)
    for index, sigma in enumerate(attack.sigmas or ()):
        if sigma not in experiment.sigmas:
            raise StudyError(
                f"{at / 'sigmas' / index}: {sigma:g} is no sigma of experiment {name}; "
                f"allowed: {_numbers(experiment.sigmas)}"
            )
    if attack.images > experiment.images:
        raise StudyError(
            f"{at / 'images'}: {attack.images} is out of range; experiment {name} certifies "
            f"{experiment.images} images"
        )
    if experiment.noise != "float":
        raise StudyError(
            f"{at / 'experiment'}: {name} has noise {experiment.noise}, which no gradient passes; "
            "attack an experiment with noise: float"
        )


def _radii_to_decide(
    experiment: Experiment,
) -> Iterator[tuple[float, tuple[str | int | float, ...], float]]:
    """Yield the radii that a plan is to decide, with the sigma that must reach them and a place."""
    radii = getattr(experiment, "radii", None) or ()
    by_sigma = {max(experiment.sigmas): radii}
    if isinstance(radii, Mapping):
        by_sigma = {sigma: radii[sigma] for sigma in experiment.sigmas}
    for sigma, listed in by_sigma.items():
        inside = ("radii", sigma) if isinstance(radii, Mapping) else ("radii",)
        for index, radius in enumerate(listed):
            yield sigma, (*inside, index), radius


def _check_tuned_for(name: str, experiment: Experiment, study: Study, at: Place) -> None:
    """Check that a classifier was tuned to images like those it gets, if it was tuned at all."""
    recipe = study.models[name].weights.finetune
    if recipe is None or recipe.denoiser is None:
        return
    _check_schedule(recipe.denoiser, study, experiment.sigmas, at / "sigmas")
    if experiment.denoiser != "none" and recipe.timestep != experiment.timestep:
        raise StudyError(
            f"{at / 'timestep'}: {experiment.timestep} is not the timestep that {name} is tuned "
            f"with ({recipe.timestep}); both must be the same"
        )


def _check_unseen(experiment: Experiment, study: Study, at: Place) -> None:
    """Check that no model of an experiment is trained on its images, but where it names them."""
    splits = study.datasets[experiment.dataset].splits
    for name in _made_of(experiment.models, study):
        recipe = study.models[name].weights.recipe
        if recipe is None or recipe.dataset != experiment.dataset or experiment.split == "train":
            continue
        if may_overlap(splits[experiment.split], splits["train"]):
            raise StudyError(
                f"{at}: {experiment.split} may have images that {name} is trained on, since every "
                "counts among all images of a folder; give splits train and "
                f"{experiment.split} numbers of images, or folders of their own"
            )


def _check_images(experiment: Experiment, study: Study, at: Place) -> None:
    """Check that the split of an experiment has so many images, where that is known."""
    dataset = study.datasets[experiment.dataset]
    size = most_images(dataset.splits[experiment.split], _total(dataset))
    if size is not None and experiment.images > size:
        raise StudyError(
            f"{at}: {experiment.images} is out of range; split {experiment.split} of dataset "
            f"{experiment.dataset} has {size} images"
        )


def _check_splits(dataset: Dataset, at: Place) -> None:
    """Check that there are as many images as the splits get, where that is known."""
    total, wanted = _total(dataset), most_at_random(dataset.splits)
    if total is not None and wanted > total:
        raise StudyError(f"{at}: {wanted:,} images are more than the {total:,} that there are")


def _total(dataset: Dataset) -> int | None:
    """Return how many images there are; a source of the user's own need not say it."""
    return getattr(SOURCES[dataset.source].images(dataset), "total", None)


def _check_schedule(denoiser: str, study: Study, sigmas: Sequence[float], at: Place) -> None:
    """Check that a denoiser's noise schedule reaches every sigma."""
    for index, sigma in enumerate(sigmas):
        try:
            study.models[denoiser].schedule.build().timestep(sigma)
        except ValueError as error:
            raise StudyError(f"{at / index}: denoiser {denoiser}: {error}") from error


def _check_steps(experiment: Experiment, study: Study, at: Place) -> None:
    """Check that a chain of reverse steps has timesteps, and noise, for all of them."""
    schedule = study.models[experiment.denoiser].schedule.build()
    if schedule.steps is None and experiment.steps == "all":
        raise StudyError(
            f"{at}: all is for schedules with timesteps; {experiment.denoiser} has none, so that "
            "steps must be a number"
        )
    for sigma in experiment.sigmas:
        there = schedule.most_steps(sigma, experiment.timestep)
        steps = there if experiment.steps == "all" else experiment.steps
        if steps > there:
            raise StudyError(
                f"{at}: {steps} is more steps than timesteps below sigma {sigma:g}; "
                f"must be at most {there}, or all"
            )
        if steps > MOST_STEPS:
            raise StudyError(
                f"{at}: {experiment.steps} is {steps} steps at sigma {sigma:g}; "
                f"must be at most {MOST_STEPS}"
            )


def _check_schedule_exists(denoiser: Denoiser, at: Place) -> None:
    try:
        denoiser.schedule.build()
    except ValueError as error:
        raise StudyError(f"{at / 'steps' if denoiser.schedule.steps else at}: {error}") from error


def _check_can_be_trained(denoiser: Denoiser, at: Place) -> None:
    has_timesteps = denoiser.schedule.build().steps is not None
    if denoiser.weights.train and not (denoiser.predicts == "noise" and has_timesteps):
        raise StudyError(
            f"{at}: is for denoisers that predict noise at the timesteps of a schedule; name the "
            "weights by file or download"
        )


def _check_model(name: str, study: Study, at: Place) -> None:
    """Check a model that the study needs, with the datasets and models it is made from."""
    model = study.models[name]
    if isinstance(model, Classifier):
        _check_normalisation(model, at / "input")
    else:
        _check_schedule_exists(model, at / "schedule")
        _check_can_be_trained(model, at / "weights" / "train")
    _check_code_of(model, at)
    _check_arguments(model, at / "arguments")
    for origin in ("train", "finetune"):
        recipe, here = getattr(model.weights, origin), at / "weights" / origin
        if recipe is None:
            continue
        check_name(recipe.dataset, study.datasets, "dataset", here / "dataset")
        for split in ("train", "validation"):
            _check_split(split, recipe.dataset, study, here / "dataset")
        _check_fit(name, recipe.dataset, study, here / "dataset")
        _check_recipe(model, recipe, here)
        if origin == "finetune":
            _check_finetuning(model, recipe, study, here)


def _check_normalisation(model: Classifier, at: Place) -> None:
    channels = model.input.channels
    for key in ("mean", "std"):
        numbers = len(getattr(model.input, key))
        if numbers not in (1, channels):
            raise StudyError(
                f"{at / key}: has {numbers} numbers; allowed is one, or one for each of "
                f"{channels} channels"
            )


def _check_arguments(model: Model, at: Place) -> None:
    """Check that arguments fit the input, and what their family knows beyond their types."""
    if model.network not in FAMILIES.names:
        return
    of_input = {"in_channels": "channels"}
    if isinstance(model, Classifier):  # which gets images of that size and no other
        of_input |= {"image_size": "size", "img_size": "size"}
    for key, wanted in of_input.items():
        there, images = getattr(model.arguments, key, None), getattr(model.input, wanted)
        if there is not None and there != images:
            raise StudyError(f"{at / key}: {show(there)} is not input.{wanted}, which is {images}")
    check = getattr(FAMILIES[model.network], "check", None)
    try:
        if check is not None:
            check(model.arguments)
    except ValueError as error:
        raise StudyError(f"{at}: {error}") from error


def _check_code_of(model: Model, at: Place) -> None:
    """Check that the code of the user's own that builds a model is there, and Python."""
    if code := re.fullmatch(r"(.+\.py)(?::(\w+))?", model.network):
        _check_python(code[1], code[2], at / "network")


def _check_python(file: str, function: str | None, at: Place) -> None:
    """Check that a file is there, is Python, and names the function that is wanted, if any."""
    if not isfile(file):
        raise StudyError(f"{at}: there is no file {show(file)}")
    try:
        module = ast.parse(Path(file).read_bytes(), filename=file)
        closure(Path(file))  # reads what it imports from beside it
    except (SyntaxError, ValueError) as error:
        wrong = getattr(error, "filename", None) or file
        where = f"line {error.lineno}: " if getattr(error, "lineno", None) else ""
        reason = getattr(error, "msg", None) or error
        raise StudyError(f"{at}: {wrong} is no valid Python: {where}{reason}") from error
    names = _names_in(module)
    lacking = [part for part in CONTRACT if part not in names]
    if function is None and lacking and "*" not in names:
        raise StudyError(
            f"{at}: {file} has no {', '.join(lacking)}, which a family of networks needs; a "
            f"function in it is written {file}:FUNCTION"
        )
    if function is not None and function not in names and "*" not in names:
        raise StudyError(f"{at}: {file} has no function {function}; {suggestion(function, names)}")


def _names_in(module: ast.Module) -> list[str]:
    """Return what a module names outside of its functions and classes; ``*`` for anything."""
    names, waiting = [], list(module.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        elif isinstance(node, ast.alias):
            names.append((node.asname or node.name).partition(".")[0])
        else:
            waiting += ast.iter_child_nodes(node)
    return names


def _check_recipe(model: Model, recipe: Recipe, at: Place) -> None:
    """Refuse what the networks of a family cannot be trained with; of the user's own, see the job.

    A family says so in its ``RECIPE``, as `dds.networks.families` describes.
    """
    if model.network not in FAMILIES.names:
        return
    for name in ("layer_decay", "drop_path"):
        able = [one for one in FAMILIES.names if name in getattr(FAMILIES[one], "RECIPE", ())]
        if getattr(recipe, name, None) and model.network not in able:
            raise StudyError(
                f"{at / name}: is not for network {model.network}, which has no layers in order; "
                f"allowed for: {', '.join(able)}, and for a network of your own"
            )


def _check_finetuning(model: Classifier, recipe: Finetune, study: Study, at: Place) -> None:
    if recipe.denoiser is not None:
        _check_kind(recipe.denoiser, "denoiser", study, at / "denoiser")
    _check_kind(recipe.from_, "classifier", study, at / "from")
    start = study.models[recipe.from_]
    if start.is_per_sigma:
        raise StudyError(
            f"{at / 'from'}: {recipe.from_} has weights for each sigma; "
            "allowed is a classifier that has one set of weights"
        )
    for key in ("network",) if recipe.anew else ("network", "arguments", "classes"):
        if getattr(model, key) != getattr(start, key):
            raise StudyError(
                f"{at / 'from'}: {recipe.from_} has other {key}; only weights of the same "
                f"network can be tuned, so write like: {recipe.from_}"
            )


def _check_artefact(entry: Artefact, check: Any, study: Study, at: Place) -> None:
    """Check where the parts of a table or figure come from, and that its radii are decided."""
    _check_titles(entry, at)
    for keys, part in sourced_parts(entry):
        here = _below(at, keys)
        experiment = _check_source(part, study, here)
        sigmas = _sigmas_to_reach(entry, experiment)
        wanted = _sigmas_to_decide(entry, experiment)
        for index, radius in enumerate(getattr(entry, "radii", ())):
            _check_radius(radius, wanted, part.experiment, experiment, at / "radii" / index)
            for sigma in sigmas:
                _check_reach(radius, sigma, part.experiment, experiment, at / "radii" / index)
    for keys, part in parts(entry):
        if getattr(part, "cite", None) is not None:
            what = "reference of workflow/report/references.yaml"
            check_name(part.cite, read_references(), what, _below(at, keys) / "cite")
    for keys, reason in check(entry, study) if check else ():
        raise StudyError(f"{_below(at, keys)}: {reason}")


def _check_titles(entry: Artefact, at: Place) -> None:
    """Refuse two panels, or two methods, that are called the same."""
    for section, key in (("panels", "title"), ("methods", "label")):
        names = [getattr(part, key, None) for part in getattr(entry, section, ())]
        for index, name in enumerate(names):
            if name is not None and name in names[:index]:
                raise StudyError(f"{at / section / index / key}: {name} comes twice")


def _check_published(entry: Artefact, root: Path, at: Place) -> None:
    """Check that the published numbers are there that stand beside ours."""
    for keys, part in parts(entry):
        published, here = getattr(part, "published", None), _below(at, keys) / "published"
        if isinstance(published, str):
            cells = _check_table(published, root, here)
            if getattr(part, "PUBLISHED_BY_SIGMA", False) and not any(map(_has_sigma, cells)):
                every = _published_cells(root / PUBLISHED)
                allowed = _values(filter(_has_sigma, every), "table")
                raise StudyError(
                    f"{here}: table {published} has no sigma to stand beside ours; allowed: "
                    f"{', '.join(allowed) or 'nothing'}"
                )
        elif hasattr(published, "row"):
            cells = _check_table(published.table, root, here / "table")
            cells = _check_row(published.row, cells, here / "row")
            allowed = _values(cells, "extra_data")
            if published.extra_data is not None:
                what = f"extra_data of row {published.row}"
                check_name(published.extra_data, allowed, what, here / "extra_data")
            elif len(allowed) > 1:
                raise StudyError(
                    f"{here / 'row'}: {published.row} comes twice in table {published.table}; say "
                    f"extra_data: {' or '.join(sorted(allowed, reverse=True))}"
                )


def _check_table(table: str, root: Path, at: Place) -> list[dict[str, str]]:
    """Return the cells of a table of the paper, once it is known that it is one."""
    cells = _published_cells(root / PUBLISHED)
    check_name(table, _values(cells, "table"), f"table of {PUBLISHED}", at)
    return [cell for cell in cells if cell["table"] == table]


def _check_row(row: str, cells: list[dict[str, str]], at: Place) -> list[dict[str, str]]:
    """Return the cells of a row among those of a table, once it is known that it has the row."""
    what = f"row of table {cells[0]['table']} in {PUBLISHED}"
    check_name(row, _values(cells, "row"), what, at)
    return [cell for cell in cells if cell["row"] == row]


@cache
def _published_cells(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise StudyError(f"{path}: there is no such file, but a table shows published numbers")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: is no text in UTF-8") from error


def _has_sigma(cell: Mapping[str, str]) -> bool:
    return bool(cell.get("sigma"))


def _radius_of(cell: Mapping[str, str]) -> float:
    try:
        return float(cell.get("radius") or "")
    except ValueError as error:
        raise StudyError(
            f"{PUBLISHED}: row {cell['row']} of table {cell['table']} has a radius that is no "
            "number"
        ) from error


def _values(cells: Iterable[Mapping[str, str]], column: str) -> list[str]:
    return list(dict.fromkeys(cell.get(column, "") for cell in cells))


def _sigmas_to_reach(entry: Artefact, experiment: Experiment) -> list[float]:
    """Return the sigmas at which an experiment must be able to certify an entry's radii."""
    if getattr(entry, "AT_EVERY_SIGMA", False):
        return experiment.sigmas
    # A published number is worth its column, whatever ours can be.
    return [] if getattr(entry, "shows_published", False) else [max(experiment.sigmas)]


def _sigmas_to_decide(
    entry: Artefact, experiment: Experiment
) -> Callable[[float], Sequence[float]]:
    """Return at which sigmas a radius of an entry must be decided; where at none, one will do."""
    if getattr(entry, "AT_EVERY_SIGMA", False):
        return lambda radius: experiment.sigmas
    if getattr(entry, "BEST_OVER_SIGMA", False):
        return partial(_sigmas_that_reach, experiment)
    return lambda radius: []


def _sigmas_that_reach(experiment: Experiment, radius: float) -> list[float]:
    """Return the sigmas that compete for the best at a radius: at others, accuracy is 0."""
    return [sigma for sigma in experiment.sigmas if radius <= _reached(experiment, sigma)]


def _check_check(check: Check, study: Study, root: Path, at: Place) -> None:
    sides = [
        (part.experiment, _check_source(part, study, _below(at, keys)))
        for keys, part in sourced_parts(check)
    ]
    if check.is_with_paper:
        _check_against_paper(check, sides[0], root, at)
        return
    (ours, first), (_, second) = sides
    if (check.experiment, check.classifier) == (check.than.experiment, check.than.classifier):
        raise StudyError(f"{at / 'than'}: is what it is compared with; name another")
    for key in ("dataset", "split"):
        here, there = getattr(first, key), getattr(second, key)
        if here != there:
            raise StudyError(
                f"{at / 'than' / 'experiment'}: has {key} {there}, {ours} has {here}; "
                "both must be the same"
            )
    for name, experiment in sides:
        if experiment.images < 2:
            raise StudyError(
                f"{at / 'experiment'}: {name} certifies {experiment.images} image; a check, which "
                "allows for sampling error, needs at least 2"
            )
        for index, sigma in enumerate(check.sigmas):
            if sigma not in experiment.sigmas:
                raise StudyError(
                    f"{at / 'sigmas' / index}: {sigma:g} is no sigma of experiment {name}; "
                    f"allowed: {_numbers(experiment.sigmas)}"
                )
            _check_reach(check.radius, sigma, name, experiment, at / "radius")
        _check_radius(check.radius, lambda radius: check.sigmas, name, experiment, at / "radius")


def _check_against_paper(check: Check, ours: tuple[str, Experiment], root: Path, at: Place) -> None:
    """Check that rows of the paper have numbers, at radii where ours can be better."""
    name, experiment = ours
    cells = _check_table(check.than.table, root, at / "than" / "table")
    for index, row in enumerate(check.than.rows):
        here = at / "than" / "rows" / index
        of_row = _check_row(row, cells, here)
        printed = [cell for cell in of_row if cell.get("status") == "printed"]
        if not printed:
            raise StudyError(
                f"{here}: row {row} of table {check.than.table} has no legible number to be "
                "better than; name another"
            )
        for radius in map(_radius_of, printed):
            _check_reach(radius, max(experiment.sigmas), name, experiment, here)
            _check_radius(radius, partial(_sigmas_that_reach, experiment), name, experiment, here)


def _check_source(part: Any, study: Study, at: Place) -> Experiment:
    """Check which experiment and classifier numbers come from; return the experiment."""
    check_name(part.experiment, study.experiments, "experiment", at / "experiment")
    experiment = study.experiments[part.experiment]
    classifier = getattr(part, "classifier", None)
    if classifier is not None:
        what = f"classifier of experiment {part.experiment}"
        check_name(classifier, experiment.classifiers, what, at / "classifier")
    return experiment


def _check_radius(
    radius: float,
    wanted: Callable[[float], Sequence[float]],
    name: str,
    experiment: Experiment,
    at: Place,
) -> None:
    """Refuse a radius that a plan leaves undecided where `wanted` says, or, if nowhere, at all."""
    listed = getattr(experiment, "radii", None)
    if not listed:
        return
    radii, where = listed, ""
    if isinstance(listed, Mapping):
        radii = _radii_decided(listed, wanted, experiment)
        if sigmas := wanted(radius):
            where = f" at all of sigma {_numbers(sigmas)}"
        if not radii:
            raise StudyError(
                f"{at}: experiment {name} decides no radius{where}; its radii must have "
                f"{radius:g} for each of them"
            )
    if getattr(PLANS[experiment.plan], "ONLY_ITS_RADII", False) and radius not in radii:
        raise StudyError(
            f"{at}: {radius:g} is none of the radii that experiment {name} decides{where}; "
            f"allowed: {_numbers(radii)}"
        )
    if radius < min(radii):
        raise StudyError(
            f"{at}: {radius:g} is below the radii that experiment {name} decides{where}; "
            f"must be at least {number(min(radii))}"
        )


def _radii_decided(
    listed: Mapping[float, Sequence[float]],
    wanted: Callable[[float], Sequence[float]],
    experiment: Experiment,
) -> list[float]:
    """Return, of the radii listed for each sigma, those that are for all sigmas wanted."""
    some = set(chain(*(listed[sigma] for sigma in experiment.sigmas)))
    return sorted(
        radius for radius in some if all(radius in listed[sigma] for sigma in wanted(radius))
    )


def _check_reach(radius: float, sigma: float, name: str, experiment: Experiment, at: Place) -> None:
    """Refuse a radius that no image can have, whatever its votes."""
    reached = _reached(experiment, sigma)
    if radius <= reached:
        return
    needed = samples_needed(radius / experiment.kept, experiment.last_alpha, sigma)
    cure = "no n is enough" if needed is None else f"n must be at least {needed:,}"
    raise StudyError(
        f"{at}: {radius:g} is out of reach of experiment {name} at sigma {sigma:g}: "
        f"n = {experiment.n:,} at alpha = {experiment.alpha:g} certifies at most "
        f"{_rounded_down(reached)}; {cure}"
    )


def _reached(experiment: Experiment, sigma: float) -> float:
    """Return the largest radius that an experiment is sure to certify where all samples agree."""
    return experiment.kept * largest_radius(experiment.n, experiment.last_alpha, sigma)


def _rounded_down(radius: float) -> str:
    return f"{math.floor(radius * 1000) / 1000:g}"


def _check_targets(study: Study, project: Path, at: Place) -> None:
    """Refuse names that would be those of two rules, of which tables and figures have one each."""
    taken: dict[str, str] = dict.fromkeys(_rules(project), "a rule")
    for place, target, what in chain(_rules_of_data(study), _rules_of_artefacts(study)):
        if target in taken:
            named = "" if target == place[-1] else f"makes {target}, which "
            raise StudyError(
                f"{_below(at, place)}: {named}is the name of {taken[target]}; choose another"
            )
        taken[target] = what


def _rules(project: Path) -> Iterator[str]:
    """Yield the names of the rules that are written out."""
    files = [*project.glob("Snakefile"), *project.glob("workflow/Snakefile")]
    for file in (*files, *project.glob("workflow/rules/*.smk")):
        text = file.read_text(encoding="utf-8")
        yield from re.findall(r"^(?:rule|checkpoint) (\w+):", text, re.MULTILINE)


def _rules_of_data(study: Study) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield each rule that prepares or fetches something: what it is for, its name, what it is."""
    for name, dataset in study.datasets.items():
        yield ("datasets", name), f"prepare_data_{name}", "a rule"
        for file, origin in dataset.origins.items():
            if origin.url is not None:
                yield ("datasets", name), f"download_data_{name}_{file}", "a rule"
    for name in needed_models(study):
        if study.models[name].weights.download is not None:
            yield ("experiments",), f"download_model_{name}", "a rule"


def _rules_of_artefacts(study: Study) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield the targets of tables and figures: what each is for, its name, what it is."""
    for name in study.tables:
        yield ("tables", name), name, "a table"
    for name in study.figures:
        yield ("figures", name), name, "a figure"


def _check_notebooks(notebooks: Iterable[str], project: Path, at: Place) -> None:
    there = sorted(file.stem for file in project.glob("notebooks/*.ipynb"))
    for index, name in enumerate(notebooks):
        if name not in there:
            raise StudyError(
                f"{at / index}: there is no notebooks/{name}.ipynb; {suggestion(name, there)}"
            )


def _check_kind(name: str, kind: str, study: Study, at: Place) -> None:
    allowed = [key for key, model in study.models.items() if model.kind == kind]
    if name in study.models and name not in allowed:
        raise StudyError(
            f"{at}: {name} is a {study.models[name].kind}, no {kind}; allowed: {', '.join(allowed)}"
        )
    check_name(name, allowed, kind, at)


def _check_split(split: str, dataset: str, study: Study, at: Place) -> None:
    check_name(split, study.datasets[dataset].splits, f"split of dataset {dataset}", at)


def _check_fit(name: str, dataset: str, study: Study, at: Place) -> None:
    """Check that a model takes the images of a dataset and knows their classes."""
    model, entry = study.models[name], study.datasets[dataset]
    classes, channels, *_ = SOURCES[entry.source].images(entry)
    if model.input.channels != channels:
        raise StudyError(
            f"{at}: {name} takes images of {model.input.channels} channels, "
            f"those of dataset {dataset} have {channels}"
        )
    if isinstance(model, Classifier) and classes not in (None, len(model.classes)):
        raise StudyError(
            f"{at}: {name} has {len(model.classes)} classes, dataset {dataset} has {classes}"
        )


def _below(at: Place, keys: Iterable[str | int]) -> Place:
    for key in keys:
        at = at / key
    return at


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
