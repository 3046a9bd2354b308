"""What the configuration files of a repository in diffusers' format say of a denoiser.

``config.json`` names the class of the network and its arguments, ``scheduler_config.json`` how
the network was trained: which noise schedule, and what it predicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dds.networks.description import ScheduleKeys

_PREDICTIONS = {"epsilon": "noise", "sample": "x0", "v_prediction": "v"}
_BETAS = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}


def configurations(weights: str) -> tuple[str, str]:
    """Return where a repository has the configurations beside a network's weights.

    Parameters
    ----------
    weights : str
        The file of the weights in it; in a folder of their own where there is a pipeline.

    Returns
    -------
    config, scheduler : str

    Examples
    --------
    >>> from dds.networks.hub import configurations
    >>> configurations("unet/diffusion_pytorch_model.bin")
    ('unet/config.json', 'scheduler/scheduler_config.json')
    """
    folder, inside, _ = weights.rpartition("/")
    scheduler = "scheduler/scheduler_config.json" if inside else "scheduler_config.json"
    return f"{folder}{inside}config.json", scheduler


def described(config: Mapping[str, Any], scheduler: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a denoiser, as `dds.build_denoiser` takes it.

    Parameters
    ----------
    config : mapping
        A ``config.json``, of a network that denoises images of its ``sample_size``.
    scheduler : mapping
        The ``scheduler_config.json`` beside it. Schedulers that only differ in how they sample
        say the same of the network.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If there is no such entry, saying why.

    Examples
    --------
    >>> from dds.networks.hub import described
    >>> config = {"_class_name": "UNet2DModel", "in_channels": 3, "sample_size": 32}
    >>> scheduler = {"_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2"}
    >>> entry = described(config, scheduler)
    >>> entry["schedule"], entry["predicts"]
    ({'name': 'cosine', 'steps': 1000}, 'noise')
    """
    size = config.get("sample_size")
    if not isinstance(size, int):
        raise ValueError(f"sample_size of config.json is {size}; it must be a whole number")
    schedule, predicts = _trained_with(scheduler)
    return {
        "network": "diffusers",
        "arguments": arguments_of(config),
        "input": {"channels": config.get("in_channels", 3), "size": size},
        "schedule": schedule,
        "predicts": predicts,
    }


def arguments_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a ``config.json`` describes the network: its class and its arguments."""
    return {
        name: value
        for name, value in config.items()
        if name == "_class_name" or not name.startswith("_")
    }


def published_difference(
    config: Mapping[str, Any], scheduler: Mapping[str, Any], entry: Mapping[str, Any]
) -> str | None:
    """Return where an entry differs from published configuration files; None where nowhere.

    What the files or the entry leave to the library's defaults is not compared: whether the
    weights fit tells of it.

    Parameters
    ----------
    config, scheduler : mapping
        As `described` takes them.
    entry : mapping
        With ``arguments``, ``schedule`` and ``predicts``.

    Returns
    -------
    str or None
        In words that follow the name of the entry.
    """
    published = described(config, scheduler)
    for name, value in published["arguments"].items():
        ours = entry["arguments"].get(name, value)
        if ours != value:
            return f"arguments.{name}: {ours!r} is published as {value!r}"
    if entry["predicts"] != published["predicts"]:
        return f"predicts: {entry['predicts']} is published as {published['predicts']}"
    ours, theirs = (ScheduleKeys(**each["schedule"]) for each in (entry, published))
    if ours.build() != theirs.build():
        shown = theirs.model_dump(exclude_defaults=True)
        return f"schedule: {ours.model_dump(exclude_defaults=True)} is published as {shown}"
    return None


def _trained_with(scheduler: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the schedule of an entry, and what the network predicts."""
    kind = scheduler.get("_class_name", "")
    sigmas = {
        key: float(scheduler[key])
        for key in ("sigma_min", "sigma_max", "sigma_data")
        if key in scheduler
    }
    if kind == "CMStochasticIterativeScheduler":
        return {"name": "sigma", **sigmas}, "consistency"
    predicts = scheduler.get("prediction_type", "epsilon")
    if kind.startswith("EDM"):
        if predicts != "epsilon":
            raise ValueError(f"{kind} with prediction_type {predicts} is not supported")
        return {"name": "sigma", **sigmas}, "edm"
    if kind.startswith("FlowMatch"):
        return {
            "name": "flow",
            "time_scale": float(scheduler.get("num_train_timesteps", 1000)),
        }, "flow"
    if predicts not in _PREDICTIONS:
        raise ValueError(
            f"{kind} with prediction_type {predicts} is not supported; allowed: "
            f"{', '.join(_PREDICTIONS)}"
        )
    return _of_betas(scheduler), _PREDICTIONS[predicts]


def _of_betas(scheduler: Mapping[str, Any]) -> dict[str, Any]:
    kind, form = scheduler.get("_class_name", ""), scheduler.get("beta_schedule", "linear")
    if scheduler.get("rescale_betas_zero_snr"):
        raise ValueError(f"{kind} with rescale_betas_zero_snr ends in pure noise; not supported")
    if betas := scheduler.get("trained_betas"):
        left, alphas = 1.0, []
        for beta in betas:
            left *= 1 - beta
            alphas.append(left)
        return {"name": "alphas_cumprod", "alphas_cumprod": alphas}
    if not {"beta_schedule", "beta_start", "num_train_timesteps"} & scheduler.keys():
        raise ValueError(f"{kind or 'the scheduler'} says no noise schedule that is known here")
    if form not in _BETAS:
        raise ValueError(
            f"{kind} with beta_schedule {form} is not supported; allowed: {', '.join(_BETAS)}"
        )
    steps = scheduler.get("num_train_timesteps", 1000)
    if form == "squaredcos_cap_v2":
        return {"name": "cosine", "steps": steps}
    betas = {"beta_start": scheduler.get("beta_start", 1e-4)}
    betas |= {"beta_end": scheduler.get("beta_end", 0.02)}
    return {"name": _BETAS[form], "steps": steps, **betas}
