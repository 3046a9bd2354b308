"""Pieces that tables and figures of several kinds share, as a study file writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dds.keys import Keys, Radii, Text, combined, key

if TYPE_CHECKING:
    import pandas as pd

    from dds.kinds import Kinds


class Entry(Keys):
    """A table or figure: its kind, and the keys of that kind."""

    kind: Text = key("Its form.", allowed="the name of a kind, or FILE.py", paper="3, 4.1")


class Captioned(Keys):
    """What every table and figure has."""

    caption: Text = key("What it shows.")


class RadiusColumns(Captioned):
    """A table with a column for each radius."""

    radii: Radii = key("The radii of the columns in [0,1] pixel units.", paper="4.1")
    intervals: bool = key(
        "Whether each accuracy stands with its 95% confidence interval over images. Without them "
        "a note says how far the widest reaches; the .csv file has them all.",
        False,
    )


class Titled(Keys):
    """A part of a table or figure with a title."""

    title: Text = key("What to call the part.")


class Shown(Keys):
    """One classifier of one experiment."""

    experiment: str = key("Where its numbers come from.", allowed="a name of `experiments`")
    classifier: str = key("One of the experiment's classifiers.", allowed="a classifier")


class Panel(Shown, Titled):
    """A part that shows one classifier."""


class Method(Keys):
    """An experiment beside others."""

    label: Text = key("What to call the method.")
    experiment: str = key("Where its numbers come from.", allowed="a name of `experiments`")


def read_entry(kinds: Kinds, keys: Mapping[str, Any]) -> Entry:
    """Return a table or figure of a study file with every key typed and defaults filled in.

    Parameters
    ----------
    kinds : Kinds
        `paper.tables.TABLES` or `paper.figures.FIGURES`.
    keys : mapping
        ``kind``, and the keys of that kind as a study file writes them.

    Returns
    -------
    Entry
        With the keys as attributes.

    Raises
    ------
    ValueError
        If there is no such kind, or a key is not what the kind allows.

    Examples
    --------
    >>> from paper.figures import FIGURES
    >>> keys = {"kind": "pictures", "caption": "Digits.", "experiment": "main", "images": 8}
    >>> read_entry(FIGURES, keys).images
    8
    """
    return combined(Entry, kinds[keys["kind"]].Keys).model_validate(keys)


def select_certificates(
    certificates: Mapping[str, pd.DataFrame], experiment: str, classifier: str
) -> pd.DataFrame:
    """Return the certificates of one classifier.

    Parameters
    ----------
    certificates : mapping of str to DataFrame
        By experiment, as `dds.statistics.certificates.compute_certificates` returns them.
    experiment, classifier : str
        Which of them.

    Returns
    -------
    DataFrame
        Some of its rows, at all noise levels.
    """
    rows = certificates[experiment]
    return rows[rows["classifier"] == classifier]
