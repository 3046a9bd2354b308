"""What entries of a study's files have in common: names, and keys that follow from a kind."""

from __future__ import annotations

from collections.abc import Callable
from os.path import isfile  # false, not an error, for names that no file can have
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    WrapValidator,
    model_validator,
)

from dds.keys import Keys, combined, refuse
from dds.kinds import Kinds, is_file
from study.errors import NAME, missing_key, refuse_at, show, suggestion

#: The name of an entry, part of the paths and targets that are named by it.
Name = Annotated[str, Field(pattern=NAME)]


def or_else(reason: str) -> WrapValidator:
    """Return what gives a type that is one of several a message of its own."""

    def check(value: Any, handler: Callable[[Any], Any]) -> Any:
        try:
            return handler(value)
        except ValidationError:
            raise refuse(f"{show(value)} {reason}") from None

    return WrapValidator(check)


class Kinded(Keys):
    """Keys of an entry, to which its kind adds keys of its own.

    A subclass names the key that says the kind, and where kinds are found. Checking an entry
    by that subclass gives an object that has the keys of the entry's kind as well.

    Attributes
    ----------
    KIND : str
        The key that says the kind.
    KINDS : Kinds
        The kinds.
    """

    KIND: ClassVar[str]
    KINDS: ClassVar[Kinds]

    @classmethod
    def of_kind(cls, kind: str) -> type[Self]:
        """Return the class that has the keys of a kind, too.

        Raises
        ------
        ValueError
            If there is no such kind, or it has no keys.
        """
        module = cls.KINDS[kind]
        if not hasattr(module, "Keys"):
            raise ValueError(f"{kind} has no class Keys")
        return combined(cls, module.Keys)

    @classmethod
    def of(cls, entry: Any) -> type[Self]:
        """Return the class that has all keys that an entry may have.

        Raises
        ------
        ValidationError
            If the entry's kind is missing or wrong.
        """
        if not cls._is_open() or not isinstance(entry, dict):
            return cls
        if cls.KIND not in entry:
            raise missing_key(cls.KIND, entry)
        kind = entry[cls.KIND]
        if not isinstance(kind, str) or (kind not in cls.KINDS.names and not is_file(kind)):
            allowed = suggestion(kind, [*cls.KINDS.names, "FILE.py"])
            raise refuse_at(f"{show(kind)} is not allowed; {allowed}", cls.KIND)
        if is_file(kind) and not isfile(kind):
            raise refuse_at(f"there is no file {show(kind)}", cls.KIND)
        try:
            return cls.of_kind(kind)
        except ValueError as error:
            raise refuse_at(str(error), cls.KIND) from error

    @classmethod
    def _is_open(cls) -> bool:
        """Tell whether the class lacks the keys of a kind."""
        return "KINDS" in vars(cls)

    @model_validator(mode="wrap")
    @classmethod
    def _with_the_keys_of_its_kind(
        cls, entry: Any, handler: ModelWrapValidatorHandler[Self]
    ) -> Self:
        if cls._is_open() and isinstance(entry, dict):
            return cls.of(entry).model_validate(entry)
        return handler(entry)
