"""The cascade's certified accuracy against the radius, over the curves of its noise levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from paper.cascades import Cascaded, check
from paper.figures._panels import Panels, curve_radii, draw_curve, with_labels
from paper.figures.accuracy_against_radius import draw_curves
from paper.parts import select_certificates

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["PICTURES", "Keys", "check", "draw"]

PICTURES = False


class Keys(Panels, Cascaded):
    """Certified accuracy against the radius: one curve a sigma, and all of them as a cascade."""


def draw(entry: Keys, data: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw each panel's curves at every sigma, and the cascade's in black, with bands of 95%."""
    from dds.statistics.accuracy import certified_accuracy
    from dds.statistics.cascade import compute_cascade

    figure = draw_curves(entry.panels, data)
    for axis, panel in zip(figure.axes, entry.panels, strict=True):
        rows = select_certificates(data, panel.experiment, panel.classifier)
        radii = curve_radii(rows, axis.get_xlim()[1])
        curve = certified_accuracy(compute_cascade(rows, p0=entry.p0), radii)
        look = {"color": "black", "linewidth": 1.8}
        draw_curve(axis, curve, along="radius", label="cascade", step="pre", **look)
    return with_labels(figure)
