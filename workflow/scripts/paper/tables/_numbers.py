"""Numbers that tables of several kinds show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_PERCENT = {
    "accuracy": "accuracy_percent",
    "low": "ci_low_percent",
    "high": "ci_high_percent",
    "clean_accuracy": "clean_accuracy_percent",
    "clean_low": "clean_ci_low_percent",
    "clean_high": "clean_ci_high_percent",
}


def describe(accuracies: pd.DataFrame, certificates: pd.DataFrame) -> pd.DataFrame:
    """Return accuracies in percent, with how often the classifier answers its favourite class.

    Parameters
    ----------
    accuracies : DataFrame
        From `dds.statistics.accuracy`, computed from `certificates`, in [0, 1].
    certificates : DataFrame
        Of one classifier.
    """
    from dds.statistics.accuracy import most_frequent_share

    shares = [name for name in _PERCENT if name in accuracies]
    percent = accuracies.assign(**100 * accuracies[shares]).rename(columns=_PERCENT)
    return percent.merge(most_frequent_share(certificates), on=["classifier", "sigma"], how="left")


def best_accuracies(
    rows: pd.DataFrame,
    radii: Sequence[float],
    reached: Mapping[float, float],
    chosen_on: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return one classifier's certified accuracy at the best sigma for each radius.

    Parameters
    ----------
    rows : DataFrame
        The classifier's certificates.
    radii : sequence of float
        In [0,1] pixel units.
    reached : mapping of float to float
        The largest radius that can be certified, by sigma. The best is that over the sigmas that
        reach a radius; over all where none does.
    chosen_on : DataFrame, optional
        The classifier's certificates of other images, by which sigma is chosen; by default those
        that the accuracy is of.
    """
    from dds.statistics.accuracy import best_over_sigma, certified_accuracy

    accuracies = certified_accuracy(rows, radii)
    if chosen_on is None:
        too_far = accuracies["radius"] > accuracies["sigma"].map(reached)
        out_of_reach = accuracies["radius"] > max(reached.values())
        accuracies = accuracies[~too_far | out_of_reach]
    else:
        chosen = best_accuracies(chosen_on, radii, reached)
        accuracies = accuracies.merge(chosen[["classifier", "radius", "sigma"]])
    return best_over_sigma(accuracies, certified_accuracy(rows, [0.0]))
