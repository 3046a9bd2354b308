"""Radii that a plan decides: the same at every noise level, or others at each.

No array library here: the workflow checks radii where Snakemake alone is installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: A list for all noise levels, or one for each.
Radii = Sequence[float] | Mapping[float, Sequence[float]]


def given_radii(radii: Radii) -> tuple[float, ...] | dict[float, tuple[float, ...]]:
    """Return radii in one form, whatever they are read from: sorted, each once, all floats.

    Examples
    --------
    >>> given_radii([0.5, 0])
    (0.0, 0.5)
    >>> given_radii({"0.25": [0.5, 0.0]})
    {0.25: (0.0, 0.5)}
    """
    if isinstance(radii, Mapping):
        return {float(sigma): _sorted(radii[sigma]) for sigma in sorted(radii, key=float)}
    return _sorted(radii)


def radii_at(radii: Radii, sigma: float) -> tuple[float, ...]:
    """Return the radii that are decided at a noise level, rising.

    Raises
    ------
    ValueError
        If there are some for other noise levels alone.

    Examples
    --------
    >>> radii_at([0.5, 0.0], 0.25), radii_at({0.25: [0.5], 1.0: [1.0]}, 1.0)
    ((0.0, 0.5), (1.0,))
    """
    given = given_radii(radii)
    if not isinstance(given, Mapping):
        return given
    if sigma not in given:
        known = ", ".join(f"{level:g}" for level in given)
        raise ValueError(f"radii has none for sigma {sigma:g}; it has some for {known}")
    return given[sigma]


def _sorted(radii: Sequence[float]) -> tuple[float, ...]:
    return tuple(sorted({float(radius) for radius in radii}))
