"""Curves of certified accuracy, one classifier a panel."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from dds.keys import key
from paper.figures._style import lay_out
from paper.parts import Captioned, Panel

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Sizes in inches: of the text of an A4 page, of the widest panel, beside the panels, of a row.
_WIDTH, _PANEL, _LEFT, _HEIGHT = 6.4, 2.9, 0.6, 2.5

#: So many panels stand side by side at most.
_ABREAST = 3

#: Letters of a title that an inch holds, and the height of a further line of it.
_LETTERS, _LINE = 13, 0.17

#: Points of a curve whose radii are all decided.
_POINTS = 400

#: Curves of so few points show them.
_MARKED = 40

#: How light the curve of the largest value is, from 0 to 1, and the dashes of the first ones.
_LIGHTEST = 0.7
_DASHES = ("-", "--", "-.", ":", (0, (8, 2)), (0, (5, 1, 1, 1, 1, 1)), (0, (3, 3)))

#: What `draw_panels` takes for a curve a sigma against the radius.
AGAINST_RADIUS = {
    "along": "radius",
    "by": "sigma",
    "symbol": r"\sigma",
    "step": "pre",
    "xlabel": r"$\ell_2$ radius $\varepsilon$",
}


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
    **axes: Any,
) -> Figure:
    """Draw each panel's accuracies along one column, a curve and its band for each of `by`.

    Parameters
    ----------
    panels : sequence of Panel
        Their titles stand above.
    parts : sequence of DataFrame
        For each panel, from `dds.statistics.accuracy.certified_accuracy`. The points of few
        numbers are marked, but for those where a column ``marked`` is False.
    along, by : str
        The columns of the horizontal axis, and of the curves.
    symbol : str
        Of `by`, as TeX writes it, for the labels of the curves.
    step : str, optional
        How a curve jumps between its points, as in `matplotlib.axes.Axes.fill_between`.
    **axes
        What `matplotlib.axes.Axes.set` takes, for each panel.

    Returns
    -------
    Figure
        A value of `by` looks the same in all panels; `with_labels` says which it is.
    """
    from matplotlib.figure import Figure

    rows = -(-len(parts) // _ABREAST)
    columns = -(-len(parts) // rows)
    width = min(_WIDTH, _LEFT + _PANEL * columns)
    letters = int(_LETTERS * (width - _LEFT) / columns)
    titles = [textwrap.wrap(panel.title, letters) for panel in panels]
    height = _HEIGHT + _LINE * (max(map(len, titles)) - 1)
    figure = Figure(figsize=(width, height * rows))
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    for unused in grid[len(parts) :]:
        unused.remove()
    looks = _looks(sorted(set().union(*(part[by] for part in parts))))
    for axis, title, part in zip(grid, titles, parts, strict=False):
        for value, curve in part.groupby(by):
            label = f"${symbol} = {value:g}$"
            draw_curve(axis, curve, along=along, label=label, step=step, **looks[value])
        axis.set(ylim=(0, 100), **axes)
        axis.set_title("\n".join(title), parse_math=False)
        axis.grid(alpha=0.3)
    for first in grid[::columns]:
        first.set_ylabel("certified accuracy (%)")
    return figure


def draw_curve(
    axis: Axes, curve: pd.DataFrame, *, along: str, label: str, step: str | None, **look: Any
) -> None:
    """Draw accuracies along one column, and their band; `look` is what curves take in Matplotlib.

    The other arguments are those of `draw_panels`.
    """
    percent = 100 * curve[["accuracy", "low", "high"]]
    axis.plot(
        curve[along],
        percent["accuracy"],
        label=label,
        drawstyle=f"steps-{step}" if step else None,
        marker="o" if len(curve) <= _MARKED else None,
        markevery=curve["marked"].tolist() if "marked" in curve else None,
        clip_on=False,
        **look,
    )
    band = {"color": look["color"], "alpha": 0.15, "linewidth": 0}
    axis.fill_between(curve[along], percent["low"], percent["high"], step=step, **band)


def curve_radii(rows: pd.DataFrame, largest: float) -> np.ndarray:
    """Return at which radii to compute a curve: up to the largest, or those alone that are decided.

    Parameters
    ----------
    rows : DataFrame
        Certificates.
    largest : float
        Where the curve ends, if its sampling plan decides every radius.
    """
    import numpy as np

    decided = " ".join(rows["decided_radii"].unique()) if "decided_radii" in rows else ""
    if decided:
        return np.unique(np.array(decided.split(), dtype=float))
    return np.linspace(0, largest, _POINTS)


def with_labels(figure: Figure) -> Figure:
    """Return a figure of `draw_panels`, whose axes are complete, with the labels of its curves.

    Where they find no room beside the curves, they stand below the panels.
    """
    from paper.figures._labels import label_curves

    lay_out(figure)  # labels find their places in axes that have theirs
    if not all(label_curves(axis) for axis in figure.axes):
        _put_labels_below(figure)
    return figure


def _put_labels_below(figure: Figure) -> None:
    """Put the labels of curves into a legend, each once."""
    curves = {}
    for axis in figure.axes:
        curves |= {line.get_label(): line for line in axis.lines}
        for text in list(axis.texts):
            text.remove()
    figure.set_layout_engine("constrained")
    look = {"loc": "outside lower center", "handlelength": 3, "frameon": False}
    for columns in range(len(curves), 0, -1):
        legend = figure.legend(curves.values(), curves, ncols=columns, **look)
        if legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _looks(values: Sequence[float]) -> dict[float, dict[str, Any]]:
    """Return how the curve of each value looks; in grey, dashes and lightness tell them apart."""
    import matplotlib as mpl
    import numpy as np

    shades = mpl.colormaps["viridis"](np.linspace(0, _LIGHTEST, len(values)))
    return {
        value: {"color": tuple(shade), "linestyle": _DASHES[place % len(_DASHES)], "markersize": 3}
        for place, (value, shade) in enumerate(zip(values, shades, strict=True))
    }
