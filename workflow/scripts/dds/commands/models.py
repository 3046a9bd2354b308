"""From what a user calls a model to the model, with its weights.

A model is an entry of a file of models, a repository or folder of a library's, or whatever a
function of the user's own returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dds.commands.running import PATH, added, how_many
from dds.differences import patched
from dds.kinds import is_file, load_file
from dds.names import for_sigma

if TYPE_CHECKING:
    from torch import nn

    from dds.networks.denoisers import Denoiser
    from dds.networks.description import ClassifierKeys, DenoiserKeys
    from dds.origins import HubDownload

#: The file of models of whoever works in the project's folder.
_REGISTRY = Path("config/models.yaml")
#: The studies beside it, by name.
_STUDIES = Path("config/studies")
#: Libraries whose models are named ``timm:NAME`` and ``hf:OWNER/NAME``.
_LIBRARIES = ("timm:", "hf:")
_LONGEST_CHAIN = 50


def model_options(*, required: bool = True) -> Callable[[Any], Any]:
    """Return a decorator that adds the options which name a classifier and a denoiser."""
    return added(
        click.option(
            "--classifier",
            required=required,
            metavar="MODEL",
            help="timm:NAME, hf:OWNER/NAME, a folder of save_pretrained, an entry of --models, or "
            "FILE.py:FUNCTION, which returns a module from images in [0,1] to logits.",
        ),
        click.option(
            "--denoiser",
            metavar="MODEL",
            help="hf:OWNER/NAME or a folder in diffusers' format, an entry of --models, or "
            "FILE.py:FUNCTION, which returns a denoiser; without one, noisy images are "
            "classified as they are.",
        ),
        click.option(
            "--classifier-weights",
            type=PATH,
            metavar="FILE",
            help="Weights of an entry of --models, in place of its own.",
        ),
        click.option(
            "--denoiser-weights", type=PATH, metavar="FILE", help="The same for the denoiser."
        ),
        click.option(
            "--models",
            type=PATH,
            metavar="FILE",
            help="A file of models, or a study's file or name; by default "
            f"{_REGISTRY}, where it is there.",
        ),
    )


#: Options of how networks run.
running_options = added(
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=100,
        show_default=True,
        metavar="N",
        help="Noisy images that the networks see at a time.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["float32", "bfloat16"]),
        default="float32",
        show_default=True,
        help="Of matrix products and convolutions.",
    ),
    click.option(
        "--device",
        multiple=True,
        help="Where networks run, as cuda, cuda:1 or cpu; several share the images. By default a "
        "GPU, if there is one.",
    ),
)


def default_device() -> str:
    """Return where networks run if nothing is said: on a GPU, if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def find_classifier(
    name: str,
    weights: Path | None = None,
    models: Path | None = None,
    *,
    sigma: float | None = None,
    channels: int | None = None,
) -> nn.Module:
    """Return the classifier that a user means.

    Parameters
    ----------
    name : str
        ``timm:NAME``, ``hf:OWNER/NAME``, a folder of ``save_pretrained``, an entry of the file of
        models, or ``FILE.py:FUNCTION``.
    weights : Path, optional
        Weights of an entry, in place of its own.
    models : Path, optional
        The file of models; ``config/models.yaml`` by default.
    sigma : float, optional
        Noise level, of which some entries have weights of their own.
    channels : int, optional
        Those of the images that it is for; an entry says which it takes.

    Returns
    -------
    Module
        From images in [0,1] to logits; its ``classes``, where it has them, are the names of its
        classes in their order.

    Raises
    ------
    ValueError
        If there is no such model, it is no classifier, its weights do not fit, or it takes images
        of other channels.
    """
    from torch import nn

    if own := _returned(name):
        _check_no_weights(name, weights)
        (network,) = own
        if not isinstance(network, nn.Module):
            raise ValueError(f"{name} returned {type(network).__name__}, not a torch.nn.Module")
        from dds.networks.hub_classifiers import as_classifier

        return as_classifier(network)
    if name.startswith(_LIBRARIES) or Path(name).is_dir():
        from dds.networks.hub_classifiers import hub_classifier

        _check_no_weights(name, weights)
        return hub_classifier(name)
    entry = _entry(name, "classifier", models)
    from dds.keys import checked
    from dds.networks.description import ClassifierKeys
    from dds.networks.registry import load_classifier

    if isinstance(entry.get("classes"), str):
        entry["classes"] = read_classes(Path(entry["classes"]))
    network = checked(ClassifierKeys, entry, name, others=True)
    _check_channels(name, network, channels)
    path, place = _weights(name, entry, "classifier", weights, sigma)
    classifier = load_classifier(network, path, **place)
    classifier.classes = tuple(network.classes)
    return classifier


def find_denoiser(
    name: str | None,
    weights: Path | None = None,
    models: Path | None = None,
    *,
    channels: int | None = None,
) -> Denoiser | None:
    """Return the denoiser that a user means; None for none.

    Parameters
    ----------
    name : str or None
        ``hf:OWNER/NAME``, a folder in diffusers' format, an entry of the file of models, or
        ``FILE.py:FUNCTION``.
    weights, models, channels
        As in `find_classifier`.

    Returns
    -------
    Denoiser or None

    Raises
    ------
    ValueError
        If there is no such model, it is no denoiser, its weights do not fit, or it takes images
        of other channels.
    """
    if name is None:
        return None
    if own := _returned(name):
        _check_no_weights(name, weights)
        (denoiser,) = own
        from dds.networks.denoisers import missing_parts

        if missing_parts(denoiser):
            raise ValueError(
                f"{name} returned {type(denoiser).__name__}, which is no denoiser; return "
                "dds.DiffusionDenoiser(network, schedule)"
            )
        return denoiser
    if name.startswith("hf:") or Path(name).is_dir():
        from dds.networks.hub_denoisers import hub_denoiser

        _check_no_weights(name, weights)
        return hub_denoiser(name)
    entry = _entry(name, "denoiser", models)
    from dds.keys import checked
    from dds.networks.description import DenoiserKeys
    from dds.networks.registry import load_denoiser

    network = checked(DenoiserKeys, entry, name, others=True)
    _check_channels(name, network, channels)
    path, place = _weights(name, entry, "denoiser", weights)
    return load_denoiser(network, path, **place)


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


def _check_channels(
    name: str, network: ClassifierKeys | DenoiserKeys, channels: int | None
) -> None:
    """Refuse images of other channels than a network takes, as a study does of its datasets."""
    wanted = network.input.channels
    if channels not in (None, wanted):
        raise ValueError(
            f"{name} takes images of {how_many(wanted, 'channel')}, and --channels is {channels}; "
            f"give --channels {wanted}"
        )


def _check_no_weights(name: str, weights: Path | None) -> None:
    if weights is not None:
        raise ValueError(f"{name} brings its own weights; leave {weights} out")


def _entry(name: str, role: str, models: Path | None) -> dict[str, Any]:
    """Return an entry of a file of models, with what it takes over from others."""
    file = models or _REGISTRY
    if models is None and not file.exists():
        raise ValueError(
            f"{role} {name} is no folder, and there is no {file} here to look it up in; write "
            f"{'timm:NAME, ' * (role == 'classifier')}hf:OWNER/NAME, a folder or "
            "FILE.py:FUNCTION, or name a file of models by --models"
        )
    entries = _read_models(file)
    kind = _resolved(name, entries, file).get("kind") if name in entries else None
    if kind == role:
        return _resolved(name, entries, file)
    known = []
    for other in sorted(entries):
        with suppress(ValueError):  # of entries that nobody asked for
            known += [other] * (_resolved(other, entries, file).get("kind") == role)
    what = f"is a {kind}" if kind else "is not there"
    raise ValueError(f"{role} {name} {what}: {file} has {', '.join(known) or 'none'}")


def _read_models(file: Path) -> Mapping[str, Any]:
    """Return the entries of a file of models; of a study file, those that the workflow reads."""
    file = _named(file)
    written = _read_yaml(file)
    if not _is_study(written):
        return _entries(written, file)
    registry = _entries(_read_yaml(_REGISTRY), _REGISTRY) if _REGISTRY.exists() else {}
    return {**registry, **_entries(_own_models(file) or {}, file)}


def _own_models(file: Path, chain: tuple[Path, ...] = ()) -> Any:
    """Return a study's own models, with what it takes over from the study that it is like."""
    if file.resolve() in chain:
        raise ValueError(f"{file}: like: goes round in a circle")
    written = _read_yaml(file)
    if not _is_study(written):
        raise ValueError(f"{file} is no study")
    models = written.get("models", {})
    if "like" not in written:
        return models
    other = _named(written["like"])
    if not other.is_file():
        raise ValueError(
            f"{file}: like: there is no {_STUDIES}/{other}.yaml here, and no file {other}"
        )
    return patched(_own_models(other, (*chain, file.resolve())), models)


def _named(study: str | Path) -> Path:
    """Return the file of a study, given its name or its path."""
    shipped = _STUDIES / f"{study}.yaml"
    return shipped if shipped.is_file() else Path(study)


def _is_study(written: Any) -> bool:
    """Tell a study file from a file of models, all of whose values are entries."""
    return isinstance(written, dict) and bool(
        {"models", "experiments"} & written.keys() or isinstance(written.get("like"), str)
    )


def _entries(written: Any, file: Path) -> dict[str, Any]:
    if not isinstance(written, dict) or not all(isinstance(e, dict) for e in written.values()):
        raise ValueError(f"{file} is no file of models, a mapping of names to entries")
    return written


def _read_yaml(file: Path) -> Any:
    import yaml

    try:
        with open(file, encoding="utf-8") as text:
            return yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is no YAML: {error}") from error


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


def read_classes(path: Path) -> list[str]:
    """Read names of classes, one a line in the order of the network's outputs."""
    try:
        names = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8") from error
    return [name.strip() for name in names if name.strip()]


def _weights(
    name: str,
    entry: Mapping[str, Any],
    role: str,
    given: Path | None,
    sigma: float | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Return where the weights of an entry lie, and where in that file."""
    if given is not None:
        return Path(for_sigma(str(given), sigma)), {}
    from dds.keys import checked
    from dds.origins import Checkpoint, HubDownload

    at = f"{name}.weights"
    written = entry.get("weights") or {}
    origin = checked(Checkpoint, written, at, others=True)
    place = {"key": origin.key, "strip_prefix": origin.strip_prefix or ""}
    if written.get("download") is not None:
        source = checked(HubDownload, written["download"], f"{at}.download", others=True)
        return _download(name, source, role), place
    instead = f"or name their file by --{role}-weights FILE"
    if origin.file is None:
        raise ValueError(f"{role} {name} is trained by the workflow: let it run, {instead}")
    path = Path(for_sigma(origin.file, sigma))
    if not path.exists():
        obtain = origin.obtain or "put them there"
        raise ValueError(f"{role} {name}: no weights at {path}: {obtain}, {instead}")
    return path, place


def _download(name: str, source: HubDownload, role: str) -> Path:
    """Return the file at an address: downloaded once, and checked every time."""
    from torch import hub

    from dds.files import sha256
    from dds.origins import digest, file_name

    url = str(source.url)  # there always is one: it follows from ``hub``
    path = Path(hub.get_dir()) / "dds" / digest(url) / file_name(url)
    problems = []
    for address in (url, *source.mirrors):
        if path.exists():
            break
        path.parent.mkdir(parents=True, exist_ok=True)
        click.echo(f"{name}: downloads {address} to {path}", err=True)
        try:
            hub.download_url_to_file(address, str(path), hash_prefix=source.sha256)
        except (OSError, RuntimeError) as error:
            problems.append(f"{address}: {error}")
    if not path.exists():
        raise ValueError(
            f"{role} {name} cannot be downloaded: {'; '.join(problems)}; download it yourself, "
            f"and give it by --{role}-weights FILE"
        )
    if source.sha256 is not None and sha256(path) != source.sha256:
        raise ValueError(
            f"{path} has another SHA-256 than {source.sha256}; delete it, and run again"
        )
    if source.bytes is not None and path.stat().st_size != source.bytes:
        raise ValueError(f"{path} has not {source.bytes:,} bytes; delete it, and run again")
    return path
