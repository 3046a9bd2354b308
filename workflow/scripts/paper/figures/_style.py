"""How all figures look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = {
    # They come with matplotlib; a sign that one lacks is taken from the next.
    "font.family": ["STIXGeneral", "DejaVu Serif", "DejaVu Sans"],
    "mathtext.fontset": "stix",
    "font.size": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "pdf.fonttype": 42,  # text stays text in the PDF
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
}


def lay_out(figure: Figure) -> None:
    """Give the parts of a figure their places, which they keep in every format."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


@contextmanager
def styled() -> Iterator[None]:
    """Draw in this project's style, whatever a user's matplotlibrc says."""
    import matplotlib.style

    with matplotlib.style.context(["default", _STYLE]):
        yield
