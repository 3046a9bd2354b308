"""Where descriptions differ, what one is that changes another, and a number that stands for one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

#: What the mapping is called, at any depth, in which None is a value like others: the arguments
#: that a network is built with. Elsewhere None is what a key that is left out stands for.
_ARGUMENTS = "arguments"


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


#: What arguments hold where a key is left out.
_NOTHING = _Nothing()


class Difference(NamedTuple):
    """The first place where two descriptions differ.

    Attributes
    ----------
    place : str
        The keys that lead there, joined by dots.
    first, second : object
        What each holds there; where it holds nothing, None, or among arguments, of which None
        may be one, what is written as ``nothing``.
    """

    place: str
    first: Any
    second: Any


def first_difference(first: Any, second: Any, place: str = "") -> Difference | None:
    """Return the first difference between values that JSON can hold, or None for equal ones.

    Examples
    --------
    >>> first_difference({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})
    Difference(place='a.b', first=1, second=3)
    >>> first_difference({"arguments": {"heads": None}}, {"arguments": {}})
    Difference(place='arguments.heads', first=None, second=nothing)
    """
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        absent = _NOTHING if _ARGUMENTS in place.split(".") else None
        for key in sorted(first.keys() | second.keys()):
            inside = f"{place}.{key}" if place else key
            one, other = first.get(key, absent), second.get(key, absent)
            if found := first_difference(one, other, inside):
                return found
        return None
    return None if _equal(first, second) else Difference(place, first, second)


def _equal(first: Any, second: Any) -> bool:
    """Tell whether two values are the same in JSON, where true is not 1, as it is in Python."""
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_equal, first, second))
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(
            _equal(first[key], second[key]) for key in first
        )
    return first == second and isinstance(first, bool) == isinstance(second, bool)


def patched(value: Any, change: Any, key: str = "") -> Any:
    """Return a value that JSON can hold, changed by another: a JSON Merge Patch (RFC 7396).

    Parameters
    ----------
    value : object
        What is changed; it is left as it is.
    change : object
        A mapping changes key by key, and None takes a key away; all else stands in the place of
        the value. In a mapping that is called ``arguments`` None is a value, too.
    key : str, optional
        What the value is called.

    Examples
    --------
    >>> patched({"n": 100, "size": {"height": 8, "width": 8}}, {"n": None, "size": {"width": 9}})
    {'size': {'height': 8, 'width': 9}}
    >>> patched({"arguments": {"depth": 2}}, {"arguments": {"heads": None}})
    {'arguments': {'depth': 2, 'heads': None}}
    """
    if not isinstance(change, dict):
        return change
    kept = value if isinstance(value, dict) else {}
    are_arguments = key == _ARGUMENTS
    gone = {name for name, own in change.items() if own is None and not are_arguments}
    changed = {
        name: patched(kept.get(name), own, _ARGUMENTS if are_arguments else name)
        for name, own in change.items()
    }
    return {name: own for name, own in (kept | changed).items() if name not in gone}


def fingerprint(value: Any) -> str:
    """Return a number that stands for a value that JSON can hold: equal values, equal numbers.

    Parameters
    ----------
    value : object
        The order of a mapping's keys does not count.

    Returns
    -------
    str
        16 hexadecimal digits.

    Examples
    --------
    >>> fingerprint({"n": 100, "n0": 10}) == fingerprint({"n0": 10, "n": 100})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
