"""Settings with names: each key has its type, range, default and description in one place.

A class of `Keys` is all there is to know of a part of a configuration file: it checks what
a file says, fills in defaults, and from it the schemas and the reference of every key are
written.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from dds.seeds import MOST_SAMPLES

Item = TypeVar("Item")
Found = TypeVar("Found", bound=BaseModel)


class Keys(BaseModel):
    """Keys of a part of a configuration file; unknown ones are refused, values never guessed."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        populate_by_name=True,
        validate_default=False,
        protected_namespaces=(),
    )


def key(
    description: str, default: Any = ..., *, paper: str = "", allowed: str = "", **rules: Any
) -> Any:
    """Describe a key.

    Parameters
    ----------
    description : str
        What it means, with its unit, as the reference prints it.
    default : object, optional
        Its value where a file leaves it out; without one the key is required. None for a
        key that may be absent.
    paper : str, optional
        The section, table or figure of the paper that it comes from.
    allowed : str, optional
        What the reference prints as allowed, where the type does not say it well.
    **rules
        What `pydantic.Field` takes: ``ge``, ``gt``, ``le``, ``lt``, ``min_length``, ``alias``.

    Returns
    -------
    object
        The default value of a field of a `Keys`.
    """
    facts = {name: text for name, text in (("paper", paper), ("allowed", allowed)) if text}
    return Field(default, description=description, json_schema_extra=facts or None, **rules)


def refuse(reason: str) -> PydanticCustomError:
    """Return the error of a value that breaks a rule, in words that follow where it stands.

    ``raise refuse("must be 2 or more")`` in a validator is shown as
    ``FILE: experiments.mine.steps: must be 2 or more``.
    """
    return PydanticCustomError("refused", "{reason}", {"reason": reason})


def checked(
    kind: type[Found], values: Any, where: str, *, whole: bool = True, others: bool = False
) -> Found:
    """Return values as a `Keys`, or raise one line of what is wrong with the first that is.

    Parameters
    ----------
    kind : type
        A class of `Keys`.
    values : object
        What is to be a mapping with those keys.
    where : str
        What they are called, as ``network unet: arguments``.
    whole : bool, optional
        Whether a key without a default must be there.
    others : bool, optional
        Whether there may be other keys, which are left out.

    Returns
    -------
    Keys

    Raises
    ------
    ValueError
        Its message is ``WHERE.KEY: must be ...``.
    """
    if others and isinstance(values, Mapping):
        values = {key: values[key] for key in kind.model_fields if key in values}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    wrong = [each for each in errors if whole or each["type"] != "missing"]
    if not wrong:
        return kind.model_construct(**values)
    # Between keys pydantic names which of the types that are allowed it tried.
    path = [part for part in wrong[0]["loc"] if "[" not in str(part)]
    reason = wrong[0]["msg"].replace("Input should", "must", 1)
    if wrong[0]["type"] == "missing":
        reason = "is missing"
    elif wrong[0]["type"] in ("model_type", "dict_type"):
        reason = "must be a mapping"
    elif wrong[0]["type"] == "extra_forbidden":
        parent: Any = kind
        for name in path[:-1]:
            parent = parent.model_fields[str(name)].annotation
        reason = f"is unknown; allowed: {', '.join(parent.model_fields) or 'none'}"
    raise ValueError(f"{'.'.join(map(str, (where, *path)))}: {reason}")


def _whole(value: Any) -> Any:
    """Take 1e3 and 2.0 as whole numbers, as YAML writes them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _each_once(values: list[Item]) -> list[Item]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise refuse(f"{value} comes twice")
    return values


def _keys_as_numbers(value: Any) -> Any:
    """Take keys like "0.25" as numbers: keys of a YAML file are text."""
    if not isinstance(value, dict):
        return value
    found: dict[Any, Any] = {}
    for key, item in value.items():
        try:
            key = float(key)
        except ValueError:
            raise refuse(f"{key} is no noise level; keys must be numbers in quotes") from None
        if key in found:
            raise refuse(f"{key} comes twice")
        found[key] = item
    return found


def _one_line(text: str) -> str:
    """Make line breaks spaces, as YAML does between lines, and refuse what cannot be printed."""
    for character in text:
        if unicodedata.category(character) == "Cc" and not character.isspace():
            raise refuse(f"has the control character U+{ord(character):04X}; leave it out")
    return " ".join(text.split())


def _not_empty(text: str) -> str:
    if not text:
        raise refuse("is empty")
    return text


#: Refuses a list that holds a value twice.
each_once = AfterValidator(_each_once)

# Ranges end where no study can mean it: beyond are units taken for others and slips of a finger,
# which would cost hours before anything else notices.

#: A whole number.
Whole = Annotated[int, BeforeValidator(_whole)]
#: A whole number of at least 1.
Count = Annotated[Whole, Field(ge=1, le=100_000)]
#: How many samples: blocks of noise have numbers up to this.
Samples = Annotated[Whole, Field(ge=1, le=MOST_SAMPLES)]
#: How many images; each is a row of every table of counts.
Images = Annotated[Whole, Field(ge=1, le=10_000_000)]
#: Height or width of an image.
Pixels = Annotated[Whole, Field(ge=1, le=10_000)]
#: From a quarter of a grey level to ten times the range of an image, in [0,1] pixel units.
SMALLEST_SIGMA, LARGEST_SIGMA = 0.001, 10.0
#: A noise level in [0,1] pixel units.
Sigma = Annotated[float, Field(ge=SMALLEST_SIGMA, le=LARGEST_SIGMA)]
#: Noise levels, each once, at least one.
Sigmas = Annotated[list[Sigma], Field(min_length=1), each_once]
#: An l2 radius in [0,1] pixel units.
Radius = Annotated[float, Field(ge=0, le=100)]
#: Radii, each once, at least one.
Radii = Annotated[list[Radius], Field(min_length=1), each_once]
#: Radii for every noise level, or for each its own.
RadiiBySigma = (
    Radii | Annotated[dict[Sigma, Radii], Field(min_length=1), BeforeValidator(_keys_as_numbers)]
)
#: A number above 0 and below 1.
Fraction = Annotated[float, Field(gt=0, lt=1)]
#: A share of votes that at most one class can exceed.
Threshold = Annotated[float, Field(ge=0.5, lt=1)]
#: Text in one line.
Line = Annotated[str, AfterValidator(_one_line)]
#: Text in one line that is not empty.
Text = Annotated[
    Line, AfterValidator(_not_empty), WithJsonSchema({"type": "string", "minLength": 1})
]
#: Names, each once, at least one.
Names = Annotated[list[str], Field(min_length=1), each_once]


@cache
def combined(base: type[Keys], kind: type[Keys]) -> type[Keys]:
    """Return a class that has the keys of `base` and, beside them, those of one of its kinds."""
    return type(
        base.__name__, (kind, base), {"__doc__": kind.__doc__, "__module__": kind.__module__}
    )
