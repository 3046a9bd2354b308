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
_UNET = "UNet2DModel"
#: What arguments are that a file or an entry leaves out, by the class of the network, as in
#: diffusers 0.42 (``models/unets/unet_2d.py``). Where weights are fetched there is no diffusers.
_DEFAULTS: dict[str, dict[str, Any]] = {
    _UNET: {
        "sample_size": None,
        "in_channels": 3,
        "out_channels": 3,
        "center_input_sample": False,
        "time_embedding_type": "positional",
        "time_embedding_dim": None,
        "freq_shift": 0,
        "flip_sin_to_cos": True,
        "down_block_types": ["DownBlock2D", *["AttnDownBlock2D"] * 3],
        "mid_block_type": "UNetMidBlock2D",
        "up_block_types": [*["AttnUpBlock2D"] * 3, "UpBlock2D"],
        "block_out_channels": [224, 448, 672, 896],
        "layers_per_block": 2,
        "mid_block_scale_factor": 1,
        "downsample_padding": 1,
        "downsample_type": "conv",
        "upsample_type": "conv",
        "dropout": 0.0,
        "act_fn": "silu",
        "attention_head_dim": 8,
        "norm_num_groups": 32,
        "attn_norm_num_groups": None,
        "norm_eps": 1e-5,
        "resnet_time_scale_shift": "default",
        "add_attention": True,
        "class_embed_type": None,
        "num_class_embeds": None,
        "num_train_timesteps": None,
    }
}
#: What an argument is that is left out, where its default is not known here; None is a value.
_UNKNOWN = object()


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
        if name == "_class_name" or not str(name).startswith("_")
    }


def published_difference(
    config: Mapping[str, Any], scheduler: Mapping[str, Any], entry: Mapping[str, Any]
) -> str | None:
    """Return where an entry differs from published configuration files; None where nowhere.

    Arguments that one of them leaves out are the library's defaults. Of classes whose defaults
    are not known here the entry must have the arguments that are published, and no others.

    Parameters
    ----------
    config, scheduler : mapping
        As `described` takes them.
    entry : mapping
        With ``arguments``, ``input``, ``schedule`` and ``predicts``.

    Returns
    -------
    str or None
        In words that follow the name of the entry.
    """
    published = described(config, scheduler)
    if difference := _other_argument(_built_with(entry), _built_with(published)):
        return difference
    if entry["predicts"] != published["predicts"]:
        return f"predicts: {entry['predicts']} is published as {published['predicts']}"
    ours, theirs = (ScheduleKeys(**each["schedule"]) for each in (entry, published))
    if ours.build() != theirs.build():
        shown = theirs.model_dump(exclude_defaults=True)
        return f"schedule: {ours.model_dump(exclude_defaults=True)} is published as {shown}"
    return None


def _built_with(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of an entry, which need not repeat what it says of its input."""
    channels, size = (entry["input"][key] for key in ("channels", "size"))
    return {
        "_class_name": _UNET,
        "in_channels": channels,
        "sample_size": size,
        **entry["arguments"],
    }


def _other_argument(ours: Mapping[str, Any], published: Mapping[str, Any]) -> str | None:
    """Return where arguments differ from those of a ``config.json``; None where nowhere."""
    defaults = _DEFAULTS.get(published["_class_name"], {})
    for name in dict.fromkeys([*published, *ours]):
        one, other = (each.get(name, defaults.get(name, _UNKNOWN)) for each in (ours, published))
        if one == other:
            continue
        if name not in published:
            return f"arguments.{name}: {one!r} is not published"
        if name not in ours:
            return f"arguments.{name}: left out, but published as {other!r}"
        return f"arguments.{name}: {one!r} is published as {other!r}"
    return None


def _trained_with(scheduler: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the schedule of an entry, and what the network predicts."""
    kind = scheduler.get("_class_name", "")
    sigmas = {
        key: float(value)
        for key in ("sigma_min", "sigma_max", "sigma_data")
        if (value := scheduler.get(key)) is not None  # None: by the betas
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
    # A number of timesteps is no schedule: those that are not Ho et al.'s have one, too.
    if not {"beta_schedule", "beta_start"} & scheduler.keys():
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
