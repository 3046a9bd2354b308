"""Where descriptions differ, what one is that changes another, and a number that stands for one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple


class Difference(NamedTuple):
    """The first place where two descriptions differ.

    Attributes
    ----------
    place : str
        The keys that lead there, joined by dots.
    first, second : object
        What each holds there; None where it holds nothing.
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
    """
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in sorted(first.keys() | second.keys()):
            inside = f"{place}.{key}" if place else key
            if found := first_difference(first.get(key), second.get(key), inside):
                return found
        return None
    return None if first == second else Difference(place, first, second)


def patched(value: Any, change: Any) -> Any:
    """Return a value that JSON can hold, changed by another: a JSON Merge Patch (RFC 7396).

    Parameters
    ----------
    value : object
        What is changed; it is left as it is.
    change : object
        A mapping changes key by key, and None takes a key away; all else stands in the place of
        the value.

    Examples
    --------
    >>> patched({"n": 100, "size": {"height": 8, "width": 8}}, {"n": None, "size": {"width": 9}})
    {'size': {'height': 8, 'width': 9}}
    """
    if not isinstance(change, dict):
        return change
    kept = value if isinstance(value, dict) else {}
    changed = {key: patched(kept.get(key), own) for key, own in change.items()}
    return {key: own for key, own in (kept | changed).items() if own is not None}


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
