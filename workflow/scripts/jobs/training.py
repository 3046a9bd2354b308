"""What the three training rules share: one job at a time, resumed, kept when still right."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from dds.data.packs import Pack, check_classes, read_pack
from dds.differences import first_difference
from dds.files import atomic_path, sha256, write_json
from dds.networks.description import ClassifierKeys, DenoiserKeys, with_arguments
from dds.networks.training import FEW_IMAGES, Corruption, Recipe, accuracy
from dds.networks.weights import save_weights
from dds.seeds import stream_seed
from jobs.device import device_name, prepare_device
from jobs.job import defer_signals
from jobs.programs import NoPrograms, Programs, kept_programs
from jobs.provenance import Provenance
from jobs.work import Work, resume
from study.paths import PROGRAMS

_log = logging.getLogger("training")


class TrainingState:
    """Where a training run keeps its state; what `dds.networks.training.Resume` asks for."""

    def __init__(self, work: Work, stop: Callable[[], bool]) -> None:
        self._work = work
        self.due, self.stop = work.due, stop

    def load(self) -> dict[str, Any] | None:
        """Return the state that an interrupted run has saved, or None."""
        return self._work.take_up(
            lambda state: torch.load(io.BytesIO(state), map_location="cpu", weights_only=True)
        )

    def save(self, state: dict[str, Any], iteration: int) -> None:
        """Write the state after so many iterations."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        save = self._work.save if self.stop() else self._work.save_if_possible
        save(buffer.getvalue(), iterations=iteration)


class TrainingJob:
    """A training rule's inputs, ready to use, and its outputs, written at the end.

    Attributes
    ----------
    depends : dict
        What the weights depend on (`study.depends.weights`).
    train, validation : Pack
        The data.
    device : torch.device
        Where to train.
    settings : dict
        ``recipe``, ``seed``, ``label``, ``device`` and ``resume``, as the functions
        of `dds.networks.training` take them.
    """

    def __init__(self, snakemake: Any, work: Work, identity: dict[str, Any], stop: Any) -> None:
        self._provenance, self._identity, self._work = Provenance(), identity, work
        self._output = snakemake.output
        self.depends = depends = snakemake.params.depends
        self.device = prepare_device(snakemake.config["device"], snakemake.threads, stop=stop)
        self.train: Pack = read_pack(snakemake.input.train)
        self.validation: Pack = read_pack(snakemake.input.validation)
        name = snakemake.wildcards.weights
        if "classes" in depends["model"]["description"]:
            check_classes(depends["model"]["description"]["classes"], self.train.classes, of=name)
        label = f"{'finetune' if 'start' in depends else 'train'} {name}"
        self.settings = {
            "recipe": Recipe(**depends["recipe"]),
            "seed": depends["seed"],
            "label": label,
            "device": self.device,
            "resume": TrainingState(work, stop),
        }
        torch.manual_seed(stream_seed(depends["seed"], f"{label}/initial weights"))

    def accuracy(self, classifier: torch.nn.Module, corruption: Corruption | None) -> float:
        """Return a classifier's accuracy on the validation images, corrupted as in training."""
        return accuracy(
            classifier,
            self.validation.images,
            self.validation.labels,
            corruption=corruption,
            # Hours are lost if memory lacks now: no more images than it has just had room for.
            batch_size=min(FEW_IMAGES, self.settings["recipe"].batch_size),
            device=self.device,
        )

    def kept_programs(self) -> AbstractContextManager[Programs | NoPrograms]:
        """Let the network be compiled from what other jobs kept."""
        if self.device.type != "cuda":
            return nullcontext(NoPrograms())
        return kept_programs(PROGRAMS, self.device, {"trained": self.depends})

    def finish(self, network: torch.nn.Module, **facts: Any) -> None:
        """Write the weights and where they come from."""
        self._work.verify()
        with atomic_path(self._output.weights) as temporary:
            save_weights(network, temporary)
        facts |= {
            "weights": sha256(self._output.weights),
            "device": device_name(self.device),
            "precision": self.settings["recipe"].precision,
        }
        record = self._provenance.finish(**self._identity, **facts)
        write_json(self._output.provenance, record | self._work.record())
        self._work.forget()


@contextmanager
def training(snakemake: Any) -> Iterator[TrainingJob | None]:
    """Give a training rule its job, or None where the weights that are there are still right.

    Weights are right when what they depend on is what their provenance says, and the file
    is the one that it speaks of: a moved or copied project trains nothing again.

    Parameters
    ----------
    snakemake : object
        The object Snakemake gives the script, with ``params.depends`` from `study.depends`.
    """
    stop = defer_signals()
    identity = {
        "model": snakemake.wildcards.weights,
        "depends": snakemake.params.depends,
        "inputs": {name: sha256(path) for name, path in snakemake.input.items()},
    }
    every = snakemake.config["checkpoint_seconds"]
    with resume(snakemake.output.weights, identity, every=every, stop=stop) as work:
        if work.state is None and _is_right(snakemake.output, identity):
            _log.info("%s is what is wanted; it is kept", snakemake.output.weights)
            yield None
        else:
            job = TrainingJob(snakemake, work, identity, stop)
            with job.kept_programs() as programs:
                yield job
                programs.save()


def _is_right(output: Any, identity: dict[str, Any]) -> bool:
    """Tell whether the weights that are there are those that would come out."""
    try:
        record = json.loads(Path(output.provenance).read_text("utf-8"))
        if record["weights"] != sha256(output.weights):
            return False
        known = {key: record.get(key) for key in identity}
        if "entry" in record:
            known["depends"] = _of_version_0_1(record, identity["depends"])
        wanted = json.loads(json.dumps(identity))
        if "classes" not in wanted["depends"]["model"]["description"]:
            for inputs in (known["inputs"], wanted["inputs"]):
                inputs.pop("validation", None)  # on which classifiers alone are measured
        other = first_difference(known, wanted)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    if other:
        _log.info("%s has another %s: %s, not %s", output.weights, *other)
    return other is None


def _of_version_0_1(record: dict[str, Any], depends: dict[str, Any]) -> dict[str, Any]:
    """Return what a record of version 0.1 says that weights depend on.

    It holds the model's entry. What it does not say, as of the denoiser that a classifier was
    tuned with, is taken to agree.
    """
    entry, described = record["entry"], depends["model"]["description"]
    (recipe,) = (entry["weights"][origin] for origin in ("train", "finetune")
                 if origin in entry["weights"])  # fmt: skip
    kind = ClassifierKeys if "classes" in described else DenoiserKeys
    typed = with_arguments(kind, described["network"])
    same = typed(**{key: entry[key] for key in described if key in entry}) == typed(**described)
    known = {key: recipe[key] for key in depends["recipe"] if key in recipe}
    known = {"recipe": depends["recipe"] | known, "seed": record["seed"]}
    if "timestep" in recipe:
        known["timestep"] = recipe["timestep"]
    return depends | known | ({} if same else {"model": entry})
