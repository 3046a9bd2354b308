"""The plain arguments of a call: numbers and truth values, whatever library they come from."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from math import inf
from numbers import Integral, Real
from reprlib import Repr
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Found = TypeVar("Found")

_short = Repr()


def plain(call: Callable[Given, Found]) -> Callable[Given, Found]:
    """Let a function have its plain arguments as its annotations say, or refuse them in one line.

    Parameters
    ----------
    call : callable
        Arguments annotated as ``float``, ``int`` or ``bool``, or one of these or something else,
        become that, also from NumPy's and PyTorch's numbers, and whole numbers from such as 1e4.
        Text is no number, nor is True. Where text is allowed too, and for all other annotations,
        it is left to the function to say what is wrong.

    Returns
    -------
    callable
        It raises ValueError, naming the argument, what it must be, and what it is.

    Examples
    --------
    >>> import numpy as np
    >>> @plain
    ... def half(n: int) -> float:
    ...     return n / 2
    >>> half(np.int64(3)), half(1e1)
    (1.5, 5.0)
    >>> half("3")
    Traceback (most recent call last):
    ValueError: n must be a whole number, not '3'
    """
    parameters = signature(call)
    # Annotations are text (PEP 563), so that none of what they name has to be imported.
    kinds = {
        name: str(getattr(parameter.annotation, "__name__", parameter.annotation)).split(" | ")
        for name, parameter in parameters.parameters.items()
    }

    @wraps(call)
    def checked(*args: Given.args, **named: Given.kwargs) -> Found:
        try:
            given = parameters.bind(*args, **named)
        except TypeError:  # Python itself says best which argument is missing, or one too many
            return call(*args, **named)
        for name, value in given.arguments.items():
            given.arguments[name] = _plain(name, value, kinds[name])
        return call(*given.args, **given.kwargs)

    return checked


def number(value: Any) -> float | None:
    """Return a number as Python has it; None for what is none.

    Examples
    --------
    >>> import numpy as np
    >>> number(np.float32(0.25)), number("0.25"), number(True)
    (0.25, None, None)
    """
    value = _scalar(value)
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits, for which no argument is meant
        return inf


def whole_number(value: Any) -> int | None:
    """Return a whole number as Python has it, of 1e4 too; None for what is none.

    Examples
    --------
    >>> whole_number(1e4), whole_number(1.5), whole_number("1")
    (10000, None, None)
    """
    value = _scalar(value)
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


def _truth(value: Any) -> bool | None:
    value = _scalar(value)
    return value if isinstance(value, bool) else None


#: What an annotation means: in words, and what makes it of a value, or None where it is not.
_KINDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "float": ("a number", number),
    "int": ("a whole number", whole_number),
    "bool": ("True or False", _truth),
}


def _plain(name: str, value: Any, kinds: list[str]) -> Any:
    known = [_KINDS[kind] for kind in kinds if kind in _KINDS]
    if not known or (value is None and "None" in kinds):
        return value
    for _, read in known:
        if (found := read(value)) is not None:
            return found
    if "str" in kinds:
        return value
    raise ValueError(f"{name} must be {known[0][0]}, not {shown(value)}")


def _scalar(value: Any) -> Any:
    """Return what a number of NumPy's or PyTorch's, or an array of one, holds."""
    try:
        return value.item()
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return value


def shown(value: Any) -> str:
    """Return a value in one short line.

    Examples
    --------
    >>> shown("0.25"), shown(list(range(100)))
    ("'0.25'", '[0, 1, 2, 3, 4, 5, ...]')
    """
    return _short.repr(value).replace("\n", " ")
