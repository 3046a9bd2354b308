"""Models with their weights, by what results depend on (`study.depends.model`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dds.networks import registry
from dds.networks.classifiers import Classifier
from dds.networks.denoisers import DiffusionDenoiser


def load_classifier(model: Mapping[str, Any], path: str | Path) -> Classifier:
    """Build a classifier and load its weights."""
    return registry.load_classifier(model["description"], path, **model["layout"])


def with_drop_path(model: Mapping[str, Any], rate: float | None) -> Mapping[str, Any]:
    """Return a classifier as it is trained: with drop path, which its weights know nothing of.

    The argument is called what timm and the families here call it; the weights are then
    certified in the network without it.
    """
    if not rate:
        return model
    described = model["description"]
    arguments = {**described.get("arguments", {}), "drop_path_rate": rate}
    return {**model, "description": {**described, "arguments": arguments}}


def load_denoiser(
    model: Mapping[str, Any], path: str | Path, *, timestep: str, steps: int | str = 1
) -> DiffusionDenoiser:
    """Build a denoiser and load its weights.

    `steps` is that of an experiment: a whole number, or ``"all"``.
    """
    return registry.load_denoiser(
        model["description"],
        path,
        **model["layout"],
        timestep=timestep,
        steps=0 if steps == "all" else steps,
    )
