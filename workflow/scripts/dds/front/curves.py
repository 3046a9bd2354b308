"""Certified accuracy over the radius, as a curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dds.statistics.accuracy import certified_accuracy, only_radii
from dds.statistics.certificates import ABSTAIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What is counted, by whether classes are known.
_ACCURACY, _SHARE = "certified accuracy", "certified share"
#: Radii at which a curve is drawn.
_POINTS = 400


def counted(certificates: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return certificates that say of every image whether it counts, and what is counted.

    An image counts where its answer is right; if no classes are known, where there is an answer.

    Parameters
    ----------
    certificates : DataFrame
        With ``prediction`` and ``correct``, which is missing where classes are unknown.

    Returns
    -------
    DataFrame
    str
        What the share of such images is called.

    Raises
    ------
    ValueError
        If the classes of some images are known, and of others not.

    Examples
    --------
    >>> unknown = pd.DataFrame({"prediction": [3, -1], "correct": [pd.NA, pd.NA]})
    >>> rows, what = counted(unknown)
    >>> rows["correct"].tolist(), what
    ([True, False], 'certified share')
    """
    unknown = certificates["correct"].isna()
    if not unknown.any():
        return certificates, _ACCURACY
    if not unknown.all():
        raise ValueError("the classes of some images are known, and of others not")
    return certificates.assign(correct=certificates["prediction"] != ABSTAIN), _SHARE


def draw_curve(certificates: pd.DataFrame, ax: Axes, *, label: str) -> None:
    """Draw certified accuracy over the radius with its interval of 95%.

    Parameters
    ----------
    certificates : DataFrame
        Of one classifier at one noise level, with ``radius``, ``correct``, ``prediction`` and
        ``sigma``. Where a sampling plan decided some radii alone, only they are marked.
    ax : matplotlib Axes
        Where to draw.
    label : str
        The curve's name in a legend.

    Raises
    ------
    ValueError
        If the classes of some images are known, and of others not, also of curves that the axes
        have.
    """
    rows, what = counted(certificates)
    if {ax.get_ylabel(), what} == {_ACCURACY, _SHARE}:
        raise ValueError(
            "the classes of some images are known, and of others not: their curves have no axis "
            "in common"
        )
    only = only_radii(rows)
    sigma = float(np.nan_to_num(rows["sigma"].iloc[0]))
    top = max(1.05 * np.nan_to_num(rows["radius"].to_numpy(float)).max(), 0.1 * sigma)
    radii = np.linspace(0, top, _POINTS) if only is None else only
    curve = certified_accuracy(rows, radii)
    marker = "o" if len(radii) < _POINTS else None
    (line,) = ax.plot(curve["radius"], curve["accuracy"], marker=marker, label=label)
    band = {"color": line.get_color(), "alpha": 0.2, "lw": 0}
    ax.fill_between(curve["radius"], curve["low"], curve["high"], **band)
    ax.set_xlabel("l2 radius, pixels in [0,1]")
    ax.set_ylabel(what)
    ax.set_ylim(0, 1)
