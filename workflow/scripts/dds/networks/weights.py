"""Weights of networks in files, as this project writes them and as others publish them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def save_weights(network: nn.Module, path: str | Path) -> None:
    """Write a network's state dict, on the CPU, for `load_weights`.

    Equal weights give equal files, whatever their names.

    Parameters
    ----------
    network : Module
        Whose weights to write.
    path : str or Path
        Where to.

    Examples
    --------
    >>> import tempfile
    >>> from dds import load_weights, save_weights
    >>> path = Path(tempfile.mkdtemp(), "weights.pt")
    >>> trained, untrained = nn.Linear(4, 10), nn.Linear(4, 10)
    >>> save_weights(trained, path)
    >>> load_weights(untrained, path)
    >>> torch.equal(trained.weight, untrained.weight)
    True
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
        If names or shapes do not fit, naming the first that does not, or the file is no
        checkpoint.
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    A checkpoint that was saved in the middle of training, with what else it held:

    >>> import tempfile
    >>> from dds import load_weights
    >>> path = Path(tempfile.mkdtemp(), "checkpoint.pt")
    >>> state = {f"module.{name}": p for name, p in nn.Linear(4, 10).state_dict().items()}
    >>> torch.save({"epoch": 90, "state_dict": state}, path)
    >>> load_weights(nn.Linear(4, 10), path, key="state_dict", strip_prefix="module.")
    >>> load_weights(nn.Linear(4, 2), path, key="state_dict", strip_prefix="module.")
    Traceback (most recent call last):
    ValueError: ...checkpoint.pt: weight has shape (10, 4), the network needs (2, 4)
    """
    state = _read_state(Path(path))
    if key is not None:
        if key not in state:
            raise ValueError(f"{path}: no entry {key!r}; it has {', '.join(list(state)[:8])}")
        state = state[key]
    state = {name.removeprefix(strip_prefix): tensor for name, tensor in state.items()}
    state = _fill_in(network, current_names(network, state))
    _check_fit(state, network.state_dict(), path)
    network.load_state_dict(state)


def current_names(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a checkpoint to what the installed library calls them.

    The transformers library renames layers of its networks between versions, and knows the
    names that published checkpoints have.

    Parameters
    ----------
    network : Module
        The network that the checkpoint is for; of other libraries' nothing is renamed.
    state : mapping of str to Tensor
        The checkpoint, in the names of any version.

    Returns
    -------
    dict of str to Tensor
    """
    if not hasattr(network, "base_model_prefix"):
        return dict(state)
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import apply_renamings

    renamings = get_model_conversion_mapping(network)
    return {apply_renamings(name, renamings): tensor for name, tensor in state.items()}


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


def _fill_in(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop what the network computes by itself, and add the counters of old batch norms."""
    expected = network.state_dict()
    # What a network computes by itself lies in some published files all the same.
    computed = dict(network.named_buffers()).keys() - expected.keys()
    # PyTorch counts the batches of a batch norm since 2018; older files lack the count, and
    # nothing computed here depends on it.
    counters = {
        name: tensor for name, tensor in expected.items() if name.endswith("num_batches_tracked")
    }
    return counters | {name: tensor for name, tensor in state.items() if name not in computed}


def _check_fit(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: str | Path
) -> None:
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


def _first(names: set[str]) -> str:
    return f" (first: {min(names)})" if names else ""
