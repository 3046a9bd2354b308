"""When a sequential plan looks at its samples.

No array library here: the workflow checks looks where Snakemake alone is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dds.seeds import BLOCK

if TYPE_CHECKING:
    import numpy as np


class Looking:
    """What plans share that look at the counts of an image now and then.

    A plan has ``looks``, the numbers of samples to look at, rising, the last one ``n``; and tells
    with ``_is_decided(drawn, successes)`` whether an image stops at the look after `drawn` samples,
    of which its selected class has `successes`.
    """

    def goal(self, label: int | None, selection: np.ndarray, estimation: np.ndarray) -> int:
        """Return how many estimation samples to have drawn before asking again.

        See `dds.statistics.plans.Plan.goal`; the answer is always a look, or 0.
        """
        selected = int(selection.argmax())
        if label is not None and label != selected:
            return 0
        drawn = int(estimation.sum())
        if drawn in self.looks and self._is_decided(drawn, int(estimation[selected])):
            return drawn
        return next((look for look in self.looks if look > drawn), self.n)

    def computed(self, drawn: np.ndarray) -> np.ndarray:
        """Tell which images, by the samples drawn of them, have a certificate."""
        import numpy as np

        return np.asarray(drawn) > 0


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
