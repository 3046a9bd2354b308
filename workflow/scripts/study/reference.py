"""What is written from the types of a study: schemas for editors, tables for readers.

`workflow/schemas/*.schema.yaml` let an editor complete and check the configuration's files.
In config/README.md each table of keys stands between two marks, ``<!-- keys: NAME -->`` and
``<!-- end -->``; the text around them is written by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo
from pydantic.json_schema import models_json_schema

from dds.keys import Keys, each_once
from dds.networks.families import FAMILIES
from dds.origins import DataFile, HubDownload
from study.artefacts import Check, Figure, Table
from study.attacks import Attack
from study.config import Config
from study.datasets import Dataset
from study.entries import Kinded
from study.errors import NAME, alternatives, bounds, extras, is_keys, names_of, number
from study.experiments import Experiment
from study.models import (
    MODELS,
    ClassifierWeights,
    Finetune,
    LabelledDownload,
    Model,
    Train,
    families,
)
from study.study import StudyKeys

#: The tables of config/README.md, by the names in their marks.
SECTIONS: dict[str, type[Keys]] = {
    "config": Config,
    "study": StudyKeys,
    "dataset": Dataset,
    "file": DataFile,
    "experiment": Experiment,
    "attack": Attack,
    "table": Table,
    "figure": Figure,
    "check": Check,
    "model": Model,
    "weights": ClassifierWeights,
    "train": Train,
    "finetune": Finetune,
    "download": LabelledDownload,
    "hub": HubDownload,
}

_KINDED: tuple[type[Kinded], ...] = (Dataset, Experiment, Table, Figure)
_HEAD = "| Key | Meaning | Allowed | Default | Paper |\n| --- | --- | --- | --- | --- |\n"
_MARKED = re.compile(r"(<!-- keys: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_ORIGIN = "# Written by tools/reference.py from the types in workflow/scripts/study.\n"


def files(root: Path) -> dict[Path, str]:
    """Return what each file should hold that is written from the types.

    Parameters
    ----------
    root : Path
        The folder that holds ``config`` and ``workflow``.
    """
    readme = root / "config" / "README.md"
    found = {readme: fill(readme.read_text(encoding="utf-8"))}
    for name, schema in schemas().items():
        text = yaml.safe_dump(schema, sort_keys=False, width=100, allow_unicode=True)
        found[root / "workflow" / "schemas" / f"{name}.schema.yaml"] = _ORIGIN + text
    return found


def outdated(contents: Mapping[Path, str]) -> list[Path]:
    """Return the files that do not hold what they should."""
    return [
        path
        for path, text in contents.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def write(contents: Mapping[Path, str]) -> None:
    """Write every file with what it should hold."""
    for path, text in contents.items():
        path.write_text(text, encoding="utf-8")


def fill(text: str) -> str:
    """Return a text with its marked tables filled in."""

    def table(mark: re.Match[str]) -> str:
        name = mark[2]
        body = _arguments() if name == "arguments" else _section(SECTIONS[name])
        return f"{mark[1]}\n{body}\n{mark[3]}"

    return _MARKED.sub(table, text)


def _section(keys: type[Keys]) -> str:
    """Return the table of a class and, where it has kinds, of each kind."""
    body = _table(rows(keys))
    if issubclass(keys, Kinded):
        for kind in keys.KINDS.names:
            own = keys.KINDS[kind].Keys
            body += _kind(f"`{keys.KIND}: {kind}`", own, rows(own))
    if keys is Model:
        for kind, one in MODELS.items():
            body += _kind(f"`kind: {kind}`", one, rows(one, without=Model))
    return body


def _arguments() -> str:
    """Return the table of the arguments of each family of networks."""
    parts = [
        _kind(f"`network: {name}`", FAMILIES[name].Keys, rows(FAMILIES[name].Keys))
        for kind in MODELS
        for name in families(kind)
    ]
    return "".join(parts).lstrip("\n")


def _kind(title: str, keys: type[Keys], lines: Iterator[str]) -> str:
    summary = " ".join((keys.__doc__ or "").split("\n\n")[0].split())
    table = _table(lines)
    return f"\nWith {title}. {summary}\n" + (f"\n{table}" if table else "")


def _table(lines: Iterator[str]) -> str:
    body = "".join(f"{line}\n" for line in lines)
    return _HEAD + body if body else ""


def rows(keys: type[Keys], path: str = "", without: type[Keys] = Keys) -> Iterator[str]:
    """Yield a row of a table for each key of a class, and for those inside it.

    Keys of a class that has a table of its own are left out.

    Parameters
    ----------
    keys : type of Keys
        The class.
    path : str, optional
        What leads to its keys.
    without : type of Keys, optional
        A class whose keys are left out.
    """
    for name, field in names_of(keys).items():
        if name in names_of(without):
            continue
        facts = field.json_schema_extra or {}
        allowed = facts.get("allowed") or allowed_text(_annotation(field), keys, name)
        cells = [f"`{path}{name}`", field.description, allowed, _default(field)]
        paper = facts.get("paper")
        yield f"| {' | '.join(cells)} | {paper + ' ' if paper else ''}|"
        for steps, inner in _inside(_annotation(field)):
            yield from rows(inner, f"{path}{name}{steps}.")


def allowed_text(annotation: Any, keys: type[Keys] = Keys, name: str = "") -> str:
    """Return in words what a value of a type may be."""
    if issubclass(keys, Kinded) and name == keys.KIND:
        return ", ".join(f"`{kind}`" for kind in keys.KINDS.names) + ", or `FILE.py`"
    return ", or ".join(_one_allowed(one, annotation) for one in alternatives(annotation))


def _one_allowed(one: Any, annotation: Any) -> str:
    origin, arguments = get_origin(one), get_args(one)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin is list:
        return _list_allowed(arguments[0], list(extras(annotation)))
    if origin is dict:
        inner = allowed_text(arguments[1])
        return f"by name, {_BELOW}" if inner == f"mapping, {_BELOW}" else f"by name: {inner}"
    if is_keys(one):
        return f"mapping, {_BELOW}"
    if one is bool:
        return "`true`, `false`"
    limits = _range(bounds(annotation))
    if one is float and limits:
        return limits
    return ", ".join(filter(None, [_TYPES.get(one, "any"), limits]))


def _list_allowed(item: Any, added: list[Any]) -> str:
    inner = allowed_text(item)
    kind, _, limits = inner.partition(", ")
    if inner == f"mapping, {_BELOW}":
        return f"list, {_BELOW}"
    lists = {"text": "list of text", "number": "numbers", "whole number": "whole numbers"}
    shown = f"{lists[kind]}, {limits}" if kind in lists else f"numbers, {inner}"
    least = max((getattr(one, "min_length", None) or 0 for one in added), default=0)
    once = ["each once"] if each_once in added else []
    more = [f"at least {least} of them"] if least > 1 else []
    return ", ".join([shown.removesuffix(", "), *once, *more])


_BELOW = "see below"
#: Pydantic leaves ranges in its own words where a type has a validator as well.
_RENAMED = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_IDLE = ("title", "paper", "allowed")
_TYPES = {str: "text", int: "whole number", float: "number"}
_WORDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def _range(limits: Mapping[str, Any]) -> str:
    if set(limits) == {"gt", "lt"}:
        return f"between {number(limits['gt'])} and {number(limits['lt'])}, both excluded"
    if set(limits) == {"ge", "le"}:
        return f"{number(limits['ge'])} to {number(limits['le'])}"
    return ", ".join(f"{_WORDS[name]} {number(limit)}" for name, limit in limits.items())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return "none"
    written = field.default if isinstance(field.default, str) else json.dumps(field.default)
    return f"`{written or json.dumps(written)}`"


def _annotation(field: FieldInfo) -> Any:
    return Annotated[field.annotation, field]


def _inside(annotation: Any) -> Iterator[tuple[str, type[Keys]]]:
    """Yield the classes inside a type that have no table of their own, and what leads there."""
    for one in alternatives(annotation):
        if is_keys(one) and not any(issubclass(section, one) for section in SECTIONS.values()):
            yield "", one
        elif get_origin(one) is list:
            yield from ((f"[]{steps}", inner) for steps, inner in _inside(get_args(one)[0]))
        elif get_origin(one) is dict:
            yield from ((f".NAME{steps}", inner) for steps, inner in _inside(get_args(one)[1]))


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schemas of the configuration's files, by name."""
    kinds = {cls: {kind: cls.of_kind(kind) for kind in cls.KINDS.names} for cls in _KINDED}
    arguments = {name: FAMILIES[name].Keys for name in FAMILIES.names}
    classes = [Config, StudyKeys, Model, *MODELS.values(), *arguments.values(), *kinds]
    classes += [one for of_kind in kinds.values() for one in of_kind.values()]
    references, schema = models_json_schema([(one, "validation") for one in classes])
    names = {one: references[one, "validation"]["$ref"].split("/")[-1] for one in classes}
    parts = schema["$defs"]
    for cls, of_kind in (*kinds.items(), (Model, MODELS)):
        parts[names[cls]] = _by_kind(cls, {kind: names[one] for kind, one in of_kind.items()})
    for kind, one in MODELS.items():
        _add_arguments(parts[names[one]], {name: names[arguments[name]] for name in families(kind)})
    for one in (*MODELS.values(), *kinds[Experiment].values()):
        _allow_like(parts[names[one]])
    models = {"$ref": f"#/$defs/{names[Model]}"}
    registry = {
        "description": "The model registry, config/models.yaml.",
        "type": "object",
        "propertyNames": {"pattern": NAME},
        "additionalProperties": models,
    }
    roots = {
        "config": parts[names[Config]],
        "study": _or_changes(parts[names[StudyKeys]]),
        "models": registry,
    }
    return {name: _whole(root, parts) for name, root in roots.items()}


def _by_kind(cls: type[Keys], of_kind: Mapping[str, str]) -> dict[str, Any]:
    """Return the schema of an entry whose keys follow from its kind, one of ours or a file."""
    key, choices = getattr(cls, "KIND", "kind"), [{"enum": list(of_kind)}]
    if issubclass(cls, Kinded):
        choices.append({"pattern": r"\.py$"})
    schema = {
        "type": "object",
        "required": [key],
        "properties": {
            key: {"description": names_of(cls)[key].description, "anyOf": choices},
        },
        "allOf": [
            {
                "if": {"properties": {key: {"const": kind}}, "required": [key]},
                "then": {"$ref": f"#/$defs/{name}"},
            }
            for kind, name in of_kind.items()
        ],
    }
    if "like" in names_of(cls):
        _allow_like(schema)
    return schema


def _add_arguments(schema: dict[str, Any], of_family: Mapping[str, str]) -> None:
    """Let the arguments of a model be those of its family of networks."""
    schema["properties"]["network"]["anyOf"] = [
        {"enum": list(of_family)},
        {"pattern": r"\.py(:\w+)?$"},
    ]
    schema["allOf"] = [
        {
            "if": {"properties": {"network": {"const": family}}, "required": ["network"]},
            "then": {"properties": {"arguments": {"$ref": f"#/$defs/{name}"}}},
        }
        for family, name in of_family.items()
    ]


def _allow_like(schema: dict[str, Any]) -> None:
    """Let an entry take over required keys from another."""
    schema["anyOf"] = [{"required": ["like"]}, {"required": schema.pop("required")}]


def _or_changes(study: dict[str, Any]) -> dict[str, Any]:
    """Let a study that is like another hold what it changes, parts of entries and null."""
    said = {name: {"description": key["description"]} for name, key in study["properties"].items()}
    changes = {"properties": said | {"like": study["properties"]["like"]}}
    return {
        "type": "object",
        "if": {"required": ["like"]},
        "then": changes | {"additionalProperties": False},
        "else": study,
    }


def _whole(root: dict[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with those parts that it refers to, itself or through others."""
    needed: dict[str, Any] = {}
    waiting = [root]
    while waiting:
        for name in re.findall(r'"#/\$defs/(\w+)"', json.dumps(waiting.pop())):
            if name not in needed:
                needed[name] = parts[name]
                waiting.append(parts[name])
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **root}
    if needed:
        whole["$defs"] = {_short(name): part for name, part in sorted(needed.items())}
    text = re.sub(r'(?<="#/\$defs/)\w+', lambda name: _short(name[0]), json.dumps(whole))
    return _plain(json.loads(text))


def _short(name: str) -> str:
    """Return a short name of a part: ``study__datasets__Dataset``, or of a kind's module."""
    *modules, own = name.split("__")
    return own if not modules or modules[0] == "study" else f"{modules[-1]}_{own}"


def _plain(schema: Any, names: bool = False) -> Any:
    """Return a schema in the words of JSON Schema, without what says nothing to an editor."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if names:
        return {name: _plain(value) for name, value in schema.items()}
    return {
        _RENAMED.get(key, key): _plain(value, names=key in ("properties", "$defs"))
        for key, value in schema.items()
        if key not in _IDLE and not (key == "default" and value is None)
    }
