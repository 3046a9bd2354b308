"""What several plans check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def check_samples(n0: int, n: int) -> None:
    """Check the numbers of selection and of estimation samples."""
    if n0 < 1 or n < 1:
        raise ValueError(f"n0 ({n0}) and n ({n}) must be at least 1")


def check_stops(drawn: np.ndarray, allowed: Sequence[int]) -> None:
    """Check that a plan stops after each of these numbers of estimation samples."""
    import numpy as np

    strangers = np.setdiff1d(drawn, allowed)
    if strangers.size:
        raise ValueError(
            f"{strangers[0]} estimation samples is no stop of this plan; "
            f"it stops at {', '.join(map(str, allowed))}"
        )
