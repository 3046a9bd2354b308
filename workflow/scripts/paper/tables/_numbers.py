"""Numbers that tables of several kinds show."""

from __future__ import annotations

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
