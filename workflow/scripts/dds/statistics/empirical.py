"""Empirical accuracy: what attacks on single images say about a dataset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dds.statistics.bounds import binomial_interval
from dds.statistics.certificates import ABSTAIN, check_table


def empirical_accuracy(
    attacked: pd.DataFrame,
    *,
    by: Sequence[str] = ("classifier", "sigma"),
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the share of images that withstand attacks at each radius, with its interval.

    An image counts at a radius when PREDICT answers its label there and at every smaller
    radius that was attacked: what was found in a ball lies in every larger one, too. Where
    PREDICT abstains, it has not answered the label, and the image does not count. But that
    refutes no certificate: the smoothed classifier may be right where some samples do not show
    it. So it is ``unrefuted``, the share of images on which no other class was answered, that
    certified accuracy of the same images does not exceed, up to the error probabilities of the
    certificates and of PREDICT's answers, and this accuracy may fall below that.

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
        ``low``, ``high`` and ``unrefuted`` in [0, 1].

    Raises
    ------
    ValueError
        If there are no images, they lack a column, or some of them come not once at a radius.

    Examples
    --------
    Two images; under attack PREDICT abstains on the first, and calls the second one 2:

    >>> rows = [(0, 3, 0.0, 3), (0, 3, 0.5, -1), (1, 7, 0.0, 7), (1, 7, 0.5, 2)]
    >>> attacked = pd.DataFrame(rows, columns=["image", "label", "radius", "prediction"])
    >>> accuracy = empirical_accuracy(attacked.assign(classifier="cnn", sigma=0.25))
    >>> print(accuracy[["radius", "withstood", "accuracy", "unrefuted"]])
       radius  withstood  accuracy  unrefuted
    0     0.0          2       1.0        1.0
    1     0.5          0       0.0        0.5
    """
    check_table(attacked, [*by, "image", "label", "radius", "prediction"], "attacked images")
    if attacked.empty:
        raise ValueError("there are no attacked images to compute an accuracy from")
    if attacked.duplicated([*by, "image", "radius"]).any():
        raise ValueError("every image must be attacked once at every radius; one comes twice")
    parts = []
    for key, rows in attacked.groupby(list(by), dropna=False):
        answers = rows.pivot(index="image", columns="radius", values="prediction")
        if answers.isna().any(axis=None):
            raise ValueError("every image must be attacked at every radius; one is missing")
        labels = rows.groupby("image")["label"].first().to_numpy()[:, np.newaxis]
        found = answers.to_numpy()
        right = np.logical_and.accumulate(found == labels, axis=1)
        unrefuted = np.logical_and.accumulate((found == labels) | (found == ABSTAIN), axis=1)
        withstood, images = right.sum(axis=0), len(right)
        low, high = binomial_interval(withstood, images, level)
        columns = {
            "radius": answers.columns.to_numpy(), "images": images, "withstood": withstood,
            "accuracy": withstood / images, "low": low, "high": high,
            "unrefuted": unrefuted.mean(axis=0),
        }  # fmt: skip
        parts.append(pd.DataFrame(dict(zip(by, key, strict=True)) | columns))
    return pd.concat(parts, ignore_index=True)
