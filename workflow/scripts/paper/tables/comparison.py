"""Ways of denoising the same noisy samples beside each other: the ablation of section 3."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from paper.sheets import Cell, Sheet
from paper.tables._cells import (
    UNREACHABLE,
    by_radius,
    difference,
    explain,
    groups,
    interval,
    is_reachable,
    noise,
    radius_heads,
    shown,
    signed,
)
from paper.tables._compared import ComparedKeys, check_same_images
from paper.tables._compared import check as check_shared
from paper.tables._sampling import largest_radii

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = [
    "title",
    "classifier",
    "sigma",
    "row",
    "method",
    "experiment",
    "quantity",
    "radius",
    "images",
    "percent",
    "ci_low_percent",
    "ci_high_percent",
    "difference_points",
    "difference_ci_low",
    "difference_ci_high",
    "largest_radius",
]
_NOTE = (
    "Differences are to the first method on the same images, in points of the numbers shown, "
    "with their 95% intervals over pairs: the score interval, for samples correct Student's. "
    "Samples correct: the share of noisy samples classified correctly."
)


class Keys(ComparedKeys):
    """Denoising methods, with plan `fixed`, beside each other at every sigma (section 3)."""

    #: Where no image can be certified there is nothing to compare.
    AT_EVERY_SIGMA: ClassVar[bool] = True


def check(entry: Keys, study: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield what experiments do not share, and which have a plan that stops."""
    yield from check_shared(entry, study)
    for index, method in enumerate(entry.methods):
        plan = study.experiments[method.experiment].plan
        if plan != "fixed":
            yield (
                ("methods", index, "experiment"),
                f"{method.experiment} has plan {plan}; a comparison needs plan fixed, because the "
                "share of samples that are correct is biased where a plan may stop",
            )


def build(
    entry: Keys,
    certificates: Mapping[str, pd.DataFrame],
    published: pd.DataFrame | None,
    records: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Compute what each method gets right, and its difference to the first method.

    The interval of a difference is that of pairs: the methods see the same images, so what
    makes an image easy or hard for both drops out. Of images certified it is the score
    interval, of shares of correct samples Student's.

    Raises
    ------
    ValueError
        If a plan stops some images early: their share of correct samples is biased.
    """
    import pandas as pd

    check_same_images(entry, certificates)
    reached = {
        method.experiment: largest_radii(method.experiment, certificates, records)
        for method in entry.methods
    }
    sigmas = certificates[entry.methods[0].experiment]["sigma"].unique()
    numbers = []
    for (classifier, title), sigma in itertools.product(entry.classifiers.items(), sigmas):
        values = [
            _image_values(certificates[method.experiment], classifier, sigma, entry.radii)
            for method in entry.methods
        ]
        for row, (method, ours) in enumerate(zip(entry.methods, values, strict=True)):
            name = method.experiment
            for quantity in ours.columns:
                facts = title, classifier, sigma, row, method.label, name, *quantity, len(ours)
                percent = _percent_interval(ours[quantity])
                first = values[0][quantity]
                compared = _difference_interval(ours[quantity], first) if row > 0 else (0.0,) * 3
                numbers.append([*facts, *percent, *compared, reached[name][sigma]])
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


def _difference_interval(ours: pd.Series, first: pd.Series) -> tuple[float, float, float]:
    """Return the mean difference of percentages of the same images, and its interval."""
    from dds.statistics.accuracy import mean_interval, paired_interval

    difference = ours - first
    # Where no image differs Student's interval has no width, whatever a further image might do.
    if difference.isin([-100, 0, 100]).all():
        more, fewer = int((difference > 0).sum()), int((difference < 0).sum())
        return tuple(100 * part for part in paired_interval(more, fewer, len(difference)))
    mean, low, high = mean_interval(difference)
    return mean, max(low, -100.0), min(high, 100.0)


def lay_out(table: pd.DataFrame) -> list[Sheet]:
    """Lay out one row a method, below each but the first its difference to the first."""
    columns = ["Classifier", "Noise", "Method", "Samples correct", *radius_heads(table)]
    rows = []
    for (_, sigma), part in groups(table, ["classifier", "sigma"]):
        (_, first), *_ = methods = groups(part, "row")
        for row, numbers in methods:
            label, records = numbers["method"].iloc[0], by_radius(numbers)
            head = [numbers["title"].iloc[0], noise(sigma)] if row == 0 else ["", ""]
            rows.append([*map(Cell, (*head, label)), *map(_percent, records)])
            if row > 0:
                differences = map(_difference, records, by_radius(first))
                rows.append([*map(Cell, ("", "", "difference")), *differences])
    return [explain(Sheet("", columns, rows, [_NOTE]))]


def _percent(number: Mapping[str, Any]) -> Cell:
    if not is_reachable(number):
        return Cell(UNREACHABLE)
    bounds = interval(number["ci_low_percent"], number["ci_high_percent"])
    return Cell(f"{shown(number['percent']):.1f}", interval=bounds)


def _difference(number: Mapping[str, Any], first: Mapping[str, Any]) -> Cell:
    if not is_reachable(number):
        return Cell("")
    ends = ", ".join(signed(number[f"difference_ci_{end}"]) for end in ("low", "high"))
    return Cell(f"{difference(number['percent'], first['percent'])} [{ends}]")
