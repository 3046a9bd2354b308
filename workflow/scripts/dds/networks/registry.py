"""From an entry of the model registry to a network with its weights.

One more family of networks is one function and one line in `DENOISERS` or
`CLASSIFIERS`; one more model is an entry in the registry and no code.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dds.networks.classifiers import (
    Classifier,
    WideResNet,
    current_names,
    timm_network,
    transformers_vit,
)  # fmt: skip
from dds.networks.denoisers import DiffusionDenoiser, guided_diffusion_unet
from dds.networks.schedules import build_schedule

DENOISERS: dict[str, Callable[..., nn.Module]] = {"guided_diffusion_unet": guided_diffusion_unet}
CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {
    "timm": timm_network,
    "transformers_vit": transformers_vit,
    "wide_resnet": WideResNet,
}


def build_classifier(entry: Mapping[str, Any]) -> Classifier:
    """Build a classifier, untrained, from its registry entry.

    Parameters
    ----------
    entry : mapping
        Keys ``network``, ``arguments``, ``input``, ``classes`` as config/README.md
        describes them. A network ``path/file.py:function`` is built by calling that
        function with ``classes``, ``channels`` and the arguments.

    Returns
    -------
    Classifier
    """
    wanted = entry["input"]
    network = _factory(entry["network"], CLASSIFIERS)(
        classes=len(entry["classes"]), channels=wanted["channels"], **entry.get("arguments", {})
    )
    return Classifier(
        network,
        size=wanted["size"],
        mean=wanted.get("mean", (0.0,)),
        std=wanted.get("std", (1.0,)),
    )


def build_denoiser(
    entry: Mapping[str, Any], *, timestep: str = "nearest", steps: int = 1
) -> DiffusionDenoiser:
    """Build a denoiser, untrained, from its registry entry.

    Parameters
    ----------
    entry : mapping
        Keys ``network``, ``arguments``, ``schedule`` as config/README.md describes them.
    timestep, steps
        As in `DiffusionDenoiser`.

    Returns
    -------
    DiffusionDenoiser
    """
    network = _factory(entry["network"], DENOISERS)(**entry.get("arguments", {}))
    schedule = build_schedule(**entry["schedule"])
    return DiffusionDenoiser(network, schedule, timestep=timestep, steps=steps)


def load_classifier(entry: Mapping[str, Any], path: str | Path) -> Classifier:
    """Build a classifier and load its weights.

    Parameters
    ----------
    entry : mapping
        As `build_classifier` takes it; the keys ``key`` and ``strip_prefix`` of its
        ``weights`` say how they lie in the file, as `load_weights` takes them.
    path : str or Path
        The checkpoint.

    Returns
    -------
    Classifier

    Raises
    ------
    ValueError
        If the checkpoint is of another network.
    """
    classifier = build_classifier(entry)
    load_weights(classifier.network, path, **_layout(entry))
    return classifier


def load_denoiser(
    entry: Mapping[str, Any], path: str | Path, *, timestep: str = "nearest", steps: int = 1
) -> DiffusionDenoiser:
    """Build a denoiser and load its weights; `build_denoiser` and `load_classifier` in one."""
    denoiser = build_denoiser(entry, timestep=timestep, steps=steps)
    load_weights(denoiser.network, path, **_layout(entry))
    return denoiser


def _layout(entry: Mapping[str, Any]) -> dict[str, str]:
    weights = entry.get("weights", {})
    return {key: weights[key] for key in ("key", "strip_prefix") if key in weights}


def save_weights(network: nn.Module, path: str | Path) -> None:
    """Write a network's state dict, on the CPU, for `load_weights`.

    Equal weights give equal files, whatever their names.
    """
    with Path(path).open("wb") as file:  # given a name, torch would write it into the file
        torch.save({name: tensor.cpu() for name, tensor in network.state_dict().items()}, file)


def load_weights(
    network: nn.Module, path: str | Path, *, key: str | None = None, strip_prefix: str = ""
) -> None:
    """Load a checkpoint into a network, every parameter or none.

    Parameters
    ----------
    network : Module
        Changed in place.
    path : str or Path
        A file of ``torch.save`` (read with ``weights_only``, so that it cannot run
        code) or of safetensors (``.safetensors``). Names that the transformers
        library gave its layers earlier are understood.
    key : str, optional
        Where in the file the state dict lies, when it is not the whole.
    strip_prefix : str, optional
        Removed from the start of every name, such as ``"module."``.

    Raises
    ------
    ValueError
        If names or shapes do not fit, naming the first that does not.
    """
    state = _read_state(Path(path))
    if key is not None:
        if key not in state:
            raise ValueError(f"{path}: no entry {key!r}; it has {', '.join(list(state)[:8])}")
        state = state[key]
    state = {name.removeprefix(strip_prefix): tensor for name, tensor in state.items()}
    expected = network.state_dict()
    # What a network computes by itself lies in some published files all the same.
    computed = dict(network.named_buffers()).keys() - expected.keys()
    state = {
        name: tensor
        for name, tensor in current_names(network, state).items()
        if name not in computed
    }
    # PyTorch counts the batches of a batch norm since 2018; older files lack the count, and
    # nothing computed here depends on it.
    counters = {
        name: tensor for name, tensor in expected.items() if name.endswith("num_batches_tracked")
    }
    state = counters | state
    missing, unexpected = expected.keys() - state.keys(), state.keys() - expected.keys()
    if missing or unexpected:
        raise ValueError(
            f"{path}: does not fit the network: {len(missing)} names missing"
            f"{_first(missing)}, {len(unexpected)} unknown{_first(unexpected)}"
        )
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            raise ValueError(
                f"{path}: {name} has shape {tuple(state[name].shape)}, "
                f"the network needs {tuple(tensor.shape)}"
            )
    network.load_state_dict(state)


def _first(names: set[str]) -> str:
    return f" (first: {min(names)})" if names else ""


def _read_state(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileNotFoundError(f"no weights at {path}")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a damaged or foreign file
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: not a readable checkpoint: {reason}") from error


def _factory(name: str, known: Mapping[str, Callable[..., nn.Module]]) -> Callable[..., nn.Module]:
    """Return the function that builds networks of a family or of a user's own file."""
    if name in known:
        return known[name]
    file, separator, function = name.rpartition(":")
    if not separator:
        raise ValueError(
            f"unknown network {name!r}; allowed: {', '.join(known)}, or FILE.py:FUNCTION"
        )
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or not Path(file).exists():
        raise FileNotFoundError(f"network {name!r}: no Python file {file}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, function):
        raise ValueError(f"network {name!r}: {file} has no function {function!r}")
    return getattr(module, function)
