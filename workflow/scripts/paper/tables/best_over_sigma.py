"""The best over sigma for each radius, method by method: the paper's Tables 1, 3 and 5."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

import dds.keys
from dds.data.splits import may_overlap
from dds.keys import Text, key, refuse
from paper.parts import RadiusColumns, select_certificates
from paper.sheets import Cell, Sheet
from paper.tables._cells import (
    CLEAN_NOTE,
    CONSTANT,
    SEVERAL,
    accuracy_cell,
    by_radius,
    finish,
    groups,
    radius_heads,
)
from paper.tables._numbers import best_accuracies, describe
from paper.tables._published import (
    beside_logs,
    beside_published,
    compare,
    correlate,
    published_cell,
    published_numbers,
)
from paper.tables._sampling import largest_radii

if TYPE_CHECKING:
    import pandas as pd

#: Rows of numbers that agree in these are a curve; a maximum of falling ones falls as well.
CURVE = ("row", "classifier")

_CIRCLES = {"none": "○", "half": "◐", "full": "●"}
_NOTE = (
    "○ trained for noise, ◐ in part off the shelf, ● off the shelf. Each entry is the best "
    "over σ, with that choice's clean accuracy in parentheses."
)
_SAME_IMAGES = "σ is chosen on the images that the accuracy is measured on, as papers do"
_OTHER_IMAGES = "σ is chosen on validation images ({}), the accuracy is measured on others"

#: What the experiment that sigma is chosen on must have in common with the one that it is for.
_SHARED = ("dataset", "denoiser", "steps", "timestep", "sigmas")
_LITERATURE = "Numbers of prior work are taken from the respective papers."


class PublishedRow(dds.keys.Keys):
    """A row of a table of the paper."""

    table: str = key("The table of the paper.", allowed='text, such as `"3"`')
    row: str = key("The row's name in `config/literature`.")
    extra_data: Literal["yes", "no"] | None = key(
        "Tells apart rows of the same name: SmoothAdv stands twice in Table 3.", None
    )


class ChosenOn(dds.keys.Keys):
    """Whose votes choose sigma."""

    experiment: str = key(
        "An experiment like the row's, on images of another split.",
        allowed="a name of `experiments`",
    )


class Row(dds.keys.Keys):
    """A method: ours, a published one, or ours beside a published one."""

    label: Text = key("What to call the method.")
    off_the_shelf: Literal["full", "half", "none"] = key(
        "How much of the method is models used as they come.", paper="Table 1"
    )
    extra_data: bool = key(
        "Whether the method was trained on more data than the dataset's.", False, paper="Table 1"
    )
    several_passes: bool = key(
        "Whether one noisy sample takes several passes through a network, as majority votes over "
        "several denoised images do.",
        False,
    )
    cite: Text | None = key(
        "The method's reference.", None, allowed="a key of `workflow/report/references.yaml`"
    )
    experiment: str | None = key(
        "Where our numbers come from.", None, allowed="a name of `experiments`"
    )
    classifier: str | None = key(
        "One of the experiment's classifiers.", None, allowed="a classifier"
    )
    published: PublishedRow | None = key(
        "The published row whose numbers stand beside ours.", None, paper="Tables 1, 3"
    )

    chosen_on: ChosenOn | None = key(
        "On which images sigma is chosen for each radius, such as those of the split "
        "`validation`. Left out, it is chosen on the images that the accuracy is measured on.",
        None,
    )

    @model_validator(mode="after")
    def _has_numbers(self) -> Self:
        if self.experiment is not None and self.classifier is None:
            raise refuse("experiment needs classifier beside it")
        if self.classifier is not None and self.experiment is None:
            raise refuse("classifier needs experiment beside it")
        if self.experiment is None and self.published is None:
            raise refuse("needs experiment and classifier, or published, or all three")
        if self.experiment is None and self.chosen_on is not None:
            raise refuse("chosen_on needs experiment and classifier beside it")
        return self


class Keys(RadiusColumns):
    """One method a row, with the best sigma for each radius (Tables 1, 3 and 5)."""

    #: A sigma that the sampling plan leaves undecided would be missing from the best.
    BEST_OVER_SIGMA: ClassVar[bool] = True

    rows: Annotated[list[Row], Field(min_length=1)] = key(
        "The methods. A row needs an experiment and a classifier, or `published`, or all three.",
        paper="4.1",
    )
    measured_on: bool = key(
        "Whether a column says on how many images each method was measured.", False
    )


def check(entry: Keys, study: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield which rows' sigmas are chosen by votes that are not what they must be."""
    for index, row in enumerate(entry.rows):
        if row.chosen_on is None:
            continue
        ours, name = study.experiments[row.experiment], row.chosen_on.experiment
        other, at = study.experiments[name], ("rows", index, "chosen_on", "experiment")
        for shared in _SHARED:
            if getattr(ours, shared) != getattr(other, shared):
                yield (
                    at,
                    f"{name} and {row.experiment} have different {shared}; "
                    f"they must share {', '.join(_SHARED)}",
                )
        if row.classifier not in other.classifiers:
            yield (
                at,
                f"{row.classifier} is no classifier of experiment {name}; "
                f"allowed: {', '.join(other.classifiers)}",
            )
        splits = study.datasets[ours.dataset].splits
        if ours.split == other.split or may_overlap(splits[ours.split], splits[other.split]):
            yield (
                at,
                f"{name} may have images of {row.experiment}; sigma must be chosen on a split "
                "that shares none with it",
            )


def build(
    entry: Keys,
    certificates: Mapping[str, pd.DataFrame],
    published: pd.DataFrame | None,
    records: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Compute each row's best certified accuracy over sigma, with its clean accuracy."""
    import pandas as pd

    parts = []
    for number, row in enumerate(entry.rows):
        part, rows = pd.DataFrame({"radius": entry.radii}), None
        if row.experiment is not None:
            rows = select_certificates(certificates, row.experiment, row.classifier)
            reached = largest_radii(row.experiment, certificates, records)
            choosing = None
            if row.chosen_on is not None:
                choosing = select_certificates(
                    certificates, row.chosen_on.experiment, row.classifier
                )
            part = describe(best_accuracies(rows, entry.radii, reached, choosing), rows)
            part["largest_radius"] = max(reached.values())
            part.insert(0, "experiment", row.experiment)
            if row.chosen_on is not None:
                part.insert(1, "chosen_on", row.chosen_on.experiment)
        if row.published is not None:
            wanted = row.published
            cells = published_numbers(published, wanted.table, wanted.row, wanted.extra_data)
            part = part.merge(cells.drop(columns="sigma"), on="radius", how="left")
            part = correlate(part, rows)
        part.insert(0, "row", number)
        part.insert(1, "label", row.label)
        part.insert(2, "off_the_shelf", row.off_the_shelf)
        part.insert(3, "extra_data", "yes" if row.extra_data else "no")
        part.insert(4, "several_passes", "yes" if row.several_passes else "no")
        part.insert(5, "cite", row.cite)
        if entry.measured_on:
            part.insert(6, "measured_on", _images(part))
        parts.append(part)
    return compare(pd.concat(parts, ignore_index=True))


def _images(numbers: pd.DataFrame) -> str | None:
    """Return on how many images a row was measured: a number, or a range; None for unknown."""
    column = "images" if "images" in numbers else "published_images"
    counts = sorted({int(images) for images in numbers[column].dropna()})
    return " to ".join(f"{count:,}" for count in sorted({*counts[:1], *counts[-1:]})) or None


def lay_out(table: pd.DataFrame) -> list[Sheet]:
    """Lay out one row a method and one column a radius."""
    import pandas as pd

    rows, literature = [], False
    for _, numbers in groups(table, "row"):
        first = numbers.iloc[0]
        ours = "accuracy_percent" in numbers and numbers["accuracy_percent"].notna().any()
        constant = ours and numbers["nearly_constant"].eq(True).any()
        literature = literature or not ours
        several = first.get("several_passes") == "yes"
        cite = "" if pd.isna(first.get("cite")) else first["cite"]
        head = [
            Cell(first["label"], mark=CONSTANT * bool(constant) + SEVERAL * several, cite=cite),
            Cell(_CIRCLES[first["off_the_shelf"]]),
            Cell("✓" if first["extra_data"] == "yes" else "×"),
        ]
        if "measured_on" in table:
            images = first["measured_on"]
            head.append(Cell("" if pd.isna(images) else images))
        cell = accuracy_cell if ours else published_cell
        rows.append([*head, *map(cell, by_radius(numbers))])
        rows += (beside_published if ours else beside_logs)(numbers, skipped=len(head) - 1)
    images = ["Images"] if "measured_on" in table else []
    columns = ["Method", "Off-the-shelf", "Extra data", *images, *radius_heads(table)]
    notes = [_NOTE, _choice(table), CLEAN_NOTE, *[_LITERATURE] * literature]
    return [finish(Sheet("", columns, rows, notes))]


def _choice(table: pd.DataFrame) -> str:
    """Say on which images sigma was chosen, row by row where they differ."""
    if "chosen_on" not in table:
        return f"{_SAME_IMAGES}."
    first = table.drop_duplicates("row")
    said: dict[str, list[str]] = {}
    for label, experiment in zip(first["label"], first["chosen_on"].fillna(""), strict=True):
        name = experiment.replace("_", " ")
        said.setdefault(_OTHER_IMAGES.format(name) if name else _SAME_IMAGES, []).append(label)
    if len(said) == 1:
        return f"{next(iter(said))}."
    return "; ".join(f"{', '.join(labels)}: {text}" for text, labels in said.items()) + "."
