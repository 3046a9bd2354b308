"""Certified accuracy against the radius, one curve a sigma: the paper's Figure 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from paper.figures._panels import AGAINST_RADIUS, Panels, curve_radii, draw_panels, with_labels
from paper.parts import Panel, select_certificates

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

PICTURES = False

#: How far a curve goes beyond the largest radius, where it falls to 0.
_BEYOND = 1.05


class Keys(Panels):
    """Certified accuracy against the radius, one curve a sigma (Figure 2)."""


def draw(entry: Keys, data: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the curves of each panel up to its largest radius, with bands of 95%."""
    return with_labels(draw_curves(entry.panels, data))


def draw_curves(panels: Sequence[Panel], data: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw a curve a sigma in each panel, without their labels.

    Where a sampling plan decides some radii alone, they are marked. The step down to the next
    one is drawn at once, so that between them, too, a curve claims no more than was certified.
    """
    chosen = [select_certificates(data, panel.experiment, panel.classifier) for panel in panels]
    parts = [_certified(rows) for rows in chosen]
    largest = max(part["radius"].max() for part in parts)
    return draw_panels(panels, parts, xlim=(0, largest), **AGAINST_RADIUS)


def _certified(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a panel's curves; where each sigma has radii of its own, each at those alone."""
    from dds.statistics.accuracy import certified_accuracy

    accuracies = certified_accuracy(rows, _radii(rows))
    several = "decided_radii" in rows and rows["decided_radii"].nunique() > 1
    return accuracies.dropna(subset=["accuracy"]) if several else accuracies


def _radii(rows: pd.DataFrame) -> np.ndarray:
    """Return where to compute a panel's curves; up to its largest sigma if none certifies."""
    largest = rows["radius"].max()
    certifies = rows["radius"].gt(0).any()
    return curve_radii(rows, _BEYOND * largest if certifies else rows["sigma"].max())
