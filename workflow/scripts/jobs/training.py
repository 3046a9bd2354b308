"""What the three training rules share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dds.data.packs import Pack, check_classes, read_pack
from dds.files import atomic_path, sha256, write_json
from dds.networks.training import Recipe, Resume
from dds.networks.weights import save_weights
from dds.seeds import stream_seed
from jobs.device import device_name, prepare_device
from jobs.job import defer_signals
from jobs.provenance import Provenance


class TrainingJob:
    """A training rule's inputs, ready to use, and its outputs, written at the end.

    Parameters
    ----------
    snakemake : object
        The object Snakemake gives the script.
    source : {"train", "finetune"}
        The key of the model's ``weights`` that holds the recipe.

    Attributes
    ----------
    settings : dict
        ``recipe``, ``seed``, ``label``, ``device`` and ``resume``, as the functions
        of `dds.networks.training` take them.
    """

    def __init__(self, snakemake: Any, source: str) -> None:
        self._provenance = Provenance()
        self._output = snakemake.output
        params, inputs = snakemake.params, snakemake.input
        self.device = prepare_device(snakemake.config["device"], snakemake.threads)
        self.train: Pack = read_pack(inputs.train)
        self.validation: Pack = read_pack(inputs.validation)
        if "classes" in params.model:
            name = snakemake.wildcards.weights
            check_classes(params.model["classes"], self.train.classes, of=name)
        self._identity = {
            "model": snakemake.wildcards.weights,
            "entry": params.model,
            "seed": params.seed,
            "inputs": {name: sha256(path) for name, path in inputs.items()},
        }
        name = f"{source} {snakemake.wildcards.weights}"
        self.settings = {
            "recipe": Recipe.from_entry(params.model["weights"][source]),
            "seed": params.seed,
            "label": name,
            "device": self.device,
            "resume": Resume(Path(params.state), self._identity, stop=defer_signals()),
        }
        torch.manual_seed(stream_seed(params.seed, f"{name}/initial weights"))

    def finish(self, network: torch.nn.Module, **facts: Any) -> None:
        """Write the weights and where they come from, and forget the run's state."""
        with atomic_path(self._output.weights) as temporary:
            save_weights(network, temporary)
        facts |= {
            "weights": sha256(self._output.weights),
            "device": device_name(self.device),
            "precision": self.settings["recipe"].precision,
        }
        write_json(self._output.provenance, self._provenance.finish(**self._identity, **facts))
        self.settings["resume"].path.unlink(missing_ok=True)
