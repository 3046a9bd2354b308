"""Empirical accuracy: what attacks on single images say about a dataset."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dds.statistics.bounds import binomial_interval


def empirical_accuracy(
    attacked: pd.DataFrame,
    *,
    by: Sequence[str] = ("classifier", "sigma"),
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the share of images that withstand attacks at each radius, with its interval.

    An image counts at a radius when PREDICT answers its label there and at every smaller
    radius that was attacked: what was found in a ball lies in every larger one, too. Where
    PREDICT abstains, the image does not count. It is an upper bound of the accuracy that a
    stronger attack would leave, as certified accuracy is a lower one.

    Parameters
    ----------
    attacked : DataFrame
        ``image``, ``label``, ``radius`` (in [0,1] pixel units), ``prediction`` and the columns
        of `by`; every image at every radius.
    by : sequence of str, optional
        Columns whose combinations get an accuracy each.
    level : float, optional
        Coverage of the intervals, which are about the images.

    Returns
    -------
    DataFrame
        The columns `by`, ``radius``, ``images``, ``withstood`` (images), and ``accuracy``,
        ``low``, ``high`` in [0, 1].

    Raises
    ------
    ValueError
        If there are no images, or some of them were not attacked at a radius.

    Examples
    --------
    Two images; the attack on the second one succeeds:

    >>> rows = [(0, 3, 0.0, 3), (0, 3, 0.5, 3), (1, 7, 0.0, 7), (1, 7, 0.5, 2)]
    >>> attacked = pd.DataFrame(rows, columns=["image", "label", "radius", "prediction"])
    >>> accuracy = empirical_accuracy(attacked.assign(classifier="cnn", sigma=0.25))
    >>> print(accuracy[["radius", "withstood", "accuracy"]])
       radius  withstood  accuracy
    0     0.0          2       1.0
    1     0.5          1       0.5
    """
    if attacked.empty:
        raise ValueError("there are no attacked images to compute an accuracy from")
    parts = []
    for key, rows in attacked.groupby(list(by)):
        right = rows.assign(right=rows["prediction"] == rows["label"])
        right = right.pivot(index="image", columns="radius", values="right")
        if right.isna().any(axis=None):
            raise ValueError("every image must be attacked at every radius")
        withstood = right.astype(bool).sort_index(axis=1).cummin(axis=1).sum()
        low, high = binomial_interval(withstood.to_numpy(), len(right), level)
        columns = {"radius": withstood.index.to_numpy(), "images": len(right)}
        columns |= {"withstood": withstood.to_numpy(), "accuracy": withstood / len(right)}
        frame = pd.DataFrame({**dict(zip(by, key, strict=True)), **columns, "low": low})
        parts.append(frame.assign(high=high))
    return pd.concat(parts, ignore_index=True)
