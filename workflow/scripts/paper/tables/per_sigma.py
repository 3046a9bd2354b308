"""Certified accuracy of one classifier a panel, at every sigma: the paper's Tables 2 and 4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from dds.keys import key
from paper.parts import Panel, RadiusColumns, select_certificates
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
from paper.tables._numbers import describe
from paper.tables._published import beside_published, compare, correlate, published_numbers
from paper.tables._sampling import largest_radii

if TYPE_CHECKING:
    import pandas as pd

#: Rows of numbers that agree in these are a curve of certified accuracy.
CURVE = ("part", "classifier", "sigma")


class PublishedPanel(Panel):
    """A panel, and what the paper prints in its place."""

    #: A number without a sigma, as the best over them, would stand beside none of ours.
    PUBLISHED_BY_SIGMA: ClassVar[bool] = True

    published: str | None = key(
        "The table of the paper whose numbers, of each sigma, stand beside ours.",
        None,
        allowed='text, such as `"4a"`',
    )


class Keys(RadiusColumns):
    """One classifier a panel at every sigma (Tables 2 and 4)."""

    panels: Annotated[list[PublishedPanel], Field(min_length=1)] = key(
        "The parts of the table, one classifier each.", paper="4.1"
    )


def build(
    entry: Keys,
    certificates: Mapping[str, pd.DataFrame],
    published: pd.DataFrame | None,
    records: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Compute the certified accuracy of each panel's classifier at every sigma and radius."""
    import pandas as pd

    from dds.statistics.accuracy import certified_accuracy

    parts = []
    for number, panel in enumerate(entry.panels):
        rows = select_certificates(certificates, panel.experiment, panel.classifier)
        part = describe(certified_accuracy(rows, entry.radii), rows)
        part["largest_radius"] = part["sigma"].map(
            largest_radii(panel.experiment, certificates, records)
        )
        part.insert(0, "part", number)
        part.insert(1, "panel", panel.title)
        part.insert(2, "experiment", panel.experiment)
        if panel.published is not None:
            cells = published_numbers(published, panel.published)
            part = correlate(part.merge(cells, on=["sigma", "radius"], how="left"), rows)
        parts.append(part)
    return compare(pd.concat(parts, ignore_index=True))


def lay_out(table: pd.DataFrame) -> list[Sheet]:
    """Lay out one sheet a panel, with one row a sigma and one column a radius."""
    several = table["part"].nunique() > 1
    sheets = []
    for _, part in groups(table, "part"):
        rows = []
        for sigma, numbers in groups(part, "sigma"):
            mark = CONSTANT if numbers["nearly_constant"].eq(True).any() else ""
            head = Cell(noise(sigma), mark=mark)
            rows.append([head, *map(accuracy_cell, by_radius(numbers))])
            rows += beside_published(numbers)
        title = part["panel"].iloc[0] if several else ""
        columns = ["Noise", *radius_heads(part)]
        sheets.append(finish(Sheet(title, columns, rows, clean_notes(part))))
    return sheets
