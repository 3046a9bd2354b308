"""From what a user calls a model to the model, with its weights.

A model is an entry of a file of models, a repository or folder of a library's, or whatever a
function of the user's own returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from dds.commands.running import PATH
from dds.kinds import is_file, load_file

if TYPE_CHECKING:
    from torch import nn

    from dds.networks.denoisers import Denoiser

#: The file of models of whoever works in the project's folder.
_REGISTRY = Path("config/models.yaml")
#: Libraries whose models are named ``timm:NAME`` and ``hf:OWNER/NAME``.
_LIBRARIES = ("timm:", "hf:")
_LONGEST_CHAIN = 50


class Named(NamedTuple):
    """A classifier.

    Attributes
    ----------
    network : Module
        Maps images in [0,1] to logits.
    classes : tuple of str or None
        Names of its classes in their order; None where it does not know them.
    """

    network: nn.Module
    classes: tuple[str, ...] | None


def model_options(*, required: bool = True) -> Any:
    """Return a decorator that adds the options which name a classifier and a denoiser."""

    def add(command: Any) -> Any:
        for option in reversed(
            [
                click.option(
                    "--classifier",
                    required=required,
                    metavar="MODEL",
                    help="An entry of --models, timm:NAME, hf:OWNER/NAME or hf:FOLDER, or "
                    "FILE.py:FUNCTION, which returns a module from images in [0,1] to logits.",
                ),
                click.option(
                    "--denoiser",
                    metavar="MODEL",
                    help="An entry of --models, hf:OWNER/NAME or a folder in the format of "
                    "diffusers, or FILE.py:FUNCTION, which returns a denoiser; without it noisy "
                    "images are classified as they are.",
                ),
                click.option(
                    "--classifier-weights",
                    type=PATH,
                    metavar="FILE",
                    help="Weights of a classifier of --models; by default those of its entry, "
                    "which are downloaded once.",
                ),
                click.option(
                    "--denoiser-weights",
                    type=PATH,
                    metavar="FILE",
                    help="Weights of a denoiser of --models.",
                ),
                click.option(
                    "--models",
                    type=PATH,
                    metavar="FILE",
                    help=f"The file of models (YAML); by default {_REGISTRY}.",
                ),
            ]
        ):
            command = option(command)
        return command

    return add


def find_classifier(name: str, weights: Path | None = None, models: Path | None = None) -> Named:
    """Return the classifier that a user means.

    Parameters
    ----------
    name : str
        An entry of the file of models, ``timm:NAME``, ``hf:OWNER/NAME``, ``hf:FOLDER`` or
        ``FILE.py:FUNCTION``.
    weights : Path, optional
        Weights of an entry, in place of its own.
    models : Path, optional
        The file of models; ``config/models.yaml`` by default.

    Returns
    -------
    Named

    Raises
    ------
    ValueError
        If there is no such model, it is no classifier, or its weights do not fit.
    """
    from torch import nn

    if own := _returned(name):
        _check_no_weights(name, weights)
        (network,) = own
        if not isinstance(network, nn.Module):
            raise ValueError(f"{name} returned {type(network).__name__}, not a torch.nn.Module")
        return Named(network, None)
    if name.startswith(_LIBRARIES):
        from dds.networks.hub_classifiers import hub_classifier

        _check_no_weights(name, weights)
        network = hub_classifier(name)
        return Named(network, network.classes)
    entry = _entry(name, "classifier", models)
    from dds.networks.registry import load_classifier

    names = tuple(_class_names(entry["classes"]))
    path, place = _weights(name, entry, "classifier", weights)
    return Named(load_classifier({**entry, "classes": list(names)}, path, **place), names)


def find_denoiser(
    name: str | None, weights: Path | None = None, models: Path | None = None
) -> Denoiser | None:
    """Return the denoiser that a user means; None for none.

    Parameters
    ----------
    name : str or None
        An entry of the file of models, ``hf:OWNER/NAME``, a folder, or ``FILE.py:FUNCTION``.
    weights, models
        As in `find_classifier`.

    Returns
    -------
    Denoiser or None

    Raises
    ------
    ValueError
        If there is no such model, it is no denoiser, or its weights do not fit.
    """
    if name is None:
        return None
    if own := _returned(name):
        _check_no_weights(name, weights)
        (denoiser,) = own
        if not all(hasattr(denoiser, part) for part in ("denoise", "noise_sigma", "networks")):
            raise ValueError(
                f"{name} returned {type(denoiser).__name__}, which is no denoiser; return "
                "dds.DiffusionDenoiser(network, schedule)"
            )
        return denoiser
    if name.startswith("hf:") or Path(name).is_dir():
        from dds.networks.hub_denoisers import hub_denoiser

        _check_no_weights(name, weights)
        return hub_denoiser(name.removeprefix("hf:"))
    entry = _entry(name, "denoiser", models)
    from dds.networks.registry import load_denoiser

    path, place = _weights(name, entry, "denoiser", weights)
    return load_denoiser(entry, path, **place)


def _returned(name: str) -> tuple[Any] | None:
    """Return what the function returns that ``FILE.py:FUNCTION`` names; None for other names."""
    file, _, function = name.rpartition(":")
    if is_file(name):
        raise ValueError(f"{name}: name the function in it too, as {name}:FUNCTION")
    if not is_file(file):
        return None
    make = getattr(load_file(file), function, None)
    if not callable(make):
        raise ValueError(f"{file} has no function {function}")
    try:
        return (make(),)
    except Exception as error:  # whatever a user's function may raise
        raise ValueError(f"{name} failed: {type(error).__name__}: {error}") from error


def _check_no_weights(name: str, weights: Path | None) -> None:
    if weights is not None:
        raise ValueError(f"{name} brings its own weights; leave {weights} out")


def _entry(name: str, role: str, models: Path | None) -> dict[str, Any]:
    """Return an entry of a file of models, with what it takes over from others."""
    file = models or _REGISTRY
    if models is None and not file.exists():
        raise ValueError(
            f"{role} {name} is neither FILE.py:FUNCTION nor a model of a library "
            f"(hf:OWNER/NAME), and there is no {file} here; name a file of models by --models"
        )
    entries = _read_models(file)
    kinds = {other: _resolved(other, entries, file).get("kind") for other in entries}
    if kinds.get(name) != role:
        known = ", ".join(sorted(other for other, kind in kinds.items() if kind == role))
        what = f"is a {kinds[name]}" if name in kinds else "is not there"
        raise ValueError(f"{role} {name} {what}: {file} has {known or 'none'}")
    return _resolved(name, entries, file)


def _read_models(file: Path) -> Mapping[str, Mapping[str, Any]]:
    import yaml

    try:
        with open(file, encoding="utf-8") as text:
            entries = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is no YAML: {error}") from error
    if not isinstance(entries, dict) or not all(isinstance(e, dict) for e in entries.values()):
        raise ValueError(f"{file} is no file of models, a mapping of names to entries")
    return entries


def _resolved(name: str, entries: Mapping[str, Mapping[str, Any]], file: Path) -> dict[str, Any]:
    """Return an entry with the keys of the one it is like; its own keys win."""
    entry = dict(entries[name])
    for _ in range(_LONGEST_CHAIN):
        if "like" not in entry:
            return entry
        other = entry.pop("like")
        if other not in entries:
            raise ValueError(f"{file}: {name}.like: there is no model {other}")
        entry = {**entries[other], **entry}
    raise ValueError(f"{file}: {name}.like: goes round in a circle")


def _class_names(classes: Any) -> Sequence[str]:
    """Return names of classes, which an entry may keep in a file, one a line."""
    return read_classes(Path(classes)) if isinstance(classes, str) else classes


def read_classes(path: Path) -> list[str]:
    """Read names of classes, one a line in the order of the network's outputs."""
    try:
        names = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8") from error
    return [name.strip() for name in names if name.strip()]


def _weights(
    name: str, entry: Mapping[str, Any], role: str, given: Path | None
) -> tuple[Path, dict[str, str]]:
    """Return where the weights of an entry lie, and where in that file."""
    origin = entry.get("weights", {})
    place = {key: origin[key] for key in ("key", "strip_prefix") if origin.get(key)}
    if given is not None:
        return given, {}
    if "file" in origin:
        return Path(origin["file"]), place
    if "download" in origin:
        return _download(name, origin["download"], role), place
    raise ValueError(
        f"{role} {name} is trained by the workflow; give its weights by --{role}-weights FILE"
    )


def _download(name: str, source: Mapping[str, Any], role: str) -> Path:
    """Return the file at an address: downloaded once, and checked every time."""
    from torch import hub

    from dds.files import sha256
    from dds.origins import digest, file_name

    url, wanted = source["url"], source.get("sha256")
    path = Path(hub.get_dir()) / "dds" / digest(url) / file_name(url)
    problems = []
    for address in (url, *source.get("mirrors", ())):
        if path.exists():
            break
        path.parent.mkdir(parents=True, exist_ok=True)
        click.echo(f"{name}: downloads {address} to {path}", err=True)
        try:
            hub.download_url_to_file(address, str(path), hash_prefix=wanted)
        except (OSError, RuntimeError) as error:
            problems.append(f"{address}: {error}")
    if not path.exists():
        raise ValueError(
            f"{role} {name} cannot be downloaded: {'; '.join(problems)}; download it yourself, "
            f"and give it by --{role}-weights FILE"
        )
    if wanted is not None and sha256(path) != wanted:
        raise ValueError(f"{path} has another SHA-256 than {wanted}; delete it, and run again")
    if "bytes" in source and path.stat().st_size != source["bytes"]:
        raise ValueError(f"{path} has not {source['bytes']:,} bytes; delete it, and run again")
    return path
