"""The paper's figures, one module a kind, which bears the name that entries give as `kind`.

A module holds

- ``Keys``: what an entry may write beside ``kind``;
- ``PICTURES``: whether the figure is drawn from pictures, instead of certificates;
- ``draw(entry, data)``: the figure, as `matplotlib.figure.Figure`, from the arguments of
  `draw_figure`;
- optionally ``check(entry, study)``: yields what does not fit between an entry and its study,
  as the keys and indices that lead to a value inside the entry, and a reason that reads well
  behind it. It may rely on every experiment that the entry names being one of the study.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dds.files import atomic_path
from dds.kinds import Kinds
from paper.figures._style import lay_out, styled
from paper.figures._votes import draw_votes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from paper.parts import Entry

__all__ = ["FIGURES", "draw_figure", "draw_votes", "read_data", "save_figure", "to_png"]

FIGURES = Kinds(__name__)


def draw_figure(entry: Entry, data: Mapping[str, Any]) -> Figure:
    """Draw a figure of a study file.

    Parameters
    ----------
    entry : Entry
        The figure's entry in the study file, of any kind of `FIGURES`.
    data : mapping
        What that kind wants: certificates (DataFrame) by experiment, and attacked images
        (DataFrame) by ``attacks/NAME``; or the arrays
        of ``pictures/NAME.npz``: ``clean`` (images, channels, height, width), ``noisy``
        and ``denoised`` (sigmas, images, channels, height, width), all in [0, 1] but for
        the noise, and ``sigmas``.

    Returns
    -------
    Figure
        To be saved with `save_figure`; it belongs to no window and needs no closing. It
        looks the same whatever a user's matplotlibrc says, and is laid out once for all formats.
    """
    with styled():
        figure = FIGURES[entry.kind].draw(entry, data)
        lay_out(figure)
    return figure


def read_data(paths: Sequence[str | Path]) -> dict[str, Any]:
    """Read what a figure is drawn from.

    Parameters
    ----------
    paths : sequence of str or Path
        Certificates (.parquet, named by their experiment) and attacked images (named by
        their attack, in a folder ``attacks``), or the one file of arrays (.npz) that a figure
        of pictures wants.

    Returns
    -------
    dict
        The second argument of `draw_figure`.
    """
    import numpy as np
    import pandas as pd

    paths = [Path(path) for path in paths]
    if paths[0].suffix == ".npz":
        with np.load(paths[0]) as arrays:
            return dict(arrays)
    return {_called(path): pd.read_parquet(path) for path in paths}


def _called(path: Path) -> str:
    """Return what data are called: an attack may have the name of its experiment."""
    return f"attacks/{path.stem}" if path.parent.name == "attacks" else path.stem


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure, atomically and without a date, so that equal figures are equal files.

    Parameters
    ----------
    figure : Figure
        From `draw_figure`.
    path : str or Path
        Its suffix is the format: ``.pdf``, ``.png``.
    """
    metadata = {"CreationDate": None} if Path(path).suffix == ".pdf" else None
    with atomic_path(path) as temporary, styled():
        figure.savefig(temporary, metadata=metadata)


def to_png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file, for a notebook to show.

    A notebook shows a `Figure` itself in the style, the size and the format that its reader's
    settings say, or not at all.

    Parameters
    ----------
    figure : Figure
        From `draw_figure` or `draw_votes`.
    """
    file = io.BytesIO()
    with styled():
        figure.savefig(file, format="png")
    return file.getvalue()
