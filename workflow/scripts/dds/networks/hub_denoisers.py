"""Denoisers of the diffusers library, from its hub or from a folder."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from os.path import expanduser
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from dds.networks.denoisers import DiffusionDenoiser
from dds.networks.hub import described
from dds.networks.registry import build_denoiser
from dds.networks.weights import check_loaded


def hub_denoiser(
    name_or_folder: str | Path,
    *,
    revision: str | None = None,
    timestep: str = "nearest",
    steps: int = 1,
) -> DiffusionDenoiser:
    """Load a diffusion model in diffusers' format as a denoiser, with its weights.

    What the network predicts and its noise schedule are read from its
    ``scheduler_config.json``.

    Parameters
    ----------
    name_or_folder : str or Path
        A repository on the hub, such as ``"google/ddpm-cifar10-32"``, which diffusers
        downloads and keeps; ``hf:`` may stand before it, as before that of a classifier. Or a
        folder that has the same files, which needs no network. The network lies in it or in
        ``unet``, the scheduler's file in it or in ``scheduler``.
    revision : str, optional
        A commit, tag or branch of the repository; by default its main branch.
    timestep, steps
        As in `DiffusionDenoiser`.

    Returns
    -------
    DiffusionDenoiser
        On the CPU, in float32.

    Raises
    ------
    ValueError
        If there is no such repository or folder, the network wants a class or a text, works in
        a latent space, its schedule is not known here, or its weights do not fit; in one line.

    Examples
    --------
    A small network, saved and loaded again:

    >>> import tempfile
    >>> import diffusers
    >>> from dds import hub_denoiser
    >>> folder = tempfile.mkdtemp()
    >>> blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    >>> size = {"sample_size": 8, "block_out_channels": (8,), "norm_num_groups": 4}
    >>> unet = diffusers.UNet2DModel(**size, **blocks)
    >>> scheduler = diffusers.DDIMScheduler(prediction_type="v_prediction")
    >>> diffusers.DDIMPipeline(unet, scheduler).save_pretrained(folder)
    >>> denoiser = hub_denoiser(folder)
    >>> denoiser.predicts, denoiser.schedule.steps
    ('v', 1000)
    """
    source = expanduser(str(name_or_folder).removeprefix("hf:"))
    if source.startswith((".", "/")) and not Path(source).is_dir():
        raise ValueError(f"there is no folder {source}")
    config, inside = _config(diffusers.UNet2DModel, source, ("", "unet"), revision)
    if inside:
        _check_images(source, revision)
    scheduler, _ = _config(diffusers.DDPMScheduler, source, ("", "scheduler"), revision)
    try:
        with torch.device("meta"):  # as an entry is built, with all that is checked there
            denoiser = build_denoiser(described(config, scheduler), timestep=timestep, steps=steps)
        network, report = _class(config["_class_name"]).from_pretrained(
            source,
            subfolder=inside or None,
            revision=revision,
            torch_dtype=torch.float32,
            low_cpu_mem_usage=False,  # which needs another package, and says so
            ignore_mismatched_sizes=True,  # which the report names
            output_loading_info=True,
        )
        check_loaded(report)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{source}: {_one_line(error)}") from error
    denoiser.network = _told_alone(network)
    return denoiser.eval()


def build_network(class_name: str, options: Mapping[str, Any]) -> nn.Module:
    """Build a network of diffusers', untrained, which is called with images and times alone.

    Parameters
    ----------
    class_name : str
        Its class in diffusers.
    options : mapping
        Its arguments, as a ``config.json`` holds them.

    Returns
    -------
    Module
        Its parameters have the names that diffusers gives them.

    Raises
    ------
    ValueError
        If there is no such network, it has no such arguments, or it must be told more.
    """
    kind = _class(class_name)
    taken = inspect.signature(kind.__init__).parameters
    if unknown := [name for name in options if name not in taken]:
        raise ValueError(f"diffusers' {class_name} has no argument {unknown[0]}")
    try:
        network = kind(**options)
    except Exception as error:  # diffusers and its many networks raise whatever they like
        reason = _one_line(error)
        raise ValueError(f"diffusers cannot build {class_name}: {reason}") from error
    if defaults := network.config.get("_use_default_values"):
        # They come out of a set, in another order in every process.
        network.register_to_config(_use_default_values=sorted(defaults))
    return _told_alone(network)


def _class(name: str) -> Any:
    """Return a class of networks that can be called with images and times alone."""
    kind: Any = getattr(diffusers, name, None)
    is_network = isinstance(kind, type) and issubclass(kind, diffusers.ModelMixin)
    if not is_network:
        raise ValueError(f"diffusers has no network {name}")
    _, *parameters = inspect.signature(kind.forward).parameters.values()
    needed = [one.name for one in parameters if one.default is one.empty][2:]
    if needed or len(parameters) < 2 or parameters[1].name not in ("timestep", "timesteps"):
        wants = f"wants {needed[0]}" if needed else "is told no time"
        raise ValueError(
            f"network {name} {wants}; a denoiser is called with images and their time alone"
        )
    return kind


def _told_alone(network: nn.Module) -> nn.Module:
    """Let a network take images and times, and return a tensor, in place; its names stay."""
    kind: Any = type(network)

    class ToldAlone(kind):
        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            return super().forward(x, time, return_dict=False)[0]

    network.__class__ = ToldAlone
    return network


def _config(
    kind: Any, source: str, places: tuple[str, ...], revision: str | None
) -> tuple[dict[str, Any], str]:
    """Return the configuration of a network or scheduler, and the folder where it was found."""
    for place in places:
        if place and Path(source).is_dir() and not Path(source, place).is_dir():
            continue
        try:
            found = kind.load_config(source, subfolder=place or None, revision=revision)
        except (OSError, ValueError) as error:
            failed = error
        else:
            return dict(found), place
    raise ValueError(f"{source}: {_one_line(failed)}") from failed


def _check_images(source: str, revision: str | None) -> None:
    """Refuse a pipeline whose network denoises what another one makes of images."""
    try:
        parts, _ = _config(diffusers.DiffusionPipeline, source, ("",), revision)
    except ValueError:  # a network in a folder needs no pipeline around it
        return
    for name in ("vae", "vqvae"):
        if any(parts.get(name) or ()):  # one that a pipeline goes without is [null, null]
            raise ValueError(
                f"{source}: its network works in the latent space of a {name}; allowed are those "
                "that denoise images themselves"
            )


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]
