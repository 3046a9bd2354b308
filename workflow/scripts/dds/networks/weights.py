"""Weights of networks in files, as this project writes them and as others publish them."""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dds.extras import needed
from dds.origins import beginning_of, came_instead

#: What libraries put before the name of every parameter of a network that they wrap.
_WRAPPERS = ("module.", "_orig_mod.")
#: How deep in a checkpoint state dicts are looked for.
_DEEPEST = 4
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7-Zip"}
#: Of a batch norm, how many batches it has seen: nothing computed here depends on it.
_COUNTER = "num_batches_tracked"
_AGAIN = "download or copy it again"
#: What draws the initial values of parameters, at once or in steps.
_DRAWS = {"kaiming_uniform_", "normal_", "trunc_normal_", "erfinv_", "uniform_"}
_STATE_DICT_ALONE = "save its state_dict() alone, with torch.save or safetensors"


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
    network: nn.Module,
    path: str | Path,
    *,
    key: str | None = None,
    strip_prefix: str = "",
    anew: Sequence[str] = (),
) -> None:
    """Load a checkpoint into a network, every parameter or none.

    What a training script saves beside the parameters is passed over. The state dict is
    found where it lies, as long as no more than one entry of the checkpoint fits the
    network, and so are the names under ``module.`` and ``_orig_mod.``, which wrapping a
    network for several GPUs or compiling it leaves.

    Parameters
    ----------
    network : Module
        Changed in place.
    path : str or Path
        A file of ``torch.save`` (read with ``weights_only``, so that it cannot run
        code) or of safetensors, told by its first bytes, whatever it is called. Names that
        the transformers library gave its layers earlier are understood.
    key : str, optional
        Where in the file the state dict lies, where several fit: ``ema``, or ``ema.model``
        for an entry inside an entry. Where none is given and another entry is called ``ema``,
        which may be the average of the weights, a warning names both.
    strip_prefix : str, optional
        Removed from the start of every name, such as ``"module."``. Where the names that start
        with it are all that the network has, the others are passed over, as of a second network.
    anew : sequence of str, optional
        Parts of the network that keep the weights they have, by name, such as ``"head"``: for
        tuning to other classes, or what was pretrained without labels. What else the checkpoint
        has beyond the network is then passed over.

    Raises
    ------
    ValueError
        If names or shapes do not fit, naming the first that does not, several entries
        fit, the network has no part that is to start anew, or the file is no checkpoint or
        damaged; in one line, naming the file.
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
    content = _read(Path(path))
    found = dict(_state_dicts(content))
    if key is not None:
        found = {key: _entry(content, key, path)}
    elif not found:
        raise ValueError(
            f"{path}: holds no state dict, a mapping of names to tensors; {_what_it_holds(content)}"
        )
    named = {place: _named_here(network, state, strip_prefix) for place, state in found.items()}
    if anew:
        kept = _parts_of(network, anew)
        expected = network.state_dict().keys()
        named = {
            place: {name: state[name] for name in state.keys() & expected} | kept
            for place, state in named.items()
        }
    place = _the_one_that_fits(named, network.state_dict().keys(), path)
    _check_fit(named[place], network.state_dict(), path)
    network.load_state_dict(named[place])
    if key is None and not _is_average(place):
        _warn_of_averages(content, place, path)


class AwaitingWeights(TorchFunctionMode):
    """Where networks are built whose weights are then loaded: their parameters are not drawn.

    Drawing hundreds of millions of numbers takes seconds of every job. What a network computes or
    draws for anything but a parameter is left as it is; parameters hold whatever lay in memory
    until `load_weights` has written every one of them.

    Examples
    --------
    >>> with AwaitingWeights():
    ...     network = nn.Linear(4, 10)
    >>> network.weight.shape
    torch.Size([10, 4])
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get("tensor")
        if isinstance(target, nn.Parameter) and getattr(func, "__name__", None) in _DRAWS:
            return target
        return func(*args, **kwargs)


def current_names(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a checkpoint to what the installed library calls them.

    The libraries transformers and diffusers rename layers of their networks between versions,
    and know the names that published checkpoints have.

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
    if rename := getattr(network, "_fix_state_dict_keys_on_load", None):  # of diffusers
        renamed = dict(state)
        rename(renamed)
        return renamed
    if not hasattr(network, "base_model_prefix"):
        return dict(state)
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import apply_renamings

    renamings = get_model_conversion_mapping(network)
    return {apply_renamings(name, renamings): tensor for name, tensor in state.items()}


def check_loaded(report: Mapping[str, Any]) -> None:
    """Refuse a network that a library has loaded, but not all of: the rest of it is random.

    Parameters
    ----------
    report : mapping
        What transformers and diffusers make with ``output_loading_info``.

    Raises
    ------
    ValueError
        In words that follow the name of where the network comes from.

    Examples
    --------
    >>> check_loaded({"missing_keys": ["head.weight", "head.bias"], "mismatched_keys": []})
    Traceback (most recent call last):
    ValueError: its weights do not fit the network: 2 names missing (first: head.bias)
    """
    missing = {name for name in report["missing_keys"] if not name.endswith(_COUNTER)}
    misshapen = {name for name, *_ in report["mismatched_keys"]}
    problems = [f"{len(missing)} names missing{_first(missing)}"] * bool(missing)
    problems += [f"{len(misshapen)} of another shape{_first(misshapen)}"] * bool(misshapen)
    if problems:
        raise ValueError(f"its weights do not fit the network: {', '.join(problems)}")


def _read(path: Path) -> Any:
    """Return what a checkpoint holds, of whichever format it is."""
    if not path.exists():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        return _reader(path)(path)
    except _NoCheckpoint as error:
        raise ValueError(f"{path}: not a readable checkpoint: it {error}") from error


class _NoCheckpoint(Exception):
    """What a file is or holds in the place of a checkpoint, and the cure."""


def _reader(path: Path) -> Callable[[Path], Any]:
    """Return what reads a file, by its first bytes."""
    if not path.is_file():
        raise _NoCheckpoint("is no file")
    beginning = beginning_of(path)
    if what := came_instead(beginning):
        raise _NoCheckpoint(f"is {what}; {_AGAIN}")
    for mark, program in _COMPRESSED.items():
        if beginning.startswith(mark):
            raise _NoCheckpoint(f"is compressed by {program}; unpack it")
    if beginning[8:9] == b"{":  # after the length of the header, which is JSON
        return _read_safetensors
    if beginning.startswith((b"PK\3\4", b"\x80")):  # a zip archive, or a pickle as before 2020
        return _read_torch
    raise _NoCheckpoint(
        f"is no file of torch.save or safetensors; {_STATE_DICT_ALONE}, or {_AGAIN}"
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with needed():
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise _NoCheckpoint(
            f"is a safetensors file that is cut off or damaged ({reason}); {_AGAIN}"
        ) from error


def _read_torch(path: Path) -> Any:
    try:
        # What argparse has read from a command line lies in many a checkpoint, and is harmless.
        harmless = torch.serialization.safe_globals([argparse.Namespace])
        with harmless, path.open("rb") as file:  # given a name, torch would look at its ending
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a damaged or foreign file
        reason = str(error)
        if foreign := re.search(r"GLOBAL ([\w.]+)", reason):
            raise _NoCheckpoint(
                f"holds Python objects ({foreign[1]}), which are not loaded, since they could "
                f"run code; {_STATE_DICT_ALONE}"
            ) from error
        if "TorchScript" in reason:
            raise _NoCheckpoint(f"is a program of TorchScript; {_STATE_DICT_ALONE}") from error
        raise _NoCheckpoint(
            f"is no file of torch.save, or is cut off or damaged; {_AGAIN}"
        ) from error


def _state_dicts(content: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield every mapping of names to tensors in a checkpoint, and the path of keys to it."""
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return
    if any(isinstance(tensor, Tensor) for tensor in _named(content).values()):
        yield place, _tensors(content)
    for name, inner in _named(content).items():
        yield from _state_dicts(inner, f"{place}.{name}" if place else name, depth + 1)


def _named(content: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if isinstance(name, str)}


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in _named(content).items() if isinstance(value, Tensor)}


def _entry(content: Any, key: str, path: str | Path) -> dict[str, Tensor]:
    """Return the state dict at a key, or at a path of keys."""
    inner, rest = content, key
    while rest:
        if not isinstance(inner, Mapping):
            raise ValueError(f"{path}: no entry {key!r}; {_what_it_holds(content)}")
        # The longest key that is there, since keys may have dots in them.
        parts = rest.split(".")
        heads = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
        head = next((head for head in heads if head in inner), None)
        if head is None:
            raise ValueError(f"{path}: no entry {key!r}; {_what_it_holds(content)}")
        inner, rest = inner[head], rest[len(head) + 1 :]
    tensors = _tensors(inner) if isinstance(inner, Mapping) else {}
    if not tensors:
        raise ValueError(
            f"{path}: entry {key!r} is no mapping of names to tensors; {_what_it_holds(inner)}"
        )
    return tensors


def _what_it_holds(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"it has {', '.join(str(name) for name in list(content)[:8]) or 'no entries'}"
    return f"it is of type {type(content).__name__}"


def _renamed(network: nn.Module, state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Remove what the names of a checkpoint begin with, and the network's do not."""
    expected = network.state_dict().keys()
    names = {name: name.removeprefix(prefix) for name in state}
    for wrapper in _WRAPPERS * 2:  # either may be around the other
        if all(name.startswith(wrapper) for name in names.values()) and not any(
            name.startswith(wrapper) for name in expected
        ):
            names = {name: inner.removeprefix(wrapper) for name, inner in names.items()}
    renamed = {inner: state[name] for name, inner in names.items()}
    return renamed if len(renamed) == len(state) else dict(state)


def _named_here(network: nn.Module, state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return a state dict in the names of a network; what lies behind a prefix alone, if it fits.

    A training script may save several networks in one state dict, each behind a prefix.
    """

    def completed(part: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return _fill_in(network, current_names(network, _renamed(network, part, prefix)))

    for whole in (state, _renamed(network, state, "")) if prefix else ():
        part = {name: tensor for name, tensor in whole.items() if name.startswith(prefix)}
        if (alone := completed(part)).keys() == network.state_dict().keys():
            return alone
    return completed(state)


def _the_one_that_fits(
    found: Mapping[str, dict[str, Tensor]], expected: Set[str], path: str | Path
) -> str:
    """Return where the only state dict has the names of a network; if none has, the nearest."""
    fitting = [place for place, state in found.items() if state.keys() == expected]
    if "" in fitting:  # the whole file, which needs no key
        return ""
    if len(fitting) > 1:
        raise ValueError(
            f"{path}: entries {' and '.join(fitting)} fit the network; say which by its key"
        )
    place, *_ = fitting or sorted(found, key=lambda place: -len(found[place].keys() & expected))
    return place


def _warn_of_averages(content: Any, place: str, path: str | Path) -> None:
    """Name what may be an average of the weights beside those that are loaded."""
    average = next(_averages(content), None)  # one is enough
    if average is None:
        return
    loaded = f"entry {place}" if place else "the whole file"
    warnings.warn(
        f"{path}: {loaded} is loaded, not {average}, which may be the average of the weights "
        "that published results are of; say by key which is meant",
        stacklevel=3,
    )


def _averages(content: Any, place: str = "", depth: int = 0) -> Iterator[str]:
    """Yield the path of keys to every entry with tensors that is called an average of weights.

    Averages may be no state dict that fits: the lists of tensors of score_sde, say, or both
    networks of ema_pytorch in one.
    """
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return
    for name, inner in _named(content).items():
        inside = f"{place}.{name}" if place else name
        if _is_average(name) and _has_tensors(inner):
            yield inside
        else:
            yield from _averages(inner, inside, depth + 1)


def _is_average(name: str) -> bool:
    return "ema" in name.lower()


def _has_tensors(entry: Any) -> bool:
    """Tell whether an entry is a mapping or list of tensors, or holds one."""
    if isinstance(entry, Mapping):
        entry = list(entry.values())
    if not isinstance(entry, list | tuple):
        return False
    return any(isinstance(one, Tensor) or _has_tensors(one) for one in entry)


def _fill_in(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop what the network computes by itself, and add the counters of old batch norms."""
    expected = network.state_dict()
    # What a network computes by itself lies in some published files all the same.
    computed = dict(network.named_buffers()).keys() - expected.keys()
    # PyTorch counts the batches of a batch norm since 2018; older files lack the count.
    counters = {name: tensor for name, tensor in expected.items() if name.endswith(_COUNTER)}
    return counters | {name: tensor for name, tensor in state.items() if name not in computed}


def _parts_of(network: nn.Module, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the tensors of parts of a network, such as ``head.weight`` and ``head.bias``."""
    found: dict[str, Tensor] = {}
    for part in names:
        inside = {
            name: tensor
            for name, tensor in network.state_dict().items()
            if name == part or name.startswith(f"{part}.")
        }
        if not inside:
            parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in network.state_dict()))
            raise ValueError(f"anew: the network has no part {part}; it has {parts}")
        found |= inside
    return found


def _check_fit(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: str | Path
) -> None:
    missing, unexpected = expected.keys() - state.keys(), state.keys() - expected.keys()
    if missing or unexpected:
        raise ValueError(
            f"{path}: does not fit the network: {len(missing)} names missing"
            f"{_first(missing)}, {len(unexpected)} unknown{_first(unexpected)}"
            f"{_hint(state.keys(), expected.keys())}"
        )
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            raise ValueError(
                f"{path}: {name} has shape {tuple(state[name].shape)}, "
                f"the network needs {tuple(tensor.shape)}"
            )
        if tensor.is_floating_point() and not state[name].is_floating_point():
            raise ValueError(
                f"{path}: {name} is of type {state[name].dtype}, the network needs {tensor.dtype}; "
                "quantised weights are not supported"
            )


def _first(names: set[str]) -> str:
    return f" (first: {min(names)})" if names else ""


def _hint(names: Set[str], expected: Set[str]) -> str:
    """Name what the names of the network stand behind in the checkpoint, if that is all."""
    first = min(expected, default="")
    prefixes = [
        prefix
        for prefix in sorted({name.removesuffix(first) for name in names if name.endswith(first)})
        if prefix and all(f"{prefix}{name}" in names for name in expected)
    ]
    return f"; strip_prefix {' or '.join(prefixes)} would make names fit" if prefixes else ""
