"""The paper's figures, from certificates or arrays to matplotlib figures.

A kind of figure is a function and a line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from dds.files import atomic_path
from dds.statistics.accuracy import certified_accuracy, select_certificates

_STYLE = {
    "font.family": "serif",
    "font.serif": ["STIX Two Text", "STIXGeneral", "DejaVu Serif"],
    "mathtext.fontset": "stix",
    "font.size": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "pdf.fonttype": 42,  # text stays text in the PDF
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
}

# How many noise levels find room below a panel.
_MOST_TICKS = 10


def draw_figure(entry: Mapping[str, Any], data: Mapping[str, Any]) -> Figure:
    """Draw a figure of a study file.

    Parameters
    ----------
    entry : mapping
        The figure's entry in the study file; its ``kind`` is a key of `KINDS`.
    data : mapping
        What that kind wants: certificates (DataFrame) by experiment, or the arrays
        of `draw_pictures`.

    Returns
    -------
    Figure
        To be saved with `save_figure`; it belongs to no window and needs no closing.
    """
    with mpl.rc_context(_STYLE):
        return KINDS[entry["kind"]](entry, data)


def read_data(paths: Sequence[str | Path]) -> dict[str, Any]:
    """Read what a figure is drawn from.

    Parameters
    ----------
    paths : sequence of str or Path
        Certificates (.parquet, named by their experiment), or the one file of
        arrays (.npz) that `pictures` wants.

    Returns
    -------
    dict
        The second argument of `draw_figure`.
    """
    paths = [Path(path) for path in paths]
    if paths[0].suffix == ".npz":
        with np.load(paths[0]) as arrays:
            return dict(arrays)
    return {path.stem: pd.read_parquet(path) for path in paths}


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure atomically, in the format of the path's suffix, without a date."""
    metadata = {"CreationDate": None} if Path(path).suffix == ".pdf" else None
    with atomic_path(path) as temporary, mpl.rc_context(_STYLE):
        figure.savefig(temporary, metadata=metadata)


def accuracy_against_radius(
    entry: Mapping[str, Any], certificates: Mapping[str, pd.DataFrame]
) -> Figure:
    """Draw certified accuracy against the radius, one curve a sigma (Figure 2)."""
    panels = [select_certificates(certificates, panel) for panel in entry["panels"]]
    parts = [
        certified_accuracy(rows, np.linspace(0, 1.05 * rows["radius"].max(), 400))
        for rows in panels
    ]
    figure = _draw_panels(entry, parts, "radius", "sigma", r"\sigma", step="pre")
    for axis in figure.axes:
        axis.set(xlabel=r"$\ell_2$ radius $\varepsilon$", xlim=(0, None))
    return figure


def accuracy_against_sigma(
    entry: Mapping[str, Any], certificates: Mapping[str, pd.DataFrame]
) -> Figure:
    """Draw certified accuracy against sigma, one curve for each of the entry's radii."""
    parts = [
        certified_accuracy(select_certificates(certificates, panel), entry["radii"])
        for panel in entry["panels"]
    ]
    figure = _draw_panels(entry, parts, "sigma", "radius", r"\varepsilon", marker="o", markersize=3)
    for axis, part in zip(figure.axes, parts, strict=True):
        axis.set(xlabel=r"noise level $\sigma$", xscale="log")
        axis.xaxis.set_major_locator(FixedLocator(np.unique(part["sigma"]), nbins=_MOST_TICKS))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
    return figure


def pictures(entry: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Figure:
    """Draw clean images, and below them noisy and denoised ones at every sigma.

    `arrays` holds ``clean`` (images, channels, height, width), ``noisy`` and
    ``denoised`` (sigmas, images, channels, height, width) and ``sigmas``.
    """
    rows = [("clean", arrays["clean"])]
    for sigma, noisy, denoised in zip(
        arrays["sigmas"], arrays["noisy"], arrays["denoised"], strict=True
    ):
        rows += [(rf"$\sigma = {sigma:g}$", noisy), ("denoised", denoised)]
    columns = len(arrays["clean"])
    figure = Figure(figsize=(0.8 + 0.62 * columns, 0.64 * len(rows)))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (label, images) in zip(grid, rows, strict=True):
        for axis, image in zip(axes, images, strict=True):
            pixels = np.clip(np.moveaxis(image, 0, -1), 0, 1)
            axis.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        axes[0].set_ylabel(label, rotation=0, ha="right", va="center")
    return figure


def draw_votes(selection: np.ndarray, estimation: np.ndarray) -> Figure:
    """Draw the class counts of one image, those that select beside those that estimate.

    Both have shape (classes,).
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.4, 1.8))
        for axis, votes, title in zip(
            figure.subplots(1, 2), (selection, estimation), ("selection", "estimation"), strict=True
        ):
            axis.bar(np.arange(len(votes)), votes, color=sns.color_palette("colorblind")[0])
            axis.set(title=title, xlabel="class", ylabel="votes", xticks=np.arange(len(votes)))
    return figure


def _draw_panels(
    entry: Mapping[str, Any], parts: Sequence[pd.DataFrame], along: str, by: str, symbol: str, *,
    step: str | None = None, **style: Any,
) -> Figure:  # fmt: skip
    """Draw each panel's accuracies along one column, a curve and its band for each of `by`."""
    figure = Figure(figsize=(2.8 * len(parts) + 0.9, 2.5))
    grid = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    values = sorted(set().union(*(part[by] for part in parts)))
    colors = dict(zip(values, sns.color_palette("colorblind", len(values)), strict=True))
    lines = {}
    for axis, panel, part in zip(grid, entry["panels"], parts, strict=True):
        for value, curve in part.groupby(by):
            percent = 100 * curve[["accuracy", "low", "high"]]
            (lines[value],) = axis.plot(
                curve[along], percent["accuracy"], color=colors[value],
                drawstyle=f"steps-{step}" if step else None, clip_on=False,
                label=f"${symbol} = {value:g}$", **style,
            )  # fmt: skip
            axis.fill_between(curve[along], percent["low"], percent["high"], step=step,
                              color=colors[value], alpha=0.2, linewidth=0)  # fmt: skip
        axis.set(title=panel["title"], ylim=(0, 100))
        axis.grid(alpha=0.3)
    grid[0].set_ylabel("certified accuracy (%)")
    figure.legend(handles=[lines[value] for value in values], loc="outside right center",
                  frameon=False)  # fmt: skip
    return figure


#: The kinds of figure a study file can ask for.
KINDS = {
    "accuracy_against_radius": accuracy_against_radius,
    "accuracy_against_sigma": accuracy_against_sigma,
    "pictures": pictures,
}
