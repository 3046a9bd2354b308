"""From the description of a model to a network, with its weights or untrained.

One more model is a description and no code. One more family of networks is one file: in
the package `dds.networks.families`, or the user's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from torch import nn

from dds.extras import needed
from dds.keys import checked
from dds.kinds import is_file, load_file
from dds.networks.classifiers import Classifier
from dds.networks.denoisers import DiffusionDenoiser
from dds.networks.description import ClassifierKeys, DenoiserKeys, NetworkKeys
from dds.networks.families import CONTRACT, FAMILIES
from dds.networks.weights import AwaitingWeights, load_weights
from dds.reasons import first_line

Described = TypeVar("Described", bound=NetworkKeys)


def build_classifier(entry: ClassifierKeys | Mapping[str, Any]) -> Classifier:
    """Build a classifier, untrained.

    Parameters
    ----------
    entry : ClassifierKeys or mapping
        What the network computes, given its weights. Of a mapping, such as an entry of
        ``config/models.yaml``, the keys of `ClassifierKeys` are read and checked: ``network``,
        ``arguments``, ``input``, ``classes``. A network ``FILE.py:FUNCTION`` is built by
        calling that function with ``classes`` (their number), ``channels`` and the arguments;
        a network ``FILE.py`` is a family of networks, as `dds.networks.families` describes.

    Returns
    -------
    Classifier

    Raises
    ------
    ValueError
        If a key is missing or has a wrong value, there is no such network, it is no
        classifier, or it takes no such arguments.

    Examples
    --------
    >>> from dds import build_classifier
    >>> entry = {
    ...     "network": "wide_resnet",
    ...     "arguments": {"depth": 10, "width": 1.0},
    ...     "input": {"channels": 3, "size": 32, "mean": [0.5], "std": [0.5]},
    ...     "classes": ["cat", "dog"],
    ... }
    >>> classifier = build_classifier(entry)
    >>> sum(parameter.numel() for parameter in classifier.parameters())
    77330
    """
    entry = _described(ClassifierKeys, entry, "classifier")
    shape = {"classes": len(entry.classes), "channels": entry.input.channels}
    if _is_function(entry.network):
        network = _built_by_own(entry.network, shape | entry.arguments)
    else:
        network = _build(entry, "classifier", **shape)
    wanted = entry.input
    return Classifier(network, size=wanted.size, mean=wanted.mean, std=wanted.std)


def build_denoiser(
    entry: DenoiserKeys | Mapping[str, Any], *, timestep: str = "nearest", steps: int = 1
) -> DiffusionDenoiser:
    """Build a denoiser, untrained.

    Parameters
    ----------
    entry : DenoiserKeys or mapping
        As `build_classifier` takes it, with the keys of `DenoiserKeys`: ``network``,
        ``arguments``, ``input``, ``schedule``, ``predicts``. A function of the user's own is
        called with the arguments alone.
    timestep, steps
        As in `DiffusionDenoiser`.

    Returns
    -------
    DiffusionDenoiser

    Raises
    ------
    ValueError
        As in `build_classifier`.

    Examples
    --------
    >>> from dds import build_denoiser
    >>> size = {"image_size": 8, "in_channels": 1, "out_channels": 2, "model_channels": 32}
    >>> blocks = {"num_res_blocks": 1, "attention_resolutions": [], "channel_mult": [1]}
    >>> entry = {
    ...     "network": "guided_diffusion_unet",
    ...     "arguments": size | blocks,
    ...     "input": {"channels": 1, "size": 8},
    ...     "schedule": {"name": "cosine", "steps": 4000, "rescale_timesteps": True},
    ... }
    >>> build_denoiser(entry).schedule.timestep(0.25).t
    1158
    """
    entry = _described(DenoiserKeys, entry, "denoiser")
    if _is_function(entry.network):
        network = _built_by_own(entry.network, entry.arguments)
    else:
        network = _build(entry, "denoiser", classes=None, channels=entry.input.channels)
    return DiffusionDenoiser(
        network,
        entry.schedule.build(),
        predicts=entry.predicts,
        timestep=timestep,
        steps=steps,
        size=entry.input.size,
    )


def load_classifier(
    entry: ClassifierKeys | Mapping[str, Any],
    path: str | Path,
    *,
    key: str | None = None,
    strip_prefix: str = "",
) -> Classifier:
    """Build a classifier and load its weights.

    Parameters
    ----------
    entry : ClassifierKeys or mapping
        As `build_classifier` takes it.
    path, key, strip_prefix
        The checkpoint, and how the weights lie in it, as `load_weights` takes them.

    Returns
    -------
    Classifier

    Raises
    ------
    ValueError
        As in `build_classifier`, or if the checkpoint is of another network.
    """
    with AwaitingWeights():
        classifier = build_classifier(entry)
    load_weights(classifier.network, path, key=key, strip_prefix=strip_prefix)
    return classifier


def load_denoiser(
    entry: DenoiserKeys | Mapping[str, Any],
    path: str | Path,
    *,
    timestep: str = "nearest",
    steps: int = 1,
    key: str | None = None,
    strip_prefix: str = "",
) -> DiffusionDenoiser:
    """Build a denoiser and load its weights.

    Parameters
    ----------
    entry : DenoiserKeys or mapping
        As `build_denoiser` takes it.
    path, key, strip_prefix
        The checkpoint, and how the weights lie in it, as `load_weights` takes them.
    timestep, steps
        As in `DiffusionDenoiser`.

    Returns
    -------
    DiffusionDenoiser

    Raises
    ------
    ValueError
        As in `build_classifier`, or if the checkpoint is of another network.
    """
    with AwaitingWeights():
        denoiser = build_denoiser(entry, timestep=timestep, steps=steps)
    load_weights(denoiser.network, path, key=key, strip_prefix=strip_prefix)
    return denoiser


def _described(kind: type[Described], entry: Any, role: str) -> Described:
    """Return an entry with its types checked; keys that describe no network are left out."""
    return entry if isinstance(entry, kind) else checked(kind, entry, role, others=True)


def _is_function(network: str) -> bool:
    """Tell whether a network is written ``FILE.py:FUNCTION``."""
    return is_file(network.rpartition(":")[0])


def _built_by_own(network: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return what the function that ``FILE.py:FUNCTION`` names builds."""
    file, _, function = network.rpartition(":")
    module = load_file(file)
    if not hasattr(module, function):
        raise ValueError(f"network {network}: {file} has no function {function!r}")
    try:
        built = getattr(module, function)(**arguments)
    except Exception as error:  # whatever a user's function may raise
        raise ValueError(
            f"network {network} failed: {type(error).__name__}: {first_line(error)}"
        ) from error
    if not isinstance(built, nn.Module):
        raise ValueError(
            f"network {network} returned {type(built).__name__}, not a torch.nn.Module"
        )
    return built


def _build(entry: NetworkKeys, role: str, *, classes: int | None, channels: int) -> nn.Module:
    """Build a network of a family."""
    family = _family(entry.network, role)
    arguments = entry.arguments
    if not isinstance(arguments, family.Keys):
        arguments = checked(family.Keys, arguments, f"network {entry.network}: arguments")
    with needed():
        return family.build(arguments, classes=classes, channels=channels)


def _family(name: str, role: str) -> ModuleType:
    if name not in FAMILIES.names and not is_file(name):
        raise ValueError(f"network {name} is unknown; {_allowed(role)}")
    family = FAMILIES[name]
    lacking = [part for part in CONTRACT if not hasattr(family, part)]
    if lacking:
        raise ValueError(
            f"network {name} has no {', '.join(lacking)}, which a family of networks needs; "
            f"a function in it is written {name}:FUNCTION"
        )
    if role != family.ROLE:
        raise ValueError(f"network {name} is a {family.ROLE}; {_allowed(role)}")
    return family


def _allowed(role: str) -> str:
    names = [name for name in FAMILIES.names if role == FAMILIES[name].ROLE]
    return f"allowed for a {role}: {', '.join(names)}, FILE.py:FUNCTION, or FILE.py"
