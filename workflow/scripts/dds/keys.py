"""Settings with names: each key has its type, range, default and description in one place.

A class of `Keys` is all there is to know of a part of a configuration file: it checks what
a file says, fills in defaults, and from it the schemas and the reference of every key are
written.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

Item = TypeVar("Item")


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


def _whole(value: Any) -> Any:
    """Take 1e3 and 2.0 as whole numbers, as YAML writes them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _each_once(values: list[Item]) -> list[Item]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise refuse(f"{value} comes twice")
    return values


#: Refuses a list that holds a value twice.
each_once = AfterValidator(_each_once)
#: A whole number.
Whole = Annotated[int, BeforeValidator(_whole)]
#: A whole number of at least 1.
Count = Annotated[Whole, Field(ge=1)]
#: An l2 radius in [0,1] pixel units.
Radius = Annotated[float, Field(ge=0)]
#: Radii, each once, at least one.
Radii = Annotated[list[Radius], Field(min_length=1), each_once]
#: Noise levels in [0,1] pixel units, each once, at least one.
Sigmas = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1), each_once]
#: A number above 0 and below 1.
Fraction = Annotated[float, Field(gt=0, lt=1)]
#: Text that is not empty.
Text = Annotated[str, Field(min_length=1)]
#: Names, each once, at least one.
Names = Annotated[list[str], Field(min_length=1), each_once]


@cache
def combined(base: type[Keys], kind: type[Keys]) -> type[Keys]:
    """Return a class that has the keys of `base` and, beside them, those of one of its kinds."""
    return type(
        base.__name__, (kind, base), {"__doc__": kind.__doc__, "__module__": kind.__module__}
    )
