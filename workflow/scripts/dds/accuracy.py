"""Certified accuracy, with intervals, from certificates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dds.certificates import binomial_interval


def certified_accuracy(
    certificates: pd.DataFrame,
    radii: Sequence[float],
    *,
    by: Sequence[str] = ("classifier", "sigma"),
    level: float = 0.95,
) -> pd.DataFrame:
    """Compute the share of images that are classified correctly and certified, per radius.

    Parameters
    ----------
    certificates : DataFrame
        With the columns ``correct``, ``radius`` ([0,1] pixel units) and those of `by`.
        An image counts at a radius when it is correct and its own radius is no less;
        a missing radius certifies nothing.
    radii : sequence of float
        In [0,1] pixel units, at least 0. At radius 0 the result is the clean accuracy.
    by : sequence of str, optional
        Columns whose combinations get an accuracy each; a missing value is a value.
    level : float, optional
        Coverage of the interval; see `dds.certificates.binomial_interval`.

    Returns
    -------
    DataFrame
        The columns `by`, ``radius``, ``images``, ``certified`` (number of images),
        ``accuracy``, ``low`` and ``high`` (in [0, 1]); a row a combination and radius.

    Raises
    ------
    ValueError
        If there are no certificates, or a radius is negative or not a number.
    """
    by, radii = list(by), np.asarray(radii, dtype=float)
    if certificates.empty:
        raise ValueError("there are no certificates to compute an accuracy from")
    if not (np.isfinite(radii) & (radii >= 0)).all():
        raise ValueError(f"radii must be numbers of at least 0, not {radii.tolist()}")
    correct = certificates["correct"].astype(bool)
    parts = [
        certificates[by].assign(
            radius=radius, certified=correct & (certificates["radius"] >= radius)
        )
        for radius in radii
    ]
    groups = pd.concat(parts).groupby([*by, "radius"], dropna=False)["certified"]
    accuracy = groups.agg(images="size", certified="sum").reset_index()
    low, high = binomial_interval(accuracy["certified"], accuracy["images"], level)
    return accuracy.assign(accuracy=accuracy["certified"] / accuracy["images"], low=low, high=high)
