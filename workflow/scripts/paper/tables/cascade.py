"""The cascade of noise levels beside each of them: after Jeong and Shin (2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from dds.keys import key
from paper.cascades import Cascaded, check
from paper.parts import Panel, RadiusColumns, select_certificates
from paper.quantities import decimal
from paper.sheets import Cell, Sheet
from paper.tables._cells import (
    CONSTANT,
    accuracy_cell,
    by_radius,
    clean_notes,
    finish,
    groups,
    noise,
    radius_heads,
)
from paper.tables._numbers import best_accuracies, describe
from paper.tables._sampling import largest_radii

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Keys", "build", "check", "lay_out"]

#: Rows of numbers that agree in these are a curve of certified accuracy.
CURVE = ("part", "classifier", "method")

BEST, CASCADE = "best over σ", "cascade"
_NOTE = (
    "The cascade is one classifier: from the largest σ down, the first at which a class has more "
    "than p₀ = {} of the votes answers; its certificates share α among the σ (Jeong and Shin, "
    "2023). The best over σ is no classifier: for each ε it is another σ, "
    "chosen on the images that the accuracy is measured on."
)


class Keys(RadiusColumns, Cascaded):
    """One classifier a panel at every sigma, and all its sigmas as a cascade."""

    panels: Annotated[list[Panel], Field(min_length=1)] = key(
        "The parts of the table, one classifier each, of experiments with the fixed plan."
    )


def build(
    entry: Keys,
    certificates: Mapping[str, pd.DataFrame],
    published: pd.DataFrame | None,
    records: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Compute each panel's certified accuracy at every sigma, at the best, and of the cascade."""
    import pandas as pd

    from dds.statistics.accuracy import certified_accuracy
    from dds.statistics.cascade import compute_cascade

    parts = []
    for number, panel in enumerate(entry.panels):
        rows = select_certificates(certificates, panel.experiment, panel.classifier)
        reached = largest_radii(panel.experiment, certificates, records)
        cascade = compute_cascade(rows, p0=entry.p0)
        single = describe(certified_accuracy(rows, entry.radii), rows)
        single = single.assign(
            method=single["sigma"].map(noise), largest_radius=single["sigma"].map(reached)
        )
        best = describe(best_accuracies(rows, entry.radii, reached), rows).assign(
            method=BEST, largest_radius=max(reached.values())
        )
        together = describe(certified_accuracy(cascade, entry.radii), cascade).assign(
            method=CASCADE, largest_radius=_largest_radius(rows, entry.p0)
        )
        part = pd.concat([single, best[single.columns], together[single.columns]])
        part.insert(0, "part", number)
        part.insert(1, "panel", panel.title)
        part.insert(2, "experiment", panel.experiment)
        parts.append(part.assign(p0=entry.p0))
    return pd.concat(parts, ignore_index=True)


def _largest_radius(rows: pd.DataFrame, p0: float) -> float:
    """Return the radius that the cascade certifies where all samples agree."""
    from dds.statistics.cascade import certify_cascade

    drawn = rows.groupby("sigma")["n"].max()
    votes = drawn.to_numpy()[:, None, None]
    found = certify_cascade(votes, votes, drawn.index, rows["alpha"].iloc[0], p0)
    return float(found["radius"][0])


def lay_out(table: pd.DataFrame) -> list[Sheet]:
    """Lay out one sheet a panel: a row a sigma, the best over them, and the cascade."""
    several = table["part"].nunique() > 1
    note = _NOTE.format(decimal(table["p0"].iloc[0]))
    sheets = []
    for _, part in groups(table, "part"):
        rows = []
        for method, numbers in groups(part, "method"):
            mark = CONSTANT if numbers["nearly_constant"].eq(True).any() else ""
            rows.append([Cell(method, mark=mark), *map(accuracy_cell, by_radius(numbers))])
        title = part["panel"].iloc[0] if several else ""
        columns = ["Noise", *radius_heads(part)]
        sheets.append(finish(Sheet(title, columns, rows, [note, *clean_notes(part)])))
    return sheets
