"""A shard of images, certified or attacked: what its job needs, and what identifies its result."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch

from dds.data.packs import Pack, check_classes, read_pack
from dds.files import sha256, write_json
from dds.names import shard_place
from dds.networks.classifiers import Classifier
from dds.networks.denoisers import Denoiser, NoDenoiser
from dds.sampling.kernels import choose_precision
from jobs.device import device_name, prepare_device
from jobs.energy import EnergyMeter
from jobs.job import defer_signals
from jobs.models import load_classifier, load_denoiser
from jobs.provenance import Provenance
from jobs.work import Work, begun_on, resume

_log = logging.getLogger("shard")


class ShardJob(ABC):
    """The job of a shard: what it needs, ready to use, and what it makes.

    Parameters
    ----------
    snakemake : object
        The object Snakemake gives the script.
    output : str
        The shard's file.

    Attributes
    ----------
    metadata : dict
        What its rows depend on, as JSON can hold it; kept with them, so that they are known to
        be right wherever they lie.
    """

    def __init__(self, snakemake: Any, output: str) -> None:
        self._snakemake, self._stop, self._provenance = snakemake, defer_signals(), Provenance()
        self._depends = depends = snakemake.params.depends
        self.output = Path(output)
        self.device = prepare_device(
            snakemake.config["device"],
            snakemake.threads,
            stop=self._stop,
            like=begun_on(self.output),
        )
        self._sigma, self._images = shard_place(self.output)
        self._pack = self._read_pack()
        self.metadata = {
            "sigma": self._sigma,
            "precision": choose_precision(depends["precision"], self.device),
            "backend": self.device.type,
            "models": {name: sha256(snakemake.input[name]) for name in depends["models"]},
            "data": sha256(snakemake.input.pack),
            "depends": depends,
        }

    @property
    def identity(self) -> dict[str, Any]:
        """All that a checkpoint must agree with: one job's samples are of one device."""
        return self.metadata | {
            "images": self.output.stem,
            "device": device_name(self.device),
            "torch": torch.__version__,
        }

    def make(self) -> None:
        """Make the shard's file, or keep the one that is there where it is still right.

        It is right when its metadata are those that would be written: a moved or copied
        project draws no sample again.

        Raises
        ------
        Interrupted
            If the job was asked to end; what it has found is saved.
        """
        every, meter = self._snakemake.config["checkpoint_seconds"], EnergyMeter(self.device)
        with resume(self.output, self.identity, every=every, stop=self._stop, meter=meter) as work:
            if work.state is None and self._is_done():
                _log.info("%s is what is wanted; it is kept", self.output)
            else:
                self._run(work)

    def _is_done(self) -> bool:
        return Path(self._snakemake.output.provenance).exists() and self._is_right()

    @abstractmethod
    def _is_right(self) -> bool:
        """Tell whether the file that is there, if any, is the one that would come out."""

    @abstractmethod
    def _run(self, work: Work) -> None:
        """Do what is left of the work, and write the file and where it comes from."""

    def _write_provenance(self, record: dict[str, Any], **facts: Any) -> None:
        """Write where the file comes from: its identity, `facts`, and the work's own record."""
        finished = self._provenance.finish(**self.identity, **facts)
        write_json(self._snakemake.output.provenance, finished | record)

    def _read_pack(self) -> Pack:
        """Read the pack of the images, whose classes must be those of the classifiers."""
        path, depends = self._snakemake.input.pack, self._depends
        pack = read_pack(path)
        if self._images[-1] >= len(pack.images):
            raise ValueError(
                f"{path} has {len(pack.images)} images, the shard needs {self.output.stem}"
            )
        for name in depends["classifiers"]:
            check_classes(depends["models"][name]["description"]["classes"], pack.classes, of=name)
        return pack

    def _denoiser(self) -> Denoiser:
        """Return the denoiser, with its weights."""
        name, depends = self._depends["denoiser"], self._depends
        if name == "none":
            return NoDenoiser()
        return load_denoiser(
            depends["models"][name],
            self._snakemake.input[name],
            timestep=depends["timestep"],
            steps=depends["steps"],
        )

    def _classifiers(self) -> dict[str, Classifier]:
        """Return the classifiers by name, with their weights."""
        models, inputs = self._depends["models"], self._snakemake.input
        return {
            name: load_classifier(models[name], inputs[name])
            for name in self._depends["classifiers"]
        }
