"""Ways of denoising the same noisy samples beside each other: the ablation of section 3."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from paper.sheets import Cell, Sheet
from paper.tables._cells import by_radius, groups, radius_heads, signed
from paper.tables._compared import ComparedKeys, check

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Keys", "build", "check", "lay_out"]

_COLUMNS = [
    "title",
    "classifier",
    "sigma",
    "row",
    "method",
    "quantity",
    "radius",
    "images",
    "percent",
    "ci_low_percent",
    "ci_high_percent",
    "difference_points",
    "difference_ci_low",
    "difference_ci_high",
]
_NOTE = (
    "Differences are to the first method on the same images, in points, with half of the "
    "95% interval; samples correct: the share of noisy samples classified correctly."
)


class Keys(ComparedKeys):
    """Denoising methods beside each other at every sigma (section 3)."""

    #: Where no image can be certified there is nothing to compare.
    AT_EVERY_SIGMA: ClassVar[bool] = True


def build(
    entry: Keys,
    certificates: Mapping[str, pd.DataFrame],
    published: pd.DataFrame | None,
    records: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Compute what each method gets right, and its difference to the first method.

    The interval of a difference is Student's, of the differences image by image: the
    methods see the same images, so what makes an image easy or hard for both drops out.

    Raises
    ------
    ValueError
        If a plan stops some images early: their share of correct samples is biased.
    """
    import pandas as pd

    from dds.statistics.accuracy import mean_interval

    sigmas = certificates[entry.methods[0].experiment]["sigma"].unique()
    numbers = []
    for (classifier, title), sigma in itertools.product(entry.classifiers.items(), sigmas):
        values = [
            _image_values(certificates[method.experiment], classifier, sigma, entry.radii)
            for method in entry.methods
        ]
        for row, (method, ours) in enumerate(zip(entry.methods, values, strict=True)):
            for quantity in ours.columns:
                # One row an image on both sides, so the difference is of pairs.
                difference = mean_interval(ours[quantity] - values[0][quantity])
                facts = title, classifier, sigma, row, method.label, *quantity, len(ours)
                numbers.append([*facts, *_percent_interval(ours[quantity]), *difference])
    return pd.DataFrame(numbers, columns=_COLUMNS)


def _image_values(
    certificates: pd.DataFrame, classifier: str, sigma: float, radii: Sequence[float]
) -> pd.DataFrame:
    """Return what is compared, in percent, one row an image and one column a quantity."""
    import pandas as pd

    rows = certificates[(certificates["classifier"] == classifier)]
    rows = rows[rows["sigma"] == sigma].set_index("image").sort_index()
    if rows["n"].nunique() > 1:  # an image that stops early has a biased share of correct samples
        raise ValueError("a comparison needs experiments whose plan draws n samples of every image")
    values = {("samples correct", math.nan): 100 * rows["label_successes"] / rows["n"]}
    for radius in radii:
        certified = rows["correct"] & (rows["radius"] >= radius)
        values["certified", radius] = 100.0 * certified
    return pd.DataFrame(values)


def _percent_interval(values: pd.Series) -> tuple[float, float, float]:
    """Return the mean of percentages of images and its interval, exact where each is 0 or 100."""
    from dds.statistics.accuracy import mean_interval
    from dds.statistics.bounds import binomial_interval

    if values.isin([0, 100]).all():
        low, high = binomial_interval(int((values == 100).sum()), len(values))
        return values.mean(), 100 * low, 100 * high
    mean, low, high = mean_interval(values)
    return mean, max(low, 0.0), min(high, 100.0)


def lay_out(table: pd.DataFrame) -> list[Sheet]:
    """Lay out one row a method, below each but the first its difference to the first."""
    columns = ["Classifier", "Noise", "Method", "Samples correct", *radius_heads(table)]
    rows = []
    for (_, sigma), part in groups(table, ["classifier", "sigma"]):
        for row, numbers in groups(part, "row"):
            first, records = numbers.iloc[0], by_radius(numbers)
            head = [first["title"], f"σ = {sigma:g}"] if row == 0 else ["", ""]
            percent = [f"{number['percent']:.1f}" for number in records]
            rows.append([Cell(text) for text in (*head, first["method"], *percent)])
            if row > 0:
                differences = map(_difference, records)
                rows.append([Cell(text) for text in ("", "", "difference", *differences)])
    return [Sheet("", columns, rows, [_NOTE])]


def _difference(number: Mapping[str, Any]) -> str:
    reach = (number["difference_ci_high"] - number["difference_ci_low"]) / 2
    return f"{signed(number['difference_points'])} ± {reach:.1f}"
