"""A shard of images being attacked: one job at a time, what became of them kept between jobs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from dds.files import atomic_path
from dds.progress import Interrupted, Progress
from dds.sampling.attack import PGD, Attacker, distance
from dds.statistics.certificates import ABSTAIN
from dds.statistics.predictions import predict_counts
from jobs.attacked import KEY
from jobs.shard import ShardJob
from jobs.work import Work

Row = dict[str, Any]


class AttackJob(ShardJob):
    """The attack on a shard, with ``params.depends`` from `study.depends.attack`."""

    def __init__(self, snakemake: Any) -> None:
        super().__init__(snakemake, snakemake.output.attacked)
        self.metadata |= {"attack": snakemake.wildcards.attack}

    def _is_right(self) -> bool:
        try:
            found = pd.read_parquet(self.output)
        except (OSError, ValueError):
            return False
        return found.attrs == json.loads(json.dumps(self.metadata))

    def _run(self, work: Work) -> None:
        """Attack the images that are left, and write what became of all, and where from."""
        rows: list[Row] = work.take_up(json.loads) or []
        self._attack(rows, work)
        work.verify()
        frame = pd.DataFrame(rows).sort_values(KEY, ignore_index=True)
        frame.attrs = self.metadata
        with atomic_path(self.output) as temporary:
            frame.to_parquet(temporary, index=False)
        self._write_provenance(work.record(images_done=self._done(rows)))

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
        depends, denoiser = self._depends, self._denoiser()
        settings = depends["attack"]
        keys = ("steps", "samples", "restarts", "step_size", "clip")
        return {
            name: Attacker(
                classifier,
                denoiser,
                self._sigma,
                depends["seed"],
                PGD(**{key: settings[key] for key in keys}),
                classes=len(self._pack.classes),
                n=settings["n"],
                precision=self.metadata["precision"],
                device=self.device,
            )
            for name, classifier in self._classifiers().items()
        }
