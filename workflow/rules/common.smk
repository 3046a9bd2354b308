# Needs: the configuration, and the study it names.
# Makes: what the other rules share: the checked study, what its results depend on, and where
#        they lie.

import os
import re
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path


def project_folder():
    """Return where this project lies on disk: here, or a copy if it is read from a repository.

    A module may be read from a repository that is checked out nowhere. Snakemake then fetches
    single files, but a package must lie in a folder.
    """
    here = workflow.current_basedir
    if not hasattr(here, "ref"):
        return Path(os.path.abspath(str(here))).parents[1]
    from git import Repo

    repository = Repo(here.repo_path) if hasattr(here, "repo_path") else here.hosted_repo.repo
    folder = workflow.sourcecache.cache_path / "checkouts" / repository.commit(here.ref).hexsha
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            packed, unpacked = Path(temporary, "project.tar"), Path(temporary, "project")
            with packed.open("wb") as file:
                repository.archive(file, here.ref)
            with tarfile.open(packed) as archive:
                archive.extractall(unpacked, filter="data")
            if not folder.is_dir():
                shutil.move(unpacked, folder)
    return folder


ROOT = project_folder()

# Before everything else, here and in every job, so that the code that runs is this project's,
# whatever else is installed or on the path.
SCRIPTS = str(ROOT / "workflow" / "scripts")
sys.path.insert(0, SCRIPTS)
inherited = filter(None, os.getenv("PYTHONPATH", "").split(os.pathsep))
os.environ.update(PYTHONPATH=os.pathsep.join(dict.fromkeys([SCRIPTS, *inherited])))

from snakemake.logging import logger

# Snakemake reads every script as if it might be a notebook, and the library for those then
# builds 38 grammars of addresses. Without them, every Snakemake, two a cluster job, starts in
# half the time.
sys.modules.setdefault("rfc3987_syntax", None)

from dds.names import sigma_name
from dds.origins import digest, identity
from jobs.containers import ready_containers
from jobs.gpus import share_gpus
from jobs.outputs import keep_updated_outputs
from jobs.records import heed_records
from jobs.site import give_resources
from jobs.slurm import outlive_faults
from jobs.terminal import Terminal
from study import depends
from study.checks import (
    check_deposits_exist,
    check_files_exist,
    check_folders,
    check_weights_exist,
)
from study.errors import StudyError
from study.inputs import Inputs, find_published_logs
from study.load import load_config, load_study
from study.paths import Paths, find_settings
from study.printed import Printed
from study.yaml_files import read_yaml

SETTINGS = find_settings(ROOT)

try:
    # A module is handed its configuration by a workflow whose files say more than that.
    if workflow.is_main_process and not workflow.modifier.skip_configfile:
        for file in map(Path, workflow.configfiles):
            read_yaml(file, str(file))  # which refuses what Snakemake lets pass
    CONFIG = load_config(config)
    STUDY = load_study(CONFIG, SETTINGS, ROOT)
    if workflow.is_main_process:
        check_deposits_exist(STUDY)
    PUBLISHED_LOGS = find_published_logs(CONFIG, SETTINGS)
    if workflow.deployment_settings:
        methods = workflow.deployment_settings.deployment_method
        ready_containers(CONFIG.container, ROOT, methods)
except StudyError as error:
    sys.exit(f"error: {error}")

config.update(CONFIG.model_dump())  # so that every job sees the defaults
keep_updated_outputs()
outlive_faults()
if workflow.is_main_process:
    heed_records()

TERMINAL = Terminal()
logger.addFilter(TERMINAL)


# Snakemake keeps one hook of each kind: all that happens at the start of a run is here.
onstart:
    try:
        check_folders()
        for job in workflow.dag.needrun_jobs():
            if dataset := job.params.get("dataset"):
                check_files_exist(dataset, STUDY)
            for model in job.params.get("models", ()):
                check_weights_exist(model, STUDY)
    except StudyError as error:
        sys.exit(f"error: {error}")
    if workflow.local_exec and CONFIG.device != "cpu":
        if shared := share_gpus(workflow.scheduler):
            logger.info(shared)
    TERMINAL.start(logger, len(workflow.dag))


onsuccess:
    TERMINAL.stop()


onerror:
    TERMINAL.stop()


PATHS = Paths(STUDY)
RESULTS = PATHS.results

# Paths to files of this project are relative where Snakemake runs in it, so that results stay
# right when the project is moved.
HERE = Path() if ROOT == Path.cwd() else ROOT
INPUTS = Inputs(STUDY, PATHS, HERE, PUBLISHED_LOGS, HERE if SETTINGS == ROOT else SETTINGS)


def one_of(names):
    """Return a wildcard constraint that matches the names alone."""
    return "|".join(map(re.escape, names)) or "(?!)"


def weights_pattern(models):
    """Return a wildcard constraint: the names of the models' weights."""
    names = {
        PATHS.weights_name(model, sigma)
        for model in models
        for sigma in (STUDY.sigmas_of(model) if STUDY.models[model].is_per_sigma else [None])
    }
    return one_of(sorted(names))


# The noise levels of the study, in the one spelling that names of files have.
SIGMAS = sorted(
    {
        sigma_name(sigma).removeprefix("sigma_")
        for experiment in STUDY.experiments.values()
        for sigma in experiment.sigmas
    }
)


def model_of(wildcards):
    """Return the model that weights are of."""
    return wildcards.weights.split("/")[0]


def sigma_of(wildcards):
    """Return the noise level that weights are for, or None where it is all."""
    _, _, sigma = wildcards.weights.partition("/")
    return float(sigma.removeprefix("sigma_")) if sigma else None


def denoiser_of(wildcards):
    """Return the denoiser of the experiment that a figure of pictures shows."""
    return STUDY.experiments[STUDY.figures[wildcards.figure].experiment].denoiser


def gpu_pattern(*, is_deposited):
    """Return a wildcard constraint: any GPU, where costs are taken from a deposit or are not."""
    return r"[a-z0-9-]+" if is_deposited == bool(STUDY.deposit_of_costs) else one_of([])


def taking(result, deposit):
    """Return the parameters of a rule that takes a result from a deposit, by its wildcards."""
    return {
        "result": result,
        "wanted": lambda wildcards: Printed(depends.taken(STUDY, result(wildcards))),
        # Snakemake compares no parameter that is derived from inputs: where a deposit lies does
        # not make it another one.
        "files": lambda wildcards, input: {"deposit": PATHS.deposit(deposit(wildcards))},
    }


wildcard_constraints:
    experiment=one_of(STUDY.experiments),
    attack=one_of(STUDY.attacks),
    table=one_of(STUDY.tables),
    figure=one_of(STUDY.figures),
    sigma=one_of(SIGMAS),
    shard=r"images_\d+-\d+",
    dataset=one_of(STUDY.datasets),
    split=r"\w+",
