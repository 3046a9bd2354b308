"""Certified accuracy against sigma, one curve a radius."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dds.keys import Radii, key
from paper.figures._panels import Panels, draw_panels, with_labels
from paper.parts import select_certificates

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURES = False

#: Points between the noise levels that are written below a panel.
_GAP = 3.0

#: How far the axis goes beyond the smallest and the largest of them, as a factor.
_BEYOND = 1.08


class Keys(Panels):
    """Certified accuracy against sigma, one curve a radius."""

    radii: Radii = key("The radii of the curves in [0,1] pixel units.")


def draw(entry: Keys, data: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the curves of each panel over its noise levels, with bands of 95%."""
    import numpy as np
    from matplotlib.ticker import FixedLocator

    from dds.statistics.accuracy import certified_accuracy

    parts = []
    for panel in entry.panels:
        rows = select_certificates(data, panel.experiment, panel.classifier)
        parts.append(certified_accuracy(rows, entry.radii))
    sigmas = np.unique(np.concatenate([part["sigma"] for part in parts]))
    figure = draw_panels(
        entry.panels,
        parts,
        along="sigma",
        by="radius",
        symbol=r"\varepsilon",
        xlabel=r"noise level $\sigma$",
        xscale="log",
        xlim=(sigmas[0] / _BEYOND, sigmas[-1] * _BEYOND),
    )
    for axis, part in zip(figure.axes, parts, strict=True):
        axis.xaxis.set_major_locator(FixedLocator(np.unique(part["sigma"])))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
    figure = with_labels(figure)
    for axis in figure.axes:
        _hide_crowded_ticks(axis)
    return figure


def _hide_crowded_ticks(axis: Axes) -> None:
    """Hide the numbers below a panel, in a figure that is laid out, that would cover others."""
    taken = -float("inf")
    for label in axis.get_xticklabels():
        extent = label.get_window_extent()
        label.set_visible(extent.x0 > taken)
        if label.get_visible():
            taken = extent.x1 + _GAP * axis.figure.dpi / 72
