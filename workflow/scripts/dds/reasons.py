"""What others' errors say, in one line."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class's name where it has none.

    What a mapping lacks is a name alone, which is said.

    Examples
    --------
    >>> first_line(RuntimeError("out of luck.")), first_line(RuntimeError())
    ('out of luck', 'RuntimeError')
    >>> first_line(KeyError("mean"))
    "KeyError: 'mean'"
    """
    if isinstance(error, KeyError):
        return f"KeyError: {error}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
