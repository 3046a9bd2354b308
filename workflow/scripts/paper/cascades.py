"""What tables and figures of the cascade share; `dds.statistics.cascade` computes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dds.keys import Keys, Threshold, key


class Cascaded(Keys):
    """What decides a cascade, beside the votes."""

    p0: Threshold = key(
        "The share of the votes that a class must exceed for the cascade to answer it at a noise "
        "level. Above 0.5 radii are smaller, and large noise levels hand more images on to "
        "smaller ones.",
        0.5,
        allowed="number, at least 0.5, below 1",
    )


def check(entry: Any, study: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield which panels' experiments have no votes that a cascade can be computed from."""
    for index, panel in enumerate(entry.panels):
        settings, at = study.experiments[panel.experiment], ("panels", index, "experiment")
        if settings.plan != "fixed":
            yield (
                at,
                f"{panel.experiment} has plan {settings.plan}; a cascade needs plan fixed, because "
                "votes that a plan stops at bound no probability from above",
            )
        if len(settings.sigmas) < 2:
            yield at, f"{panel.experiment} has one sigma; a cascade needs at least 2"
