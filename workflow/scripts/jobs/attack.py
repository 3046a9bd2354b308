"""A shard of images being attacked: one job at a time, what became of them kept between jobs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from dds.files import atomic_path, sha256, write_json
from dds.names import shard_place
from dds.networks.denoisers import NoDenoiser
from dds.progress import Interrupted, Progress
from dds.sampling.attack import PGD, Attacker, distance
from dds.sampling.kernels import choose_precision
from dds.statistics.certificates import ABSTAIN
from dds.statistics.predictions import predict_counts
from jobs.attacked import KEY
from jobs.device import device_name, prepare_device
from jobs.energy import EnergyMeter
from jobs.job import defer_signals
from jobs.models import load_classifier, load_denoiser
from jobs.provenance import Provenance
from jobs.shard import read_images
from jobs.work import Work, begun_on, resume

_log = logging.getLogger("attack")

Row = dict[str, Any]


class AttackJob:
    """The attack on a shard of images: what it needs, ready to use, and what it makes.

    Parameters
    ----------
    snakemake : object
        The object Snakemake gives the script, with ``params.depends`` from
        `study.depends.attack`.
    stop : callable
        Tells whether the job is asked to end.
    """

    def __init__(self, snakemake: Any, stop: Callable[[], bool]) -> None:
        self._snakemake, self._stop, self._provenance = snakemake, stop, Provenance()
        self._depends = depends = snakemake.params.depends
        self.output = Path(snakemake.output.attacked)
        self.device = prepare_device(
            snakemake.config["device"], snakemake.threads, stop=stop, like=begun_on(self.output)
        )
        self._sigma, self._images = shard_place(self.output)
        self._pack = read_images(snakemake.input.pack, self._images, self.output.stem, depends)
        self.metadata = {
            "attack": snakemake.wildcards.attack,
            "sigma": self._sigma,
            "precision": choose_precision(depends["precision"], self.device),
            "backend": self.device.type,
            "models": {name: sha256(snakemake.input[name]) for name in depends["models"]},
            "data": sha256(snakemake.input.pack),
            "depends": depends,
        }

    @property
    def identity(self) -> dict[str, Any]:
        """All that a checkpoint must agree with."""
        return self.metadata | {
            "images": self.output.stem,
            "device": device_name(self.device),
            "torch": torch.__version__,
        }

    def is_done(self) -> bool:
        """Tell whether what is there is what would come out."""
        if not Path(self._snakemake.output.provenance).exists():
            return False
        try:
            found = pd.read_parquet(self.output)
        except (OSError, ValueError):
            return False
        return found.attrs == json.loads(json.dumps(self.metadata))

    def run(self, work: Work) -> None:
        """Attack the images that are left, and write what became of all, and where from."""
        rows: list[Row] = work.take_up(json.loads) or []
        self._attack(rows, work)
        work.verify()
        frame = pd.DataFrame(rows).sort_values(KEY, ignore_index=True)
        frame.attrs = self.metadata
        with atomic_path(self.output) as temporary:
            frame.to_parquet(temporary, index=False)
        record = self._provenance.finish(**self.identity) | work.record(
            images_done=self._done(rows)
        )
        write_json(self._snakemake.output.provenance, record)

    def _attack(self, rows: list[Row], work: Work) -> None:
        names, radii = self._depends["classifiers"], [0.0, *self._depends["attack"]["radii"]]
        todo = list(product(self._images, names, radii))
        label = f"attack {self.metadata['attack']} sigma {self._sigma:g} {self.output.stem}"
        attackers = self._attackers() if len(rows) < len(todo) else {}
        images = {"parts": len(self._images), "part_unit": "images"}
        try:
            with Progress(
                len(todo), label, "attacks", done=len(rows), parts_done=self._done(rows), **images
            ) as progress:
                for image, name, radius in todo[len(rows) :]:
                    rows.append(self._row(image, name, radius, rows, attackers[name]))
                    progress.advance(1, parts_done=self._done(rows))
                    if self._stop():
                        raise Interrupted(f"stopped after {len(rows)} attacks, which are saved")
                    if work.due():
                        work.save_if_possible(json.dumps(rows).encode())
        finally:
            work.save(json.dumps(rows).encode(), images_done=self._done(rows))

    def _done(self, rows: Sequence[Row]) -> int:
        """Return how many images are attacked at every radius, by every classifier."""
        each = len(self._depends["classifiers"]) * (1 + len(self._depends["attack"]["radii"]))
        return len(rows) // each

    def _row(
        self, image: int, name: str, radius: float, earlier: Sequence[Row], attacker: Attacker
    ) -> Row:
        """Attack an image within a radius; what was found in a smaller ball counts for it, too."""
        label = int(self._pack.labels[image])
        if radius and earlier[-1]["prediction"] not in (label, ABSTAIN):
            return earlier[-1] | {"radius": radius}
        clean = self._pack.pixels([image])[0]
        found = attacker.attack(clean, label, image, radius)
        (votes,) = counts = attacker.judge(found[np.newaxis], [image])
        (prediction,), _ = predict_counts(counts, self._depends["attack"]["alpha"])
        return {
            "image": image,
            "label": label,
            "sigma": self._sigma,
            "classifier": name,
            "radius": radius,
            "norm": distance(clean, found),
            "n": int(votes.sum()),
            "prediction": int(prediction),
            "successes": int(votes.max()),
            "label_successes": int(votes[label]),
        }

    def _attackers(self) -> dict[str, Attacker]:
        """Return what attacks each classifier, with its weights, and the denoiser's."""
        depends, inputs = self._depends, self._snakemake.input
        models, denoiser = depends["models"], NoDenoiser()
        if (name := depends["denoiser"]) != "none":
            timestep, steps = depends["timestep"], depends["steps"]
            denoiser = load_denoiser(models[name], inputs[name], timestep=timestep, steps=steps)
        settings = depends["attack"]
        keys = ("steps", "samples", "restarts", "step_size", "clip")
        return {
            name: Attacker(
                load_classifier(models[name], inputs[name]),
                denoiser,
                self._sigma,
                depends["seed"],
                PGD(**{key: settings[key] for key in keys}),
                classes=len(self._pack.classes),
                n=settings["n"],
                precision=self.metadata["precision"],
                device=self.device,
            )
            for name in depends["classifiers"]
        }


def attack(snakemake: Any) -> None:
    """Do the work of rule attack_images, or keep its result where that is still right.

    Parameters
    ----------
    snakemake : object
        The object Snakemake gives the script, with ``params.depends`` from
        `study.depends.attack`.

    Raises
    ------
    Interrupted
        If the job was asked to end; what it has found is saved.
    """
    stop = defer_signals()
    shard = AttackJob(snakemake, stop)
    every, meter = snakemake.config["checkpoint_seconds"], EnergyMeter(shard.device)
    with resume(shard.output, shard.identity, every=every, stop=stop, meter=meter) as work:
        if work.state is None and shard.is_done():
            _log.info("%s is what is wanted; it is kept", shard.output)
        else:
            shard.run(work)
