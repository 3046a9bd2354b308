"""Curves of certified accuracy, one classifier a panel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from dds.keys import key
from paper.parts import Captioned, Panel

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Panels(Captioned):
    """A figure of one classifier a panel."""

    panels: Annotated[list[Panel], Field(min_length=1)] = key(
        "The parts of the figure, one classifier each.", paper="Figure 2"
    )


def draw_panels(
    panels: Sequence[Panel],
    parts: Sequence[pd.DataFrame],
    *,
    along: str,
    by: str,
    symbol: str,
    step: str | None = None,
    **style: Any,
) -> Figure:
    """Draw each panel's accuracies along one column, a curve and its band for each of `by`.

    Parameters
    ----------
    panels : sequence of Panel
        Their titles stand above.
    parts : sequence of DataFrame
        For each panel, from `dds.statistics.accuracy.certified_accuracy`.
    along, by : str
        The columns of the horizontal axis, and of the curves.
    symbol : str
        Of `by`, as TeX writes it, for the legend.
    step : str, optional
        How a curve jumps between its points, as in `matplotlib.axes.Axes.fill_between`.
    **style
        Of the lines.

    Returns
    -------
    Figure
        A value of `by` has one colour in all panels.
    """
    import seaborn as sns
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.8 * len(parts) + 0.9, 2.5))
    grid = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    values = sorted(set().union(*(part[by] for part in parts)))
    colors = dict(zip(values, sns.color_palette("colorblind", len(values)), strict=True))
    drawstyle = f"steps-{step}" if step else None
    lines = {}
    for axis, panel, part in zip(grid, panels, parts, strict=True):
        for value, curve in part.groupby(by):
            percent = 100 * curve[["accuracy", "low", "high"]]
            look = {"color": colors[value], "label": f"${symbol} = {value:g}$", **style}
            (lines[value],) = axis.plot(
                curve[along], percent["accuracy"], drawstyle=drawstyle, clip_on=False, **look
            )
            band = {"color": colors[value], "alpha": 0.2, "linewidth": 0}
            axis.fill_between(curve[along], percent["low"], percent["high"], step=step, **band)
        axis.set(title=panel.title, ylim=(0, 100))
        axis.grid(alpha=0.3)
    grid[0].set_ylabel("certified accuracy (%)")
    handles = [lines[value] for value in values]
    figure.legend(handles=handles, loc="outside right center", frameon=False)
    return figure
