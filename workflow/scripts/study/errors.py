"""What is wrong with a configuration: one plain line, with the place and what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails

from dds.keys import Keys, refuse

Checked = TypeVar("Checked")

#: What a name of an entry looks like; one is part of paths and of names of rules.
NAME = "^[a-z][a-z0-9_]{0,99}$"

_LIST, _MAPPING = "a list", "a mapping of keys to values"

#: What a value of the wrong type is not, by the names that pydantic gives such errors.
_TYPES = {
    "bool_type": "true or false",
    "dict_type": _MAPPING,
    "finite_number": "a finite number",
    "float_type": "a finite number",
    "int_type": "a whole number",
    "list_type": _LIST,
    "model_attributes_type": _MAPPING,
    "model_type": _MAPPING,
    "string_type": "text",
}
_NUMBERS = ("float_type", "int_type")
_NUMBER = re.compile(r"[-+.\d_e]*\d[-+.\d_e]*")
_TOO_SHORT = ("too_short", "string_too_short")
_OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}

#: What text that does not look as it must is not, by the pattern.
_PATTERNS = {
    NAME: "is no name; a name has lower-case letters, digits and _, at most 100 of them, and "
    "starts with a letter",
    "^[0-9a-f]{64}$": "is no SHA-256 checksum, which has 64 hexadecimal digits in lower case",
    "^[0-9a-f]{32}$": "is no MD5 checksum, which has 32 hexadecimal digits in lower case",
}


class StudyError(ValueError):
    """A configuration that cannot be used; the message is one line for the user."""

    def __init__(self, message: str) -> None:
        super().__init__(_one_line(message))


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


#: The configuration of the workflow.
CONFIG = Place("config/config.yaml or --config")


def conform(value: Any, wanted: type[Checked], at: Place) -> Checked:
    """Check a part of a configuration file and complete it by the defaults.

    Parameters
    ----------
    value : object
        What the file holds. Not changed.
    wanted : type
        What it may hold: a class of `Keys`, or for example a mapping of names to them.
    at : Place
        Where the value stands.

    Raises
    ------
    StudyError
        Naming the key whose error explains most, and what it may be.
    """
    try:
        return TypeAdapter(wanted).validate_python(value)
    except ValidationError as error:
        raise explain(error, wanted, value, at) from None


def explain(error: ValidationError, wanted: Any, value: Any, at: Place) -> StudyError:
    """Return what is wrong with `value`, which pydantic refuses as `wanted`, in one line."""
    faults = [_find(found, wanted, value) for found in error.errors()]
    return StudyError(_message(_most_telling(faults), at))


def refuse_at(reason: str, *keys: str | int) -> ValidationError:
    """Return the error of one key among others that do not go with it.

    ``raise refuse_at("must be at least n0", "n")`` in a validator of a whole class of keys is
    shown as ``FILE: experiments.mine.n: must be at least n0``.
    """
    details = InitErrorDetails(type=refuse(reason), loc=keys, input=None)
    return ValidationError.from_exception_data("keys", [details])


def missing_key(key: str, value: Any) -> ValidationError:
    """Return the error of a key that a mapping must have and does not."""
    details = InitErrorDetails(type="missing", loc=(key,), input=value)
    return ValidationError.from_exception_data("keys", [details])


def suggestion(name: Any, allowed: Iterable[Any]) -> str:
    """Return what a wrong name may have been meant to be, and all that is allowed."""
    allowed = [str(one) for one in allowed]
    close = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.7)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"{meant}allowed: {', '.join(allowed) or 'nothing'}"


def show(value: Any) -> str:
    """Return a value as a YAML file would write it, shortened."""
    if isinstance(value, dict | list):
        return _MAPPING if isinstance(value, dict) else _LIST
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    shown = _one_line(str(value)) or '""'
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def inside(annotation: Any, key: str | int, value: Any = None) -> Iterator[Any]:
    """Yield the types that a value of some type lets its part `key` be.

    Parameters
    ----------
    annotation : type
        Such as ``dict[str, Count | Split]``, or a class of `Keys`.
    key : str or int
        A key or a list index.
    value : object, optional
        The value, on whose kind the keys beside it may depend.
    """
    for one in alternatives(annotation):
        origin, arguments = get_origin(one), get_args(one)
        if origin is list:
            yield arguments[0]
        elif origin is dict:
            yield arguments[1]
        elif is_keys(one):
            field = field_of(_of_its_kind(one, value), key)
            if field is not None:
                yield Annotated[field.annotation, field]


def alternatives(annotation: Any) -> Iterator[Any]:
    """Yield the types that a type is one of, bare of what Annotated adds, but for None."""
    if get_origin(annotation) is Annotated:
        yield from alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for one in get_args(annotation):
            yield from alternatives(one)
    elif annotation is not NoneType:
        yield annotation


def extras(annotation: Any) -> Iterator[Any]:
    """Yield what Annotated adds to a type, or to what it is one of: ranges, validators."""
    if get_origin(annotation) is Annotated:
        inner, *added = get_args(annotation)
        yield from extras(inner)
        for extra in added:
            yield from extra.metadata if isinstance(extra, FieldInfo) else [extra]
    elif get_origin(annotation) in (Union, UnionType):
        for one in get_args(annotation):
            yield from extras(one)


def bounds(annotation: Any) -> dict[str, Any]:
    """Return the range that numbers of a type lie in: some of ``ge``, ``gt``, ``le``, ``lt``."""
    added = list(extras(annotation))
    return {
        name: getattr(extra, name)
        for name in _BOUNDS
        for extra in added
        if getattr(extra, name, None) is not None
    }


def is_keys(annotation: Any) -> bool:
    """Tell whether a type is a class of `Keys`."""
    return isinstance(annotation, type) and issubclass(annotation, Keys)


def names_of(keys: type[Keys]) -> dict[str, FieldInfo]:
    """Return the keys of a class, as files write them, with what is known of each."""
    return {field.alias or name: field for name, field in keys.model_fields.items()}


def field_of(keys: type[Keys], key: str | int) -> FieldInfo | None:
    """Return what a class knows of one of its keys, if it has it."""
    return names_of(keys).get(key)


class _Fault(NamedTuple):
    """An error of pydantic's, and what stands where it happened.

    Attributes
    ----------
    error : mapping
        What pydantic says of it.
    keys : tuple of str or int
        Where in the value it happened.
    types : list
        The types allowed there.
    holder : type of Keys or None
        The class whose keys the last of `keys`, or a missing one, should be among.
    of_several : bool
        Whether it is the error of one of several types that the value may have.
    """

    error: Any
    keys: tuple[str | int, ...]
    types: list[Any]
    holder: type[Keys] | None
    of_several: bool

    @property
    def kind(self) -> str:
        return self.error["type"]


def _find(error: Any, wanted: Any, value: Any) -> _Fault:
    """Return an error with what stands where it happened.

    Pydantic's location of it has, beside keys, names of the types that were tried.
    """
    location = list(error["loc"])
    if error["type"] == "missing":
        location.pop()
    elif location[-1:] == ["[key]"]:
        del location[-2:]
    path: list[str | int] = []
    types, tried, holder = [wanted], [], None
    for key in location:
        if isinstance(value, dict):  # pydantic names keys that are numbers by their text
            key = next((one for one in value if str(one) == str(key)), key)
        is_key = isinstance(value, dict) and key in value
        if is_key or (isinstance(value, list) and isinstance(key, int)):
            holder = _holder(types, value, tried)
            types = [found for one in types for found in inside(one, key, value)]
            path.append(key)
            value, tried = value[key], []
        else:
            tried.append(key)
    if error["type"] == "missing":
        holder = _holder(types, value, tried)
    return _Fault(error, tuple(path), types, holder, bool(tried))


def _holder(types: list[Any], value: Any, tried: list[str | int]) -> type[Keys] | None:
    """Return the class of keys that a mapping was checked against, by what the error names."""
    found = [_of_its_kind(one, value) for each in types for one in alternatives(each)]
    found = [one for one in found if is_keys(one)]
    return next((one for one in found if one.__name__ in tried), found[0] if found else None)


def _of_its_kind(keys: Any, value: Any) -> Any:
    """Return the class that has the keys of an entry's kind, too, if the entry has one."""
    try:
        return keys.of(value) if hasattr(keys, "of") else keys
    except ValidationError:
        return keys


def _most_telling(faults: list[_Fault]) -> _Fault:
    """Return the error that explains most.

    A misspelt key explains one that is missing. Of several types that a value may have, the
    one whose error lies deepest, or is not about the type, is what was meant.
    """
    unknown = [fault for fault in faults if fault.kind == "extra_forbidden"]
    best, *others = unknown or faults
    for fault in others:
        if best.of_several and fault.keys[: len(best.keys)] == best.keys:
            deeper = len(fault.keys) > len(best.keys)
            if deeper or (best.kind in _TYPES and fault.kind not in _TYPES):
                best = fault
    return best


def _message(fault: _Fault, at: Place) -> str:
    """Say what is wrong, where, and what is allowed."""
    error, kind = fault.error, fault.kind
    for key in fault.keys:
        at = at / key
    value, facts = error["input"], error.get("ctx", {})
    if kind == "refused":
        return f"{at}: {facts['reason']}"
    if kind == "extra_forbidden":
        return f"{at}: unknown key; {suggestion(fault.keys[-1], names_of(fault.holder))}"
    if kind == "missing":
        needed = [name for name, field in names_of(fault.holder).items() if field.is_required()]
        return f"{at}: {error['loc'][-1]} is missing; needed: {', '.join(needed)}"
    if kind in _TYPES:
        return f"{at}: {_show_typed(value, kind)}"
    if kind == "literal_error":
        return f"{at}: {show(value)} is not allowed; {suggestion(value, _choices(facts))}"
    if kind in _TOO_SHORT:
        return f"{at}: needs at least {facts['min_length']} entries" if value else f"{at}: is empty"
    if kind in _OUT_OF_RANGE:
        return f"{at}: {show(value)} is out of range; must be {_range(fault, facts)}"
    if kind == "string_pattern_mismatch" and facts["pattern"] in _PATTERNS:
        return f"{at}: {show(value)} {_PATTERNS[facts['pattern']]}"
    return f"{at}: {show(value)}: {error['msg']}"


def _show_typed(value: Any, kind: str) -> str:
    """Say that a value is of another type than it must be, and whether quotes are the reason."""
    wanted = _TYPES[kind]
    if wanted == "text" and _is_scalar(value):
        return f"{show(value)} is not text; put it in quotes"
    if kind in _NUMBERS and isinstance(value, str) and _NUMBER.fullmatch(value):
        return f'"{show(value)}" is text, not {wanted}; leave out the quotes'
    return f"{show(value)} is not {wanted}"


def _choices(facts: dict[str, Any]) -> list[str]:
    """Return the values that pydantic says it expected: ``'linear' or 'cosine'``."""
    return [choice.strip("'") for choice in re.split(r", | or ", facts["expected"])]


def _range(fault: _Fault, facts: dict[str, Any]) -> str:
    found: dict[str, Any] = {}
    for one in fault.types:
        found |= bounds(one)
    found = found or {name: facts[name] for name in _BOUNDS if name in facts}
    return " and ".join(f"{_BOUNDS[name]} {number(limit)}" for name, limit in found.items())


def number(value: float) -> str:
    """Return a number as text, large ones with commas."""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _is_scalar(value: Any) -> bool:
    return value is not None and not isinstance(value, dict | list)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
