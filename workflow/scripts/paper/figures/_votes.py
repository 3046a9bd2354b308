"""The votes of one image, for the notebook that certifies it step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paper.figures._style import styled

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

#: How many classes find room below the bars.
_MOST_TICKS = 10


def draw_votes(selection: np.ndarray, estimation: np.ndarray) -> Figure:
    """Draw the class counts of one image, those that select beside those that estimate.

    Parameters
    ----------
    selection, estimation : ndarray of int, shape (classes,)
        How many samples got each class.

    Returns
    -------
    Figure
    """
    import numpy as np
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator

    color = sns.color_palette("colorblind")[0]
    with styled():
        figure = Figure(figsize=(6.4, 1.8))
        axes = figure.subplots(1, 2)
        titled = zip(axes, (selection, estimation), ("selection", "estimation"), strict=True)
        for axis, votes, title in titled:
            # The edge keeps bars of a thousand classes as wide as can be seen.
            classes = np.arange(len(votes))
            axis.bar(classes, votes, color=color, edgecolor=color, linewidth=1)
            axis.set(title=title, xlabel="class", ylabel="votes")
            axis.xaxis.set_major_locator(FixedLocator(classes, nbins=_MOST_TICKS))
    return figure
