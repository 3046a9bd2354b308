# Needs: config/config.yaml, and the study it names.
# Makes: what the other rules share: the checked study, paths, and their functions.

import re
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from dds.grid import shard_names, sigma_name  # noqa: E402
from dds.protocol import PROTOCOL  # noqa: E402
from support.study import StudyError, is_per_sigma, load_study  # noqa: E402

try:
    STUDY = load_study(config, ROOT)
except StudyError as error:
    sys.exit(f"error: {error}")

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
    name = f"{model}/{sigma_name(sigma)}" if is_per_sigma(MODELS[model]) else model
    suffix = Path(weights["download"]["url"]).suffix if "download" in weights else ".pt"
    return f"{RESULTS}/models/{name}{suffix}"


def pack_path(dataset, split):
    """Return where the prepared images of a split of a dataset lie."""
    return f"{RESULTS}/data/{dataset}/{split}.npz"


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


wildcard_constraints:
    experiment=one_of(EXPERIMENTS),
    sigma=r"[0-9.e+-]+",
    shard=r"images_\d+-\d+",
    dataset=one_of(STUDY["datasets"]),
    split=r"\w+",
