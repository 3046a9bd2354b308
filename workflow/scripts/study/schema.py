"""YAML files, checked against a schema and completed by its defaults, with plain errors."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# Where it is installed, jsonschema loads this checker of a format that no schema here uses,
# and that takes longer than everything else that a job starts with.
sys.modules.setdefault("rfc3987_syntax", None)
import jsonschema  # noqa: E402

_KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a finite number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping of keys to values",
}


class StudyError(ValueError):
    """A configuration that cannot be used; the message is one line for the user."""


@dataclass(frozen=True)
class Place:
    """A value in a configuration file; ``place / key`` is a value inside it.

    Attributes
    ----------
    file : str
        What to call the file.
    keys : tuple of str or int
        Keys and list indices that lead to the value.
    """

    file: str
    keys: tuple[str | int, ...] = ()

    def __truediv__(self, key: str | int) -> Place:
        return Place(self.file, (*self.keys, key))

    def __str__(self) -> str:
        path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.keys)
        return f"{self.file}: {path.removeprefix('.')}" if path else self.file


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Reads 1e-3 as a number, as YAML 1.2 does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(path: Path, file: str) -> Any:
    """Read a YAML file.

    Parameters
    ----------
    path : Path
        The file.
    file : str
        What to call it in an error.

    Raises
    ------
    StudyError
        If it cannot be read, is no YAML, holds a key twice, or a key that is not text.
    """
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        try:
            node = loader.get_single_node()
            if node is None:
                raise StudyError(f"{file}: is empty")
            _check_keys(node, file, set())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except OSError as error:
        raise StudyError(f"{file}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise StudyError(f"{file}: is not valid YAML: {where}{reason}") from error


def conform(value: Any, schema: dict[str, Any], at: Place) -> Any:
    """Check a value against a schema and return it with the schema's defaults filled in.

    Parameters
    ----------
    value : object
        What a YAML file holds. Not changed.
    schema : dict
        A JSON Schema. Its ``errorMessage``, where there is one, replaces the message.
    at : Place
        Where the value stands.

    Raises
    ------
    StudyError
        Naming the first key that does not conform, and what it may be.
    """
    validator = _Validator(schema)
    errors = sorted(validator.iter_errors(value), key=_weight)
    if errors:
        raise StudyError(_explain(errors[0], at))
    return _filled(value, schema, validator)


def suggestion(name: str, allowed: Iterable[str]) -> str:
    """Return what a wrong name may have been meant to be, and all that is allowed."""
    allowed = list(allowed)
    close = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.7)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"{meant}allowed: {', '.join(allowed) or 'nothing'}"


def _is_finite(checker: jsonschema.TypeChecker, value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max


_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("number", _is_finite),
)


def _check_keys(node: yaml.Node, file: str, visited: set[int]) -> None:
    """Refuse what YAML's loaders let pass: a key that comes twice, or is not text."""
    if isinstance(node, yaml.ScalarNode) or id(node) in visited:
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    else:
        children = [child for _, child in node.value]
        seen = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                name = key.value if isinstance(key, yaml.ScalarNode) else "of several values"
                raise StudyError(f"{file}: line {line}: key {name} is not text; put it in quotes")
            if key.value in seen:
                raise StudyError(f"{file}: line {line}: key {key.value} comes twice")
            seen.add(key.value)
    for child in children:
        _check_keys(child, file, visited)


def _weight(error: jsonschema.ValidationError) -> tuple[int, bool]:
    """Order errors by how much they explain.

    A condition (in ``allOf``) means little before the value it depends on is right, and
    a misspelt key explains one that is missing.
    """
    return list(error.absolute_schema_path).count("allOf"), error.validator != (
        "additionalProperties"
    )


def _explain(error: jsonschema.ValidationError, at: Place) -> str:
    """Say in plain words, in one line, what is wrong, where, and what is allowed."""
    for key in error.absolute_path:
        at = at / key
    value, schema, wanted = error.instance, error.schema, error.validator_value
    if "propertyNames" in error.absolute_schema_path:
        return f"{at}: {_show(value)} {schema['errorMessage']}"
    if error.validator == "additionalProperties":
        unknown = next(key for key in value if key not in schema["properties"])
        return f"{at / unknown}: unknown key; {suggestion(unknown, schema['properties'])}"
    if error.validator == "required":
        missing = next(key for key in wanted if key not in value)
        return f"{at}: {missing} is missing; needed: {', '.join(wanted)}"
    if error.validator == "dependentRequired":
        key, missing = next(
            (key, other)
            for key, others in wanted.items()
            for other in others
            if key in value and other not in value
        )
        return f"{at}: {key} needs {missing} beside it"
    if error.validator == "type":
        quotable = wanted == "string" and _is_scalar(value) and value is not None
        quotes = "; put it in quotes" if quotable else ""
        return f"{at}: {_show(value)} is not {_KINDS[wanted]}{quotes}"
    if "errorMessage" in schema:
        shown = f"{_show(value)} " if _is_scalar(value) else ""
        return f"{at}: {shown}{schema['errorMessage']}"
    if error.validator == "enum":
        return f"{at}: {_show(value)} is not allowed; {suggestion(value, wanted)}"
    if error.validator in ("minItems", "minProperties", "minLength"):
        return f"{at}: is empty" if not value else f"{at}: needs at least {wanted} entries"
    if error.validator == "uniqueItems":
        double = next(item for index, item in enumerate(value) if item in value[:index])
        return f"{at}: {_show(double)} comes twice"
    if error.validator in _BOUNDS:
        return f"{at}: {_show(value)} is out of range; must be {_range(schema)}"
    return f"{at}: {' '.join(error.message.split())}"


_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def _range(schema: dict[str, Any]) -> str:
    return " and ".join(
        f"{words} {schema[key]:g}" for key, words in _BOUNDS.items() if key in schema
    )


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _show(value: Any) -> str:
    """Return a value as a YAML file would write it, shortened."""
    if isinstance(value, dict | list):
        return _KINDS["object" if isinstance(value, dict) else "array"]
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    shown = " ".join(str(value).split())
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _filled(value: Any, schema: dict[str, Any], validator: jsonschema.protocols.Validator) -> Any:
    """Return a valid value with the defaults of its schema, and whole numbers as int."""
    for part in _applicable(value, schema, validator):
        if isinstance(value, dict):
            properties = part.get("properties", {})
            missing = {
                key: inner["default"]
                for key, inner in properties.items()
                if "default" in inner and key not in value
            }
            others = part.get("additionalProperties") or {}
            value = {
                key: _filled(inner, properties.get(key, others), validator)
                for key, inner in {**value, **missing}.items()
            }
        elif isinstance(value, list):
            value = [_filled(item, part.get("items", {}), validator) for item in value]
        elif isinstance(value, float) and part.get("type") == "integer":
            value = int(value)
    return value


def _applicable(
    value: Any, schema: dict[str, Any], validator: jsonschema.protocols.Validator
) -> Iterator[dict[str, Any]]:
    """Yield a schema, and those it refers to that apply to a value."""
    yield schema
    inner = list(schema.get("allOf", ()))
    if "$ref" in schema:
        inner.append(validator.schema["$defs"][schema["$ref"].removeprefix("#/$defs/")])
    if "if" in schema:
        holds = validator.evolve(schema=schema["if"]).is_valid(value)
        inner.append(schema.get("then" if holds else "else", {}))
    for part in inner:
        yield from _applicable(value, part, validator)
