"""What results depend on, where Snakemake's report prints it."""

from __future__ import annotations

from typing import Any


class Printed(dict):
    r"""A mapping whose text holds no ``<``, so that nobody's words end a script of a page.

    Snakemake's report writes the parameters of a job into a script of its page as they are:
    there ``</script>`` in a caption would be one. Equal to, and pickled as, a plain mapping.

    Examples
    --------
    >>> print(Printed(caption="</script>"))
    {'caption': '\x3c/script>'}
    """

    def __str__(self) -> str:
        return repr(self).replace("<", r"\x3c")

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)
