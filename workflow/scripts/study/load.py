"""The checked configuration: a study with its models, every default filled in.

The schemas in workflow/schemas say which keys there are, what each may be and its
default. What a schema cannot say, because it holds between keys, is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dds.names import sigma_name
from dds.networks.schedules import build_schedule
from dds.statistics.plans.sequential import check_looks
from study.schema import Place, StudyError, conform, read_yaml, suggestion

SCHEMAS = Path(__file__).parents[2] / "schemas"

_CONFIG = Place("config/config.yaml or --config")
_REGISTRY = "config/models.yaml"

#: Number of classes, and colour channels, of the images of each source that fixes them.
_IMAGES = {"sklearn_digits": (10, 1), "cifar10": (10, 3), "imagenet": (1000, 3)}

#: What experiments must share for a comparison of their methods.
_SHARED = ("dataset", "split", "classifiers", "sigmas", "n0", "n", "alpha", "images")


def load_study(config: dict[str, Any], root: Path) -> dict[str, Any]:
    """Read, check and complete the study that the configuration names.

    Parameters
    ----------
    config : dict
        Snakemake's configuration: ``study``, ``device``, ``checkpoint_seconds``.
        Missing keys are filled in, in place.
    root : Path
        The folder that holds ``config``, ``notebooks`` and ``workflow``. The path of
        a study file of the user's own is relative to the working directory.

    Returns
    -------
    dict
        ``name`` and the keys of a study file, see config/README.md. ``models`` holds
        the models that the experiments need, from the registry and the study's own,
        and no others; their key ``like`` is resolved.

    Raises
    ------
    StudyError
        Naming, in one line, the file, the key and what is allowed.
    """
    config.update(conform(dict(config), load_schema("config"), _CONFIG))
    path, file = _find_study(config["study"], root)
    at = Place(file)
    study = {"name": path.stem, **conform(read_yaml(path, file), load_schema("study"), at)}
    models, places = _load_models(study["models"], at / "models", root)
    study["models"] = models
    for name, experiment in study["experiments"].items():
        _check_parts_exist(experiment, study, at / "experiments" / name)
    needed = _needed_models(study["experiments"], models)
    study["models"] = {name: entry for name, entry in models.items() if name in needed}
    for name in study["models"]:
        _check_model(name, study, models, places[name])
    for name, experiment in study["experiments"].items():
        _check_experiment(experiment, study, at / "experiments" / name)
    _check_target_names(study, root, at)
    for kind, check in (("tables", _check_table), ("figures", _check_figure)):
        for name, entry in study[kind].items():
            check(entry, study, at / kind / name)
    for index, check in enumerate(study["checks"]):
        _check_check(check, study, at / "checks" / index)
    _check_notebooks(study["notebooks"], root, at / "notebooks")
    return study


def load_schema(name: str) -> dict[str, Any]:
    """Return the schema of ``config``, ``study`` or ``models``."""
    return read_yaml(SCHEMAS / f"{name}.schema.yaml", f"workflow/schemas/{name}.schema.yaml")


def is_per_sigma(model: Mapping[str, Any]) -> bool:
    """Tell whether a model, given by its entry, has one set of weights for each sigma."""
    weights = model["weights"]
    return "finetune" in weights or weights.get("train", {}).get("noise") == "gaussian"


def check_files_exist(dataset: str, study: Mapping[str, Any]) -> None:
    """Check that the files of the user's own that a dataset is made from are there.

    Apart from `load_study`, so that a study can be planned where its data are not.

    Raises
    ------
    StudyError
        Naming, in one line, what was looked for, where, and how to get it.
    """
    at = Place(f"study {study['name']}", ("datasets", dataset, "files"))
    for name, file in study["datasets"][dataset].get("files", {}).items():
        if "file" in file and not Path(file["file"]).exists():
            obtain = f"; {file['obtain']}" if "obtain" in file else ""
            raise StudyError(f"{at / name / 'file'}: there is no {file['file']}{obtain}")


def _find_study(study: str, root: Path) -> tuple[Path, str]:
    """Return where the study file is, and what to call it in errors."""
    at = _CONFIG / "study"
    shipped = {path.stem: path for path in sorted(root.glob("config/studies/*.yaml"))}
    if study in shipped:
        return shipped[study], f"config/studies/{study}.yaml"
    path = Path(study)
    if path.suffix not in (".yaml", ".yml"):
        raise StudyError(
            f"{at}: there is no config/studies/{study}.yaml; {suggestion(study, shipped)}, "
            "or the path of a .yaml file"
        )
    if not path.is_file():
        raise StudyError(f"{at}: there is no file {study}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", path.stem):
        raise StudyError(
            f"{at}: {path.stem} cannot name a folder of results; "
            "allowed in a study's name are letters, digits, _ and -"
        )
    taken = [name for name, file in shipped.items() if not path.samefile(file)] + ["bench"]
    if path.stem in taken:
        raise StudyError(
            f"{at}: results/{path.stem} is for something else; give {study} a name other than "
            f"{', '.join(taken)}"
        )
    return path, study


def _load_models(
    own: Mapping[str, Any], at: Place, root: Path
) -> tuple[dict[str, dict[str, Any]], dict[str, Place]]:
    """Return every model of the registry and of the study, and where each is written."""
    registry = read_yaml(root / _REGISTRY, _REGISTRY)
    mapping = {"type": "object", "additionalProperties": {"type": "object"}}
    entries: dict[str, Any] = {}
    parents: dict[str, Place] = {}
    for models, parent in ((registry, Place(_REGISTRY)), (own, at)):
        for name, entry in conform(models, mapping, parent).items():
            if name in entries:
                raise StudyError(
                    f"{parent / name}: is the name of a model in {_REGISTRY} already; "
                    "choose another"
                )
            entries[name], parents[name] = entry, parent
    places = {name: parents[name] / name for name in entries}
    schema = load_schema("models")
    checked = {
        name: conform({name: _inherit(name, entries, places)}, schema, parents[name])[name]
        for name in entries
    }
    for name, entry in checked.items():
        if isinstance(entry.get("classes"), str):
            entry["classes"] = _read_classes(root / entry["classes"], places[name] / "classes")
    return checked, places


def _read_classes(path: Path, at: Place) -> list[str]:
    if not path.is_file():
        raise StudyError(f"{at}: there is no file {path}")
    classes = path.read_text(encoding="utf-8").split("\n")
    classes = classes[:-1] if classes[-1] == "" else classes
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise StudyError(f"{at}: {path} must hold at least two names, one a line, each once")
    return classes


def _inherit(
    name: str,
    entries: Mapping[str, dict[str, Any]],
    places: Mapping[str, Place],
    chain: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return a model's entry with the keys of the one it is like; its own keys win."""
    entry, chain = dict(entries[name]), (*chain, name)
    if "like" not in entry:
        return entry
    at, other = places[name] / "like", entry.pop("like")
    _check_name(other, entries, "model", at)
    if other in chain:
        raise StudyError(f"{at}: goes round in a circle: {' is like '.join((*chain, other))}")
    return {**_inherit(other, entries, places, chain), **entry}


def _needed_models(
    experiments: Mapping[str, Mapping[str, Any]], models: Mapping[str, Mapping[str, Any]]
) -> set[str]:
    """Return the models of the experiments, and those that their fine-tuning needs."""
    needed: set[str] = set()
    for experiment in experiments.values():
        needed |= {experiment["denoiser"], *experiment["classifiers"]} - {"none"}
    finetunings = [models[name]["weights"].get("finetune") for name in needed]
    return needed | {
        finetune[key] for finetune in finetunings if finetune for key in ("from", "denoiser")
    }


def _check_parts_exist(experiment: Mapping[str, Any], study: Mapping[str, Any], at: Place) -> None:
    """Check that the dataset, denoiser and classifiers of an experiment are what they must be."""
    dataset = experiment["dataset"]
    _check_name(dataset, study["datasets"], "dataset", at / "dataset")
    _check_split(experiment["split"], dataset, study, at / "split")
    if experiment["denoiser"] != "none":
        _check_kind(experiment["denoiser"], "denoiser", study["models"], at / "denoiser")
    for index, name in enumerate(experiment["classifiers"]):
        _check_kind(name, "classifier", study["models"], at / "classifiers" / index)


def _check_experiment(experiment: Mapping[str, Any], study: Mapping[str, Any], at: Place) -> None:
    models, classifiers = study["models"], experiment["classifiers"]
    _check_images(experiment["images"], experiment, study, at)
    if experiment["n"] < experiment["n0"]:
        raise StudyError(
            f"{at / 'n'}: {experiment['n']} is below n0 ({experiment['n0']}); n must be at least n0"
        )
    for index, sigma in enumerate(experiment["sigmas"]):
        written = sigma_name(sigma).removeprefix("sigma_")
        if float(written) != sigma:
            raise StudyError(
                f"{at / 'sigmas' / index}: {sigma} has more than the six digits that names of "
                f"folders have; allowed is, for example, {written}"
            )
    _check_plan(experiment, at)
    if experiment["denoiser"] != "none":
        _check_fit(experiment["denoiser"], experiment["dataset"], study, at / "denoiser")
    for index, name in enumerate(classifiers):
        _check_fit(name, experiment["dataset"], study, at / "classifiers" / index)
        classes, wanted = (len(models[key]["classes"]) for key in (name, classifiers[0]))
        if classes != wanted:
            raise StudyError(
                f"{at / 'classifiers' / index}: {name} has {classes} classes, {classifiers[0]} "
                f"has {wanted}; an experiment's classifiers need the same"
            )
    finetunings = [models[name]["weights"].get("finetune", {}) for name in classifiers]
    denoisers = {experiment["denoiser"], *(recipe.get("denoiser") for recipe in finetunings)}
    for name in sorted(denoisers - {"none", None}):
        _check_schedule(name, models[name]["schedule"], experiment["sigmas"], at / "sigmas")


def _check_plan(experiment: Mapping[str, Any], at: Place) -> None:
    if "looks" in experiment:
        try:
            check_looks(experiment["looks"], experiment["n"])
        except ValueError as error:
            raise StudyError(f"{at / 'looks'}: {error}") from error


def _check_schedule(
    denoiser: str, schedule: Mapping[str, Any], sigmas: Iterable[float], at: Place
) -> None:
    """Check that a denoiser's noise schedule reaches every sigma."""
    for index, sigma in enumerate(sigmas):
        try:
            build_schedule(**schedule).timestep(sigma)
        except ValueError as error:
            raise StudyError(f"{at / index}: denoiser {denoiser}: {error}") from error


def _check_model(
    name: str, study: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]], at: Place
) -> None:
    """Check a model that the study needs, with the datasets and models it is made from."""
    entry = models[name]
    channels = entry["input"]["channels"]
    for key in ("mean", "std"):
        if len(entry["input"].get(key, [0])) not in (1, channels):
            raise StudyError(
                f"{at / 'input' / key}: has {len(entry['input'][key])} numbers; "
                f"allowed are 1 and {channels}, one for each channel"
            )
    if "file" in entry["weights"] and not Path(file := entry["weights"]["file"]).is_file():
        raise StudyError(f"{at / 'weights' / 'file'}: there is no file {file}")
    for source in entry["weights"].keys() & {"train", "finetune"}:
        recipe, here = entry["weights"][source], at / "weights" / source
        dataset = recipe["dataset"]
        _check_name(dataset, study["datasets"], "dataset", here / "dataset")
        for split in ("train", "validation"):
            _check_split(split, dataset, study, here / "dataset")
        _check_fit(name, dataset, study, here / "dataset")
        if source == "finetune":
            _check_finetuning(entry, recipe, models, here)


def _check_finetuning(
    entry: Mapping[str, Any],
    recipe: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
    at: Place,
) -> None:
    _check_kind(recipe["denoiser"], "denoiser", models, at / "denoiser")
    _check_kind(recipe["from"], "classifier", models, at / "from")
    start = models[recipe["from"]]
    if is_per_sigma(start):
        raise StudyError(
            f"{at / 'from'}: {recipe['from']} has weights for each sigma; "
            "allowed is a classifier that has one set of weights"
        )
    for key in ("network", "arguments", "classes"):
        if entry[key] != start[key]:
            raise StudyError(
                f"{at / 'from'}: {recipe['from']} has other {key}; only weights of the same "
                f"network can be tuned, so write like: {recipe['from']}"
            )


def _check_table(table: Mapping[str, Any], study: Mapping[str, Any], at: Place) -> None:
    _check_sources(table, study, at)
    if table["kind"] not in ("comparison", "sampling_plans"):
        return
    first = table["methods"][0]["experiment"]
    for classifier in table["classifiers"]:
        _check_source({"experiment": first, "classifier": classifier}, study, at / "classifiers")
    for part, here in _parts(table, at):
        for key in _SHARED:
            ours, theirs = (study["experiments"][name][key] for name in (part["experiment"], first))
            if ours != theirs:
                raise StudyError(
                    f"{here / 'experiment'}: {part['experiment']} and {first} have different "
                    f"{key}; compared experiments must share {', '.join(_SHARED)}"
                )


def _check_figure(figure: Mapping[str, Any], study: Mapping[str, Any], at: Place) -> None:
    _check_sources(figure, study, at)
    if figure["kind"] != "pictures":
        return
    experiment = _check_source(figure, study, at)
    if experiment["denoiser"] == "none":
        raise StudyError(
            f"{at / 'experiment'}: {figure['experiment']} has no denoiser; "
            "allowed are experiments with one"
        )
    _check_images(figure["images"], experiment, study, at)


def _check_check(check: Mapping[str, Any], study: Mapping[str, Any], at: Place) -> None:
    ours = _check_source(check, study, at)
    theirs = _check_source(check["than"], study, at / "than")
    for key in ("dataset", "split"):
        if ours[key] != theirs[key]:
            raise StudyError(
                f"{at / 'than' / 'experiment'}: has {key} {theirs[key]}, "
                f"{check['experiment']} has {ours[key]}; both must be the same"
            )
    for part, experiment in ((check, ours), (check["than"], theirs)):
        name = part["experiment"]
        _check_radius(check["radius"], name, experiment, at / "radius")
        for index, sigma in enumerate(check["sigmas"]):
            if sigma not in experiment["sigmas"]:
                raise StudyError(
                    f"{at / 'sigmas' / index}: {sigma:g} is no sigma of experiment {name}; "
                    f"allowed: {_numbers(experiment['sigmas'])}"
                )


def _check_target_names(study: Mapping[str, Any], root: Path, at: Place) -> None:
    """Refuse tables and figures that bear each other's names, or a rule's."""
    files = [*root.glob("Snakefile"), *root.glob("workflow/rules/*.smk")]
    rules = {
        name
        for file in files
        for name in re.findall(r"^(?:rule|checkpoint) (\w+):", file.read_text(), re.MULTILINE)
    }
    for kind in ("tables", "figures"):
        for name in study[kind]:
            if name in rules:
                raise StudyError(f"{at / kind / name}: is the name of a rule; choose another")
    for name in study["figures"]:
        if name in study["tables"]:
            raise StudyError(f"{at / 'figures' / name}: is the name of a table; choose another")


def _check_notebooks(notebooks: Iterable[str], root: Path, at: Place) -> None:
    there = sorted(file.stem for file in root.glob("notebooks/*.ipynb"))
    for index, name in enumerate(notebooks):
        if name not in there:
            raise StudyError(
                f"{at / index}: there is no notebooks/{name}.ipynb; {suggestion(name, there)}"
            )


def _parts(entry: Mapping[str, Any], at: Place) -> Iterator[tuple[Mapping[str, Any], Place]]:
    """Yield the panels, rows or methods of a table or figure, and where they stand."""
    for key in ("panels", "rows", "methods"):
        for index, part in enumerate(entry.get(key, [])):
            yield part, at / key / index


def _check_sources(entry: Mapping[str, Any], study: Mapping[str, Any], at: Place) -> None:
    """Check where the parts of a table or figure come from, and that its radii are decided."""
    for part, here in _parts(entry, at):
        experiment = _check_source(part, study, here)
        if experiment:
            for index, radius in enumerate(entry.get("radii", [])):
                _check_radius(radius, part["experiment"], experiment, at / "radii" / index)


def _check_source(
    part: Mapping[str, Any], study: Mapping[str, Any], at: Place
) -> Mapping[str, Any] | None:
    """Check which experiment and classifier numbers come from; return the experiment, if any."""
    if "experiment" not in part:
        return None
    _check_name(part["experiment"], study["experiments"], "experiment", at / "experiment")
    experiment = study["experiments"][part["experiment"]]
    if "classifier" in part:
        what = f"classifier of experiment {part['experiment']}"
        _check_name(part["classifier"], experiment["classifiers"], what, at / "classifier")
    return experiment


def _check_radius(radius: float, name: str, experiment: Mapping[str, Any], at: Place) -> None:
    """Refuse a radius at which an experiment's plan leaves images undecided."""
    radii = experiment.get("radii", [0.0])
    if experiment["plan"] == "sequential" and radius not in radii:
        raise StudyError(
            f"{at}: {radius:g} is none of the radii that experiment {name} decides; "
            f"allowed: {_numbers(radii)}"
        )
    if experiment["curtail"] and radius < min(radii):
        raise StudyError(
            f"{at}: {radius:g} is below the radii that experiment {name} decides; "
            f"must be at least {min(radii):g}"
        )


def _check_name(name: Any, allowed: Iterable[str], what: str, at: Place) -> None:
    allowed = list(allowed)
    if name not in allowed:
        raise StudyError(f"{at}: {name} is no {what}; {suggestion(name, allowed)}")


def _check_kind(name: str, kind: str, models: Mapping[str, Mapping[str, Any]], at: Place) -> None:
    allowed = [key for key, entry in models.items() if entry["kind"] == kind]
    if name in models and name not in allowed:
        raise StudyError(
            f"{at}: {name} is a {models[name]['kind']}, no {kind}; allowed: {', '.join(allowed)}"
        )
    _check_name(name, allowed, kind, at)


def _check_split(split: str, dataset: str, study: Mapping[str, Any], at: Place) -> None:
    _check_name(split, study["datasets"][dataset]["splits"], f"split of dataset {dataset}", at)


def _check_images(
    images: int, experiment: Mapping[str, Any], study: Mapping[str, Any], at: Place
) -> None:
    """Check that the split of an experiment has so many images, where the study says it."""
    dataset, split = experiment["dataset"], experiment["split"]
    rule = study["datasets"][dataset]["splits"][split]
    size = rule if isinstance(rule, int) else rule.get("images")
    if size is not None and images > size:
        raise StudyError(
            f"{at / 'images'}: {images} is out of range; split {split} of dataset {dataset} "
            f"has {size} images"
        )


def _check_fit(model: str, dataset: str, study: Mapping[str, Any], at: Place) -> None:
    """Check that a model takes the images of a dataset and knows their classes."""
    entry, images = study["models"][model], study["datasets"][dataset]
    if images["source"] in _IMAGES:
        classes, channels = _IMAGES[images["source"]]
    else:
        classes, channels = len(images.get("classes", ())) or None, images["channels"]
    if entry["input"]["channels"] != channels:
        raise StudyError(
            f"{at}: {model} takes images of {entry['input']['channels']} channels, "
            f"those of dataset {dataset} have {channels}"
        )
    if entry["kind"] == "classifier" and classes not in (None, len(entry["classes"])):
        raise StudyError(
            f"{at}: {model} has {len(entry['classes'])} classes, dataset {dataset} has {classes}"
        )


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
