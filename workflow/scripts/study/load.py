"""From files to a typed study: found, read, completed and checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from os.path import isfile  # false, not an error, for names that no file can have
from pathlib import Path
from typing import Any

from dds.differences import patched
from dds.origins import DataFile
from dds.statistics.plans import PLANS
from study.checks import check_name, check_study, needed_models
from study.config import Config
from study.earlier import read_earlier
from study.errors import CONFIG, Place, StudyError, conform, show, suggestion
from study.models import Model, ModelName
from study.study import Study, StudyKeys
from study.yaml_files import read_yaml

_REGISTRY = "config/models.yaml"
_LONGEST_CHAIN = 50

#: What makes an entry as it is read one that can be checked.
Reader = Callable[[Mapping[str, Any], Place], Mapping[str, Any]]
#: What of the entry that another is like goes over to it.
TakenOver = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]]


def load_config(written: Any, **instead: Any) -> Config:
    """Check and complete Snakemake's configuration.

    Parameters
    ----------
    written : object
        What config/config.yaml and the command line say.
    **instead
        Settings that win over those.

    Raises
    ------
    StudyError
        Naming, in one line, the key and what is allowed.
    """
    written = dict(written) | instead if isinstance(written, Mapping) else written
    return conform(written, Config, CONFIG)


def load_study(config: Config, root: Path, project: Path | None = None) -> Study:
    """Read, check and complete the study that the configuration names.

    Parameters
    ----------
    config : Config
        What to build.
    root : Path
        The folder that holds ``config``. The path of a study file of the user's own is
        relative to the working directory.
    project : Path, optional
        The folder that holds ``notebooks`` and ``workflow``, if that is another one.

    Returns
    -------
    Study
        ``models`` holds the models that the experiments need, from the registry and the
        study's own, and no others; keys ``like``, also that of the study, are resolved.

    Raises
    ------
    StudyError
        Naming, in one line, the file, the key and what is allowed.
    """
    path, file = _find_study(config.study, root)
    at = Place(file)
    written = _read_study(path, file, root)
    own = {}
    if isinstance(written, dict):
        own = written.get("models", {})
        written = {key: value for key, value in written.items() if key != "models"}
        written |= _resolved(written, "experiments", at)
    keys = conform(written, StudyKeys, at)
    if config.deposit:
        keys = _taking_votes(keys, config.deposit)
    models, places = _load_models(own, at / "models", root)
    study = Study(**{**dict(keys), "name": path.stem, "models": models})
    check_study(study, places, root, project or root, at)
    needed = needed_models(study)
    kept = {name: model for name, model in models.items() if name in needed}
    return study.model_copy(update={"models": kept})


def _taking_votes(keys: StudyKeys, deposit: str) -> StudyKeys:
    """Return a study whose experiments take their votes from a deposit, if they name none."""
    origin = "url" if "://" in deposit else "file"
    votes = conform({origin: deposit}, DataFile, CONFIG / "deposit")
    experiments = {
        name: entry if entry.votes else entry.model_copy(update={"votes": votes})
        for name, entry in keys.experiments.items()
    }
    return keys.model_copy(update={"experiments": experiments})


def study_files(study: str, root: Path) -> list[Path]:
    """Return the file of a study, given its name or its path, and those of studies it is like."""
    return [path for path, _ in _chain(*_find_study(study, root), root)]


def shipped_studies(root: Path) -> dict[str, Path]:
    """Return the files of the studies in config/studies, by name."""
    return {path.stem: path for path in sorted(root.glob("config/studies/*.yaml"))}


def like_of(study: str, root: Path) -> str | None:
    """Return the name of the study that another, given its name or its path, is like."""
    files = study_files(study, root)
    return files[1].stem if len(files) > 1 else None


def _read_study(path: Path, file: str, root: Path) -> Any:
    """Return what a study file says, together with what it takes over from others."""
    *changes, whole = (written for _, written in _chain(path, file, root))
    for change in reversed(changes):  # what is left out of one study may be in that below it
        whole = patched(whole, change)
    return whole


def _chain(path: Path, file: str, root: Path) -> list[tuple[Path, Any]]:
    """Return a study file and those that it is like, one after the other: path and content."""
    found: list[tuple[Path, Any]] = []
    while True:
        written = read_yaml(path, file)
        if not isinstance(written, dict) or "like" not in written:
            return [*found, (path, written)]
        like, at = written.pop("like"), Place(file) / "like"
        found.append((path, written))
        path, file = _find_study(conform(like, str, at), root, at)
        if any(path.samefile(one) for one, _ in found):
            raise StudyError(f"{at}: goes round in a circle: {like} is like this study")


def _find_study(study: str, root: Path, at: Place = CONFIG / "study") -> tuple[Path, str]:
    """Return where the study file is, and what to call it in errors."""
    shipped = shipped_studies(root)
    if study in shipped:
        return shipped[study], f"config/studies/{study}.yaml"
    path = Path(study)
    if path.suffix not in (".yaml", ".yml"):
        raise StudyError(
            f"{at}: there is no config/studies/{show(study)}.yaml; {suggestion(study, shipped)}, "
            "or the path of a .yaml file"
        )
    if not isfile(path):
        raise StudyError(f"{at}: there is no file {show(study)}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", path.stem):
        raise StudyError(
            f"{at}: {path.stem} cannot name a folder of results; "
            "allowed in a study's name are letters, digits, _ and -"
        )
    taken = [name for name, file in shipped.items() if not path.samefile(file)] + ["bench"]
    if path.stem in taken:
        raise StudyError(
            f"{at}: results/{path.stem} is for something else; give {study} a name other than "
            f"{', '.join(taken)}"
        )
    return path, study


def _resolved(written: Mapping[str, Any], key: str, at: Place) -> dict[str, Any]:
    """Return the experiments of a study file with their keys `like` resolved."""
    entries = written.get(key)
    if not isinstance(entries, dict):
        return {}
    places = {name: at / key / name for name in entries}
    return {
        key: {
            name: _inherit(name, entries, places, "experiment", read_earlier, _without_other_plan)
            for name in entries
        }
    }


def _load_models(own: Any, at: Place, root: Path) -> tuple[dict[str, Model], dict[str, Place]]:
    """Return every model of the registry and of the study, and where each is written."""
    registry = read_yaml(root / _REGISTRY, _REGISTRY)
    files = [(registry, Place(_REGISTRY)), (own, at)]
    for models, parent in files:
        conform(models, dict[ModelName, dict[str, Any]], parent)
    for name in own:
        if name in registry:
            raise StudyError(
                f"{at / name}: is the name of a model in {_REGISTRY} already; choose another"
            )
    entries = registry | own
    places = {name: parent / name for models, parent in files for name in models}
    checked: dict[str, Model] = {}
    for models, parent in files:
        resolved = {name: _inherit(name, entries, places, "model") for name in models}
        for name, entry in resolved.items():
            if isinstance(entry.get("classes"), str):
                entry["classes"] = _read_classes(root / entry["classes"], places[name] / "classes")
        checked |= conform(resolved, dict[ModelName, Model], parent)
    return checked, places


def _read_classes(path: Path, at: Place) -> list[str]:
    """Read names of classes, one a line; empty lines at the end are left out."""
    if not isfile(path):
        raise StudyError(f"{at}: there is no file {show(path)}")
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows may mark UTF-8 at the beginning
    except OSError as error:
        raise StudyError(f"{at}: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{at}: {path} is no text in UTF-8; save it as UTF-8") from error
    classes = [line.strip() for line in text.rstrip().split("\n")]
    seen: set[str] = set()
    for number, name in enumerate(classes, start=1):
        if not name or not name.isprintable():
            raise StudyError(f"{at}: {path}: line {number} is no name of a class")
        if name in seen:
            raise StudyError(f"{at}: {path}: line {number}: {name} comes twice")
        seen.add(name)
    if len(classes) < 2:
        raise StudyError(f"{at}: {path} must hold at least two names, one a line")
    return classes


def _as_it_is(entry: Mapping[str, Any], at: Place) -> Mapping[str, Any]:
    return entry


def _all_keys(like: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    return like


def _without_other_plan(like: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment without what is for its plan alone, where another has another plan."""
    theirs, ours = (entry.get("plan", like.get("plan")) for entry in (like, own))
    unwanted: set[str] = set()
    if theirs in PLANS.names and ours in PLANS.names:
        unwanted = PLANS[theirs].Keys.model_fields.keys() - PLANS[ours].Keys.model_fields.keys()
    return {key: value for key, value in like.items() if key not in unwanted}


def _inherit(
    name: str,
    entries: Mapping[str, Any],
    places: Mapping[str, Place],
    what: str,
    read: Reader = _as_it_is,
    taken_over: TakenOver = _all_keys,
    chain: tuple[str, ...] = (),
) -> Any:
    """Return an entry with the keys of the one it is like; its own keys win."""
    if not isinstance(entries[name], dict):
        return entries[name]
    entry, chain = dict(entries[name]), (*chain, name)
    if "like" in entry:
        at, other = places[name] / "like", entry.pop("like")
        check_name(other, entries, what, at)
        if other in chain:
            raise StudyError(f"{at}: goes round in a circle: {' is like '.join((*chain, other))}")
        if len(chain) > _LONGEST_CHAIN:
            raise StudyError(f"{at}: is like {what}s in a chain longer than {_LONGEST_CHAIN}")
        like = _inherit(other, entries, places, what, read, taken_over, chain)
        entry = {**(taken_over(like, entry) if isinstance(like, dict) else {}), **entry}
    return read(entry, places[name])
