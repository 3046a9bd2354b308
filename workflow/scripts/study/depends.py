"""What each result depends on: said here, and nowhere else.

One function a kind of result. What it returns is what Snakemake compares to decide whether
a result is made again (`params`), what a checkpoint must agree with to be gone on from,
and what is kept with the result itself. To it come the hashes of the files that the result
is made from, which only the job that reads them knows.

Two kinds of results are told apart. Those that are dear, images, weights, votes, measured
accuracies and pictures, depend on a number in `dds.protocol` and on no line of code. Those
that are cheap also depend on what the code that makes them says (`study.code`), so that a
mended bound reaches the paper.

What does not decide a result is left out: licences, citations, sources, captions of other
artefacts, resources, addresses of mirrors, checksums, sizes of shards and of batches.
docs/reruns.md says the same for readers, with a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from os.path import isfile  # false, not an error, for names that no file can have
from pathlib import Path
from typing import Any

from dds.data.sources import SOURCES
from dds.differences import fingerprint
from dds.files import sha256
from dds.keys import Keys
from dds.kinds import Kinds, is_file
from dds.networks.families import FAMILIES
from dds.origins import DataFile, identity, public
from dds.protocol import (
    ATTACK_PROTOCOL,
    DATA_PROTOCOL,
    INTEGER_NOISE_PROTOCOL,
    PROTOCOL,
    TRAINING_PROTOCOL,
)
from dds.statistics.plans import PLANS
from paper.figures import FIGURES
from paper.tables import TABLES
from study.artefacts import parts
from study.code import SCRIPTS, code_of
from study.models import Recipe
from study.study import Study

#: What of a model, beside the weights themselves, decides what it computes.
_OF_A_NETWORK = {"network", "arguments", "input", "classes", "schedule", "predicts"}
_OF_A_CHECKPOINT = ("key", "strip_prefix")

#: What of every recipe the weights depend on, beside the images.
_OF_A_RECIPE = set(Recipe.model_fields) - {"dataset"}
#: What more of a classifier's recipe they depend on, where it is not at its default.
_OF_A_CLASSIFIERS_RECIPE = {"layer_decay", "label_smoothing"}

#: What of an experiment its samples depend on, beside the keys of its plan. Which images there
#: are is in the shards' names, certificates are computed from the votes afterwards, and batches
#: leave the samples unchanged.
_OF_VOTES = (
    "dataset",
    "split",
    "denoiser",
    "steps",
    "timestep",
    "classifiers",
    "n0",
    "n",
    "noise",
    "precision",
    "deterministic",
    "plan",
)

#: What of an experiment decides the function that is attacked, beside the classifiers.
_OF_A_FUNCTION = ("dataset", "split", "denoiser", "steps", "timestep", "precision")

#: What of an attack its results depend on. Which images and noise levels there are is in the
#: shards' names.
_OF_AN_ATTACK = ("radii", "steps", "samples", "restarts", "step_size", "clip", "n", "alpha")

#: What of an experiment is told beside every table and figure of its results.
_OF_SAMPLING = ("dataset", "split", "images", "sigmas", "n0", "n", "alpha", "plan")

#: What of its experiments nothing shows.
_NOT_SHOWN = {"experiments": {"__all__": {"batch_size", "votes"}}}


def data(study: Study, dataset: str) -> dict[str, Any]:
    """Return what the prepared images of a dataset depend on, beside the files' content."""
    entry = study.datasets[dataset]
    return {
        "protocol": DATA_PROTOCOL,
        "seed": study.seed,
        "entry": _dump(entry, without={"files"}),
        "files": {name: _origin(file) for name, file in entry.origins.items()},
        **_own_code(SOURCES, entry.source),
    }


def data_file(study: Study, dataset: str, name: str) -> str:
    """Return what a downloaded file of a dataset depends on: its address, not its mirrors'."""
    return _origin(study.datasets[dataset].origins[name])


def download(study: Study, name: str) -> dict[str, Any]:
    """Return what downloaded weights depend on: the address of the file, not of its mirrors."""
    source = study.models[name].weights.download
    # The labels are compared with the classes when the weights are fetched, and the
    # configurations of a repository with what the entry says of the network.
    if getattr(source, "hub", None):
        described = model(study, name)["description"]
        return {"url": identity(source.url), "description": described}
    if not getattr(source, "labels", None):
        return {"url": identity(source.url)}
    return {
        "url": identity(source.url),
        "labels": identity(source.labels.url),
        "classes": study.models[name].classes,
    }


def model(study: Study, name: str) -> dict[str, Any]:
    """Return what decides what a model computes, given the file of its weights.

    ``description`` is a mapping of `dds.networks.description`; ``layout`` says how the weights
    lie in their file; ``code`` is what a file of the user's own does that builds the network,
    and ``files`` what is in files that it is told of by their paths.
    """
    entry = study.models[name]
    described = _dump(entry, only=_OF_A_NETWORK & type(entry).model_fields.keys())
    if isinstance(entry.arguments, Keys):
        described["arguments"] = _dump(entry.arguments)
    layout = {key: getattr(entry.weights, key) for key in _OF_A_CHECKPOINT}
    file = entry.network.rpartition(":")[0] or entry.network
    own = _own_code(FAMILIES, file)
    read = dict(_named_files(described["arguments"])) if own and "arguments" in described else {}
    return {
        "description": described,
        "layout": {key: value for key, value in layout.items() if value},
        **own,
        **({"files": read} if read else {}),
    }


def weights(study: Study, name: str, sigma: float | None) -> dict[str, Any]:
    """Return what trained or tuned weights depend on, beside the images they are trained on.

    Tuned weights also depend on the weights they start from and those of the denoiser, if any.
    ``recipe`` has the keys of `dds.networks.training.Recipe`.
    """
    made = study.models[name].weights
    recipe = made.recipe
    depends = {
        "protocol": TRAINING_PROTOCOL,
        "seed": study.seed,
        "sigma": sigma,
        "model": model(study, name),
        "recipe": _dump(recipe, only=_OF_A_RECIPE, defaults=True)
        | _dump(recipe, only=_OF_A_CLASSIFIERS_RECIPE),
        **_dump(recipe, only={"drop_path"}),
    }
    if made.origin == "finetune":
        depends |= {"start": model(study, recipe.from_), **_dump(recipe, only={"anew"})}
    if getattr(recipe, "denoiser", None):
        depends |= {"denoiser": model(study, recipe.denoiser), "timestep": recipe.timestep}
    return depends


def accuracy(study: Study, name: str) -> dict[str, Any]:
    """Return what a classifier's measured accuracy depends on, beside weights and images."""
    entry = study.models[name]
    # The published accuracy is of the weights before they were tuned.
    tuned = entry.weights.origin == "finetune"
    expected = None if tuned else entry.expected_accuracy
    return {"model": model(study, name), "expected": expected}


def votes(study: Study, experiment: str) -> dict[str, Any]:
    """Return what an experiment's votes depend on, beside weights and images."""
    settings = study.experiments[experiment]
    plan = PLANS[settings.plan]
    keys = [*_OF_VOTES, *plan.Keys.model_fields, *(["alpha"] if plan.SPENDS_ALPHA else [])]
    return {
        "protocol": INTEGER_NOISE_PROTOCOL if settings.noise == "integer" else PROTOCOL,
        "seed": study.seed,
        **_dump(settings, only=set(keys), defaults=True),
        "models": {name: model(study, name) for name in settings.models},
        **_own_code(PLANS, settings.plan),
    }


def pictures(study: Study, figure: str) -> dict[str, Any]:
    """Return what the images that a figure shows depend on, beside weights and images."""
    entry = study.figures[figure]
    settings = study.experiments[entry.experiment]
    return {
        "protocol": PROTOCOL,
        "seed": study.seed,
        "images": entry.images,
        "sigmas": settings.sigmas,
        "timestep": settings.timestep,
        "steps": settings.steps,
        "model": model(study, settings.denoiser),
    }


def merged(study: Study, experiment: str) -> dict[str, Any]:
    """Return what the merged counts of an experiment depend on, beside those of the shards."""
    return {
        "expected": votes(study, experiment),
        "sigmas": study.experiments[experiment].sigmas,
        "images": study.experiments[experiment].images,
        "code": _code("merge_counts", _kind(PLANS, study.experiments[experiment].plan)),
    }


def attack(study: Study, name: str) -> dict[str, Any]:
    """Return what attacked images depend on, beside weights and images."""
    entry = study.attacks[name]
    settings = study.experiments[entry.experiment]
    classifiers = study.attacked_classifiers(name)
    models = [*classifiers, *([] if settings.denoiser == "none" else [settings.denoiser])]
    return {
        "protocol": ATTACK_PROTOCOL,
        "seed": study.seed,
        **_dump(settings, only=set(_OF_A_FUNCTION), defaults=True),
        "classifiers": classifiers,
        "models": {used: model(study, used) for used in models},
        "attack": _dump(entry, only=set(_OF_AN_ATTACK), defaults=True),
    }


def merged_attack(study: Study, name: str) -> dict[str, Any]:
    """Return what an attack's merged results depend on, beside those of the shards."""
    return {
        "expected": attack(study, name),
        "sigmas": study.attacked_sigmas(name),
        "images": study.attacks[name].images,
        "code": _code("merge_attacks"),
    }


def certificates(study: Study, experiment: str) -> dict[str, Any]:
    """Return what certificates depend on, beside the counts."""
    settings = study.experiments[experiment]
    return {
        "alpha": settings.alpha,
        "made_from": _made_from(study, f"counts/{experiment}"),
        "code": _code("compute_certificates", _kind(PLANS, settings.plan)),
    }


def costs(study: Study) -> dict[str, Any]:
    """Return what the estimated costs of a study depend on."""
    # Not on where weights and images come from; but models and datasets must say something of it.
    models = {
        name: {"kind": entry.kind, **model(study, name)["description"], "weights": {"file": "-"}}
        for name, entry in study.models.items()
    }
    shown = {"attacks", "tables", "figures", "notebooks", "checks", "title", "authors"}
    needed = _dump(study, without=_NOT_SHOWN | dict.fromkeys({"models", *shown}, True))
    for name, entry in study.datasets.items():
        if entry.origins:
            needed["datasets"][name]["files"] = {file: {"file": "-"} for file in entry.origins}
    return {"study": needed | {"models": models}, "code": _code("estimate_costs")}


def sampling(study: Study, experiments: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what readers need to know of how experiments are sampled, by experiment.

    ``radii`` are those that the plan decides; None where it decides all.
    """
    found = {}
    for name in experiments:
        settings = study.experiments[name]
        keys = {*_OF_SAMPLING, *PLANS[settings.plan].Keys.model_fields}
        found[name] = {"radii": None} | _dump(settings, only=keys, defaults=True)
    return found


def table(study: Study, name: str) -> dict[str, Any]:
    """Return what a table depends on, beside literature and the content of what it shows."""
    from study.references import read_references  # in YAML, which not every environment can read

    entry = study.tables[name]
    gpu = getattr(entry, "gpu", None)
    cited = {part.cite for _, part in parts(entry) if getattr(part, "cite", None)}
    return {
        "entry": _dump(entry, defaults=True),
        "sampling": sampling(study, entry.experiments),
        "references": {key: read_references()[key] for key in sorted(cited)},
        "made_from": _made_from(
            study, *_shown_of(entry.experiments), *([f"costs/{gpu}"] if gpu else [])
        ),
        "code": _code("render_table", _kind(TABLES, entry.kind)),
    }


def figure(study: Study, name: str) -> dict[str, Any]:
    """Return what a figure depends on, beside the content of what it is drawn from."""
    entry = study.figures[name]
    pictures = entry.shows_pictures
    shown = [f"pictures/{name}"] if pictures else _shown_of(entry.experiments)
    shown += [f"attacks/{attack}" for attack in entry.attacks]
    return {
        "entry": _dump(entry, defaults=True),
        "made_from": _made_from(study, *shown),
        "sampling": sampling(study, entry.experiments),
        "code": _code("render_figure", _kind(FIGURES, entry.kind)),
    }


def notebook(study: Study, notebook: Path) -> dict[str, Any]:
    """Return what an executed notebook depends on, beside the content of what it shows."""
    return {
        "study": shown(study),
        "made_from": _made_from(
            study,
            *(f"tables/{table}" for table in study.tables),
            *_shown_of(study.experiments),
            *_attacks(study),
            *(f"pictures/{figure}" for figure in study.pictures),
        ),
        "code": code_of(notebook, *_kinds(study)),
    }


def paper(study: Study) -> dict[str, Any]:
    """Return what the typeset paper depends on, beside the content of what it shows."""
    return {
        "study": shown(study),
        "made_from": _made_from(study, *_artefacts(study), *_counts(study)),
        "code": _code("render_paper", *_kinds(study)),
    }


def checks(study: Study) -> dict[str, Any]:
    """Return what the checks depend on, beside the content of what they check."""
    shown_of = _shown_of(study.experiments)
    return {
        "study": shown(study),
        "made_from": _made_from(study, *shown_of, *_attacks(study), *_artefacts(study)),
        "code": _code("check_results", *_kinds(study)),
    }


def taken(study: Study, result: str) -> dict[str, Any]:
    """Return what a result must share with that of a deposit, to be taken from there.

    Unlike what the result depends on, it says what its votes are made from, too: images and
    weights, which are not there. Where files of the user's own lie does not count, nor do
    queries of addresses, which no deposit tells.

    Parameters
    ----------
    study : Study
        The study, or that of the deposit.
    result : str
        Such as ``"counts/denoised"``, ``"attacks/denoised"``,
        ``"models/digits_cnn/sigma_0.5.accuracy"``, ``"figures/pictures"`` or
        ``"costs/a100-paper"``.

    Raises
    ------
    KeyError
        With the experiment, model or figure that the study lacks.
    """
    folder, name = result.split("/")[:2]
    if folder == "counts":
        settings = study.experiments[name]
        found = {key: getattr(settings, key) for key in ("images", "sigmas")}
        return found | {"votes": votes(study, name), **_made_with(study, [name])}
    if folder == "attacks":
        wanted = merged_attack(study, name)
        found = {key: wanted[key] for key in ("images", "sigmas", "expected")}
        return found | _made_with(study, [study.attacks[name].experiment])
    if folder == "models":
        model = name.removesuffix(".accuracy")
        users = study.users(model)[:1]
        found = {"accuracy": accuracy(study, model), **_images_of(study, users)}
        return found | _made_with(study, users, [model])
    if folder == "figures":
        entry = study.figures[name]
        found = {"entry": _dump(entry, without={"caption"}, defaults=True)}
        found |= {"pictures": pictures(study, name), **_images_of(study, entry.experiments)}
        return found | _made_with(study, entry.experiments)
    return costs(study)["study"]


def _images_of(study: Study, experiments: Iterable[str]) -> dict[str, list[str]]:
    """Return which images experiments are of, where what a result depends on does not say it."""
    settings = [study.experiments[name] for name in experiments]
    return {key: [getattr(one, key) for one in settings] for key in ("dataset", "split")}


def _made_with(
    study: Study, experiments: Iterable[str], models: Iterable[str] | None = None
) -> dict[str, Any]:
    """Return which images and weights results of experiments, or of some models, are made with."""
    settings = [study.experiments[name] for name in experiments]
    models = models or dict.fromkeys(name for one in settings for name in one.models)
    recipes = [study.models[name].weights.recipe for name in models]
    datasets = [one.dataset for one in settings] + [one.dataset for one in recipes if one]
    return {
        "datasets": {name: _without_places(data(study, name)) for name in datasets},
        "weights": {name: _weights(study, name) for name in models},
    }


def _without_places(depends: dict[str, Any]) -> dict[str, Any]:
    """Return what images depend on, whatever files of the user's own are called."""
    files = depends["files"].items()
    return depends | {"files": {name: public(file) for name, file in files if "://" in file}}


def _weights(study: Study, name: str) -> dict[str, Any]:
    origin = study.models[name].weights.origin
    if origin == "file":
        return {"origin": origin}
    if origin == "download":
        found = download(study, name)
        return found | {key: public(found[key]) for key in ("url", "labels") if key in found}
    return weights(study, name, None)


def shown(study: Study) -> dict[str, Any]:
    """Return what the artefacts that show the whole study need to know of it."""
    return _dump(study, without=_NOT_SHOWN | {"datasets": True, "models": True}, defaults=True)


#: What results depend on that others are made from, by the folder they lie in.
_BY_FOLDER = {
    "counts": merged,
    "certificates": certificates,
    "attacks": merged_attack,
    "pictures": pictures,
    "tables": table,
    "figures": figure,
    "costs": lambda study, gpu: costs(study),
}


def _made_from(study: Study, *results: str) -> dict[str, str]:
    """Return a number for what each of the results depends on that another is made from.

    So that whoever reads a result can tell whether it is the study's (`jobs.records`).
    """
    found = {}
    for result in results:
        folder, _, name = result.partition("/")
        found[result] = fingerprint(_BY_FOLDER[folder](study, name))
    return found


def _shown_of(experiments: Iterable[str]) -> list[str]:
    return [f"{part}/{name}" for name in experiments for part in ("counts", "certificates")]


def _counts(study: Study) -> list[str]:
    return [f"counts/{experiment}" for experiment in study.experiments]


def _attacks(study: Study) -> list[str]:
    return [f"attacks/{attack}" for attack in study.attacks]


def _artefacts(study: Study) -> list[str]:
    return [*(f"tables/{name}" for name in study.tables),
            *(f"figures/{name}" for name in study.figures)]  # fmt: skip


def _origin(file: DataFile) -> str:
    return identity(file.url) if file.url else file.file


def _dump(
    keys: Keys,
    *,
    without: set[str] | dict[str, Any] | None = None,
    only: set[str] | None = None,
    defaults: bool = False,
) -> dict[str, Any]:
    """Return keys as JSON can hold them; those at their default are left out unless asked for.

    Left out, a default written down, or a key that is added, makes nothing again.
    """
    return keys.model_dump(
        mode="json",
        by_alias=True,
        include=only,
        exclude=without,
        exclude_defaults=not defaults,
    )


def _code(rule: str, *programs: str | Path) -> str:
    return code_of(SCRIPTS / f"{rule}.py", *programs)


def _kinds(study: Study) -> list[str | Path]:
    """Return the code of every kind of table and figure that a study shows, and of its plans."""
    return [
        *(_kind(TABLES, entry.kind) for entry in study.tables.values()),
        *(_kind(FIGURES, entry.kind) for entry in study.figures.values()),
        *(_kind(PLANS, settings.plan) for settings in study.experiments.values()),
    ]


def _kind(kinds: Kinds, name: str) -> str | Path:
    """Return where the code of a kind is: a module of ours, or a file of the user's own."""
    return Path(name) if is_file(name) else f"{kinds.package}.{name}"


def _named_files(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the texts in a value that are the paths of files, each with the hash of its file."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _named_files(part)
    elif isinstance(value, str) and isfile(value):
        yield value, _content(value)


@cache
def _content(path: str) -> str:
    """Return the hash of a file, which is read once a process, as code is."""
    return sha256(path)


def _own_code(kinds: Kinds, name: str) -> dict[str, str]:
    """Return what a file of the user's own does, where a dear result depends on one."""
    return {"code": code_of(Path(name))} if is_file(name) else {}
