"""What several plans check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dds.seeds import MOST_SAMPLES

if TYPE_CHECKING:
    import numpy as np


def check_samples(n0: int, n: int) -> None:
    """Check the numbers of selection and of estimation samples."""
    for name, samples in (("n0", n0), ("n", n)):
        if not 1 <= samples <= MOST_SAMPLES or samples != int(samples):
            raise ValueError(
                f"{name} must be whole, at least 1 and at most {MOST_SAMPLES:,}, not {samples}"
            )


def check_stops(drawn: np.ndarray, allowed: Sequence[int]) -> None:
    """Check that a plan stops after each of these numbers of estimation samples."""
    import numpy as np

    strangers = np.setdiff1d(drawn, allowed)
    if strangers.size:
        raise ValueError(
            f"{strangers[0]} estimation samples is no stop of this plan; "
            f"it stops at {', '.join(map(str, allowed))}"
        )
