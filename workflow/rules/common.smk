# Needs: config/config.yaml, and the study it names.
# Makes: what the other rules share: the checked study, paths, and their functions.

import re
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from dds.names import shard_names, sigma_name  # noqa: E402
from dds.protocol import PROTOCOL  # noqa: E402
from jobs.slurm import outlive_faults  # noqa: E402
from study.load import StudyError, check_files_exist, is_per_sigma, load_study  # noqa: E402

try:
    STUDY = load_study(config, ROOT)
except StudyError as error:
    sys.exit(f"error: {error}")

outlive_faults()

RESULTS = f"results/{STUDY['name']}"
MODELS = STUDY["models"]
EXPERIMENTS = STUDY["experiments"]


# What the artefacts that show the whole study depend on.
SHOWN = {key: value for key, value in STUDY.items() if key not in ("datasets", "models")}


def one_of(names):
    """Return a wildcard constraint that matches the names alone."""
    return "|".join(map(re.escape, names)) or "(?!)"


def models_by(kind, source):
    """Return the study's models of a kind whose weights come from a source."""
    return [
        name
        for name, entry in MODELS.items()
        if entry["kind"] == kind and source in entry["weights"]
    ]


def weights_path(model, sigma=None):
    """Return where the weights of a model, for a noise level if it has several, lie."""
    weights = MODELS[model]["weights"]
    if "file" in weights:
        return weights["file"]
    suffix = Path(weights["download"]["url"]).suffix if "download" in weights else ".pt"
    return f"{RESULTS}/models/{weights_name(model, sigma)}{suffix}"


def weights_name(model, sigma=None):
    """Return what a model's weights, for a noise level if it has several, are called."""
    return f"{model}/{sigma_name(sigma)}" if is_per_sigma(MODELS[model]) else model


def weights_of(models):
    """Return a wildcard constraint: the names of the models' weights."""
    shared = [name for name in models if not is_per_sigma(MODELS[name])]
    per_sigma = [name for name in models if is_per_sigma(MODELS[name])]
    return rf"{one_of(shared)}|({one_of(per_sigma)})/sigma_[0-9.e+-]+"


def model_of(wildcards):
    """Return the model that weights are of."""
    return wildcards.weights.split("/")[0]


def sigma_of(wildcards):
    """Return the noise level that weights are for, or None where it is all."""
    _, _, sigma = wildcards.weights.partition("/")
    return float(sigma.removeprefix("sigma_")) if sigma else None


def measured_models():
    """Return the classifiers whose accuracy is published, and so is measured."""
    return [name for name, entry in MODELS.items() if "expected_accuracy" in entry]


def accuracy_paths():
    """Return the measured accuracies of the study's classifiers."""
    names = {
        weights_name(model, sigma): None
        for model in measured_models()
        for experiment in EXPERIMENTS.values()
        if model in experiment["classifiers"]
        for sigma in experiment["sigmas"]
    }
    return [f"{RESULTS}/models/{name}.accuracy.json" for name in names]


def expected_accuracy(model):
    """Return a classifier's published accuracy; that of a tuned one is not known."""
    entry = MODELS[model]
    return None if "finetune" in entry["weights"] else entry["expected_accuracy"]


def classified(model):
    """Return the first experiment that uses a classifier: what its accuracy is measured on."""
    return next(e for e in EXPERIMENTS.values() if model in e["classifiers"])


def pack_path(dataset, split):
    """Return where the prepared images of a split of a dataset lie."""
    return f"{RESULTS}/data/{dataset}/{split}.npz"


def data_files(dataset):
    """Return where the files of a dataset lie, by what they are."""
    return {
        name: (
            file["file"] if "file" in file else f"{RESULTS}/data/{dataset}/{Path(file['url']).name}"
        )
        for name, file in STUDY["datasets"][dataset].get("files", {}).items()
    }


def downloaded_files(dataset):
    """Return those of a dataset's files that have an address."""
    files = STUDY["datasets"][dataset].get("files", {})
    return [path for name, path in data_files(dataset).items() if "url" in files[name]]


def counts_paths(experiment):
    """Return the counts of all shards of an experiment."""
    settings = EXPERIMENTS[experiment]
    return [
        f"{RESULTS}/counts/{experiment}/{sigma_name(sigma)}/{shard}.parquet"
        for sigma in settings["sigmas"]
        for shard in shard_names(settings["images"], settings["images_per_shard"])
    ]


def certificates_path(experiment):
    """Return the certificates of an experiment."""
    return f"{RESULTS}/certificates/{experiment}.parquet"


def summary_path(experiment):
    """Return where an experiment's counts come from, all its shards summed up."""
    return f"{RESULTS}/counts/{experiment}.json"


def experiments_of(entry):
    """Return the experiments that a table or figure of the study shows."""
    parts = [entry, *(part for key in ("panels", "rows", "methods") for part in entry.get(key, []))]
    return sorted({part["experiment"] for part in parts if "experiment" in part})


def figures_by_kind(kind):
    """Return the study's figures of a kind."""
    return [name for name, entry in STUDY["figures"].items() if entry["kind"] == kind]


def smoothed_models(experiment, sigma):
    """Return the weights of an experiment's classifiers and denoiser, by their names."""
    settings = EXPERIMENTS[experiment]
    names = list(settings["classifiers"])
    if settings["denoiser"] != "none":
        names.append(settings["denoiser"])
    return {name: weights_path(name, sigma) for name in names}


def settings_of_samples(experiment):
    """Return what an experiment's samples depend on, so that nothing else re-certifies.

    The number of images and the shard size are left out because the shards' names
    hold them, alpha because certificates are computed from the counts afterwards,
    unless the plan stops by it.
    """
    settings = EXPERIMENTS[experiment]
    left_out = {"images", "images_per_shard", "sigmas"}
    if settings["plan"] == "fixed" and not settings["curtail"]:
        left_out |= {"alpha", "radii", "curtail"}
    return {key: value for key, value in settings.items() if key not in left_out}


def description(model):
    """Return the part of a model's entry that decides what it computes, given its weights."""
    entry = MODELS[model]
    keys = ("kind", "network", "arguments", "input", "classes", "schedule")
    layout = {
        key: entry["weights"][key] for key in ("key", "strip_prefix") if key in entry["weights"]
    }
    return {key: entry[key] for key in keys if key in entry} | {"weights": layout}


def trained_splits(source):
    """Return a function that gives the data to train and to validate on."""

    def splits(wildcards):
        dataset = MODELS[model_of(wildcards)]["weights"][source]["dataset"]
        return {split: pack_path(dataset, split) for split in ("train", "validation")}

    return splits


def finetuning(wildcards):
    """Return the fine-tuning recipe of a model."""
    return MODELS[model_of(wildcards)]["weights"]["finetune"]


def published_values(wildcards):
    """Return the published values, and where their logs are, for a table that shows some."""
    entry = STUDY["tables"][wildcards.table]
    parts = entry.get("panels", []) + entry.get("rows", [])
    if not any("published" in part for part in parts):
        return {}
    return {
        "published": "config/literature/published.csv",
        "links": "config/literature/logs.csv",
    }


def estimates(wildcards):
    """Return the estimates for a table that shows some."""
    gpu = STUDY["tables"][wildcards.table].get("gpu")
    return {"estimates": f"{RESULTS}/costs/{gpu}.json"} if gpu else {}


def figure_inputs(wildcards):
    """Return what a figure is drawn from: its pictures, or certificates."""
    entry = STUDY["figures"][wildcards.figure]
    if entry["kind"] == "pictures":
        return [f"{RESULTS}/pictures/{wildcards.figure}.npz"]
    return [certificates_path(experiment) for experiment in experiments_of(entry)]


def pictured(wildcards):
    """Return the settings of the experiment whose images a figure shows."""
    return EXPERIMENTS[STUDY["figures"][wildcards.figure]["experiment"]]


wildcard_constraints:
    experiment=one_of(EXPERIMENTS),
    sigma=r"[0-9.e+-]+",
    shard=r"images_\d+-\d+",
    dataset=one_of(STUDY["datasets"]),
    split=r"\w+",
