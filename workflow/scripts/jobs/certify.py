"""A shard of images being certified: one job at a time, its votes kept between jobs."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dds.names import shard_range
from dds.progress import Interrupted
from dds.sampling.batch_check import check_batches
from dds.sampling.counts import check_counts, counts_differ, read_counts, stack, write_counts
from dds.sampling.denoising_check import check_denoising, few
from dds.sampling.forecast import sampling_progress
from dds.sampling.smoothing import SmoothedClassifier
from dds.sampling.votes import Votes
from dds.statistics.plans import make_plan
from jobs.programs import NoPrograms, Programs, kept_programs
from jobs.shard import ShardJob
from jobs.work import Work
from study.paths import PROGRAMS

_log = logging.getLogger("certify")


class ShardVotes:
    """The votes of a shard, and the record of the jobs that drew them.

    Starts with what an interrupted job has saved, or with what finished counts beside the
    shard's own hold of its images, where they are votes of the same kind. Writes a first
    checkpoint, so that a place that cannot be written to is found out before the work.

    Parameters
    ----------
    work : Work
        The shard's work.
    votes : Votes
        What to start from without a checkpoint.
    images : sequence of int
        The shard's images.
    classifiers : sequence of str
        The names of the classifiers that vote.
    metadata : mapping
        What all votes of the shard share, as `dds.sampling.counts.write_counts` takes it.

    Attributes
    ----------
    votes : Votes
        To be counted into.
    compiled : bool or None
        Whether compiled networks drew the votes; None where that is not known yet.
    """

    def __init__(
        self,
        work: Work,
        votes: Votes,
        images: Sequence[int],
        classifiers: Sequence[str],
        metadata: Mapping[str, Any],
    ) -> None:
        self._work, self.votes = work, votes
        self.compiled: bool | None = None
        self._is_mixed = False
        if kept := work.take_up(_read_votes):
            self.votes = kept
            self.compiled = work.earlier("compiled") if kept.samples else None
            _log.info("going on after %d samples", self.votes.samples)
        else:
            _take_over(votes, work.output, images, classifiers, metadata)
        self._resumed = self.votes.samples
        self.save()

    @property
    def complete(self) -> bool:
        """Whether no image wants another sample."""
        return self.images_done == len(self.votes.goals)

    @property
    def images_done(self) -> int:
        """How many images want no other sample."""
        return int(self.votes.finished.sum())

    def note_compiled(self, compiled: bool) -> None:
        """Say, after the first batch, whether this job's networks are compiled.

        Raises
        ------
        ValueError
            If they are not, and those of earlier jobs were: an image's votes are of one
            function. The batch is not saved.
        """
        self._is_mixed = self.compiled is True and not compiled
        if self._is_mixed:
            raise ValueError(
                f"torch.compile failed here, and {self._work.checkpoint} holds votes of compiled "
                "networks; run the job where it works, or remove the file to start over"
            )
        self.compiled = compiled

    def record(self) -> dict[str, Any]:
        """Return how far all jobs together have come, and how fast this one is.

        Returns
        -------
        dict
            ``compiled``; ``images_done``; ``samples``, the votes there are;
            ``samples_per_second`` of this job; ``samples_drawn`` of all jobs; and the facts of
            `Work.record`.
        """
        return self._work.record(**self._facts())

    def save(self) -> None:
        """Write the checkpoint; see `Work.save`."""
        if self._is_mixed:
            return
        self._work.save(self._state(), **self._facts())

    def save_sometimes(self) -> None:
        """Write the checkpoint when it is time; failing is no harm."""
        if self._work.due():
            self._work.save_if_possible(self._state(), **self._facts())

    def _facts(self) -> dict[str, Any]:
        drawn = self.votes.samples - self._resumed
        return {
            "compiled": self.compiled,
            "images_done": self.images_done,
            "samples": self.votes.samples,
            "samples_per_second": round(drawn / max(self._work.seconds, 1e-9), 1),
            "samples_drawn": self._work.earlier("samples_drawn") + drawn,
        }

    def _state(self) -> bytes:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **vars(self.votes))
        return buffer.getvalue()


def _read_votes(state: bytes) -> Votes:
    with np.load(io.BytesIO(state)) as arrays:
        return Votes(**arrays)


def _take_over(
    votes: Votes,
    output: Path,
    images: Sequence[int],
    classifiers: Sequence[str],
    metadata: Mapping[str, Any],
) -> None:
    """Fill in the votes of images that finished counts of the same kind hold."""
    wanted = {image: row for row, image in enumerate(images)}
    for path in sorted(output.parent.glob(f"images_*{output.suffix}")):
        if not wanted.keys() & set(shard_range(path.stem)):
            continue
        if (counts := _counts_alike(path, metadata)) is None:
            continue
        taken = counts[counts["image"].isin(wanted.keys())]
        rows = taken["image"].map(wanted).to_numpy()
        columns = taken["classifier"].map(list(classifiers).index).to_numpy()
        votes.selection[rows, columns] = stack(taken["selection"])
        votes.estimation[rows, columns] = stack(taken["estimation"])
        votes.goals[rows, columns] = votes.estimation[rows, columns].sum(axis=1)
        _log.info("%s has the votes of %d of these images", path, taken["image"].nunique())


def _counts_alike(path: Path, metadata: Mapping[str, Any]) -> pd.DataFrame | None:
    """Return the counts in a file, or None where they are not of the kind that is wanted."""
    try:
        counts, found = read_counts(path)
        check_counts(counts, found)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _log.warning("%s; it is not used", " ".join(str(error).split()))
        return None
    if other := counts_differ(found, metadata):
        _log.info("%s has another %s: %s, not %s; it is not used", path, *other)
        return None
    return counts


class CertifyJob(ShardJob):
    """The certification of a shard, with ``params.depends`` from `study.depends.votes`.

    Attributes
    ----------
    metadata : dict
        As `dds.sampling.counts.write_counts` takes it.
    """

    def __init__(self, snakemake: Any) -> None:
        super().__init__(snakemake, snakemake.output.counts)
        depends = self._depends
        self._plan = make_plan(depends, self._sigma)
        self.metadata |= {
            "protocol": depends["protocol"],
            "study": self.output.parts[1],
            "experiment": snakemake.wildcards.experiment,
            "dataset": depends["dataset"],
            "seed": depends["seed"],
            "n0": self._plan.n0,
            "n": self._plan.n,
            "plan": self._plan.to_dict(),
            "num_classes": len(self._pack.classes),
        }

    def _is_right(self) -> bool:
        found = _counts_alike(self.output, self.metadata)
        return found is not None and set(found["image"]) == set(self._images)

    def _run(self, work: Work) -> None:
        """Draw the votes that are missing, and write the counts and where they come from."""
        classifiers = self._depends["classifiers"]
        nothing = Votes.none(len(self._images), len(classifiers), len(self._pack.classes))
        kept = ShardVotes(work, nothing, self._images, classifiers, self.metadata)
        facts = {} if kept.complete else self._count_votes(kept)
        work.verify()
        write_counts(self.output, self._frame(kept.votes), self.metadata)
        self._write_provenance(kept.record(), **facts)

    def _count_votes(self, kept: ShardVotes) -> dict[str, Any]:
        """Sample the images, with a checkpoint now and then and at the end."""
        # One shard, one function: what was begun without a compiler goes on without.
        smoothed = self._smooth(compiled=False if kept.compiled is False else None)
        # The same images for all shards, so that they say the same.
        shown = self._pack.pixels(few(len(self._pack.images)))
        denoising = check_denoising(smoothed, shown)
        check_batches(smoothed, shown, len(self._pack.classes))
        label = f"certify {self.metadata['experiment']} sigma {self._sigma:g} {self.output.stem}"
        is_first = True

        def after_batch(votes: Votes) -> None:
            nonlocal is_first
            if is_first:
                kept.note_compiled(smoothed.runner.compiled)
                programs.save()
            is_first = False
            tell()
            if self._stop():
                raise Interrupted(f"stopped after {votes.samples} samples, which are saved")
            kept.save_sometimes()

        with (
            sampling_progress(self._plan, kept.votes, label) as tell,
            self._kept_programs(smoothed) as programs,
        ):
            smoothed.runner.programs = programs.folder
            try:
                smoothed.count_votes(
                    self._pack.pixels(self._images),
                    self._labels,
                    self._images,
                    classes=len(self._pack.classes),
                    votes=kept.votes,
                    after_batch=after_batch,
                )
            finally:
                kept.save()
            programs.save()
        found = {} if denoising is None else {"denoising": denoising._asdict()}
        return {"batch_size": smoothed.batch_size} | found

    def _kept_programs(
        self, smoothed: SmoothedClassifier
    ) -> AbstractContextManager[Programs | NoPrograms]:
        """Let the networks be compiled from what other jobs kept."""
        if not smoothed.runner.compiled:
            return nullcontext(NoPrograms())
        models = self._depends["models"]
        networks = {
            "descriptions": [model["description"] for model in models.values()],
            "precision": self.metadata["precision"],
            "batch_size": self._snakemake.params.batch_size,
        }
        return kept_programs(PROGRAMS, self.device, networks)

    def _smooth(self, *, compiled: bool | None) -> SmoothedClassifier:
        """Return the experiment's smoothed classifiers, with their weights."""
        depends = self._depends
        return SmoothedClassifier(
            self._classifiers(),
            self._denoiser(),
            self._sigma,
            self._plan,
            depends["seed"],
            batch_size=self._snakemake.params.batch_size,
            deterministic=depends["deterministic"],
            noise=depends["noise"],
            precision=self.metadata["precision"],
            device=self.device,
            compiled=compiled,
        )

    @property
    def _labels(self) -> list[int]:
        return self._pack.labels[self._images].tolist()

    def _frame(self, votes: Votes) -> pd.DataFrame:
        """Return one row an image and classifier."""
        classifiers = self._depends["classifiers"]
        rows = len(self._images) * len(classifiers)
        return pd.DataFrame(
            {
                "image": [image for image in self._images for _ in classifiers],
                "label": [label for label in self._labels for _ in classifiers],
                "sigma": self._sigma,
                "classifier": list(classifiers) * len(self._images),
                "selection": list(votes.selection.reshape(rows, -1)),
                "estimation": list(votes.estimation.reshape(rows, -1)),
            }
        )
