"""How all figures look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_STYLE = {
    "font.family": "serif",
    "font.serif": ["STIXGeneral", "DejaVu Serif"],  # they come with matplotlib
    "mathtext.fontset": "stix",
    "font.size": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "pdf.fonttype": 42,  # text stays text in the PDF
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in this project's style, whatever a user's matplotlibrc says."""
    import matplotlib.style

    with matplotlib.style.context(["default", _STYLE]):
        yield
