"""When a sequential plan looks at its samples.

No array library here: the workflow checks looks where Snakemake alone is installed.
"""

from __future__ import annotations

from collections.abc import Sequence

from dds.seeds import BLOCK


def growing_looks(n: int, growth: float) -> tuple[int, ...]:
    """Return looks that grow geometrically up to `n`, in whole blocks of samples.

    Parameters
    ----------
    n : int
        The last look.
    growth : float
        Ratio of a look to the one before, above 1.

    Returns
    -------
    tuple of int
        Rising, each once.

    Examples
    --------
    >>> growing_looks(1000, 1.5)
    (100, 200, 300, 400, 700, 1000)
    """
    looks, look = {n}, n / growth
    while look >= BLOCK / 2:
        looks.add(max(BLOCK, round(look / BLOCK) * BLOCK))
        look /= growth
    return tuple(sorted(look for look in looks if look <= n))


def check_looks(looks: Sequence[int], n: int) -> None:
    """Check that a plan may look at its samples after these numbers of them.

    Parameters
    ----------
    looks : sequence of int
        See `dds.statistics.plans.union_sequential.UnionSequential`.
    n : int
        Estimation samples of an image, the last look.

    Raises
    ------
    ValueError
        If they do not rise in whole blocks of samples and end at `n`.
    """
    rising = all(first < second for first, second in zip(looks, looks[1:], strict=False))
    whole_blocks = all(look > 0 and look % BLOCK == 0 for look in looks[:-1])
    if not (looks and looks[-1] == n and rising and whole_blocks):
        raise ValueError(
            f"looks must rise in multiples of {BLOCK} and end at n = {n}, not {list(looks)}"
        )
