"""Certified accuracy below, and above it the accuracy that an attack leaves: a corridor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from dds.keys import key
from paper.figures._panels import AGAINST_RADIUS, curve_radii, draw_panels, with_labels
from paper.parts import Captioned, Panel, select_certificates

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


PICTURES = False


class AttackedPanel(Panel):
    """A part that shows one classifier, certified and attacked."""

    attack: str = key("An attack on the experiment's classifier.", allowed="a name of `attacks`")


class Keys(Captioned):
    """Certified accuracy below, and above it what an attack leaves, of the same images.

    The upper curve is the share of images that the attack gives no other class, and the marks
    the share that still get the right one: they lie apart where PREDICT abstains. Between the
    curves lies what neither proves nor refutes.
    """

    panels: Annotated[list[AttackedPanel], Field(min_length=1)] = key(
        "The parts of the figure, one classifier each."
    )


def check(entry: Keys, study: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield panels whose attack is none, on other networks, or below all that is certified."""
    for index, panel in enumerate(entry.panels):
        place = ("panels", index, "attack")
        if panel.attack not in study.attacks:
            there = ", ".join(study.attacks) or "none, as the study has no attacks"
            yield place, f"{panel.attack} is no attack; allowed: {there}"
        elif study.attacks[panel.attack].experiment != panel.experiment:
            yield place, f"{panel.attack} is not on experiment {panel.experiment}"
        elif panel.classifier not in study.attacked_classifiers(panel.attack):
            yield place, f"{panel.attack} is not on {panel.classifier}"
        elif reason := _without_lower_curve(panel, study):
            yield place, reason


def _without_lower_curve(panel: AttackedPanel, study: Any) -> str:
    """Say at which sigma the sampling plan decides no radius as small as those attacked, if any."""
    listed = getattr(study.experiments[panel.experiment], "radii", None)
    if not listed:
        return ""  # the plan decides every radius
    largest = max(study.attacks[panel.attack].radii)
    for sigma in study.attacked_sigmas(panel.attack):
        lowest = min(listed[sigma] if isinstance(listed, Mapping) else listed)
        if lowest > largest:
            return (
                f"{panel.attack} goes up to radius {largest:g}; {panel.experiment} decides none "
                f"below {lowest:g} at sigma {sigma:g}"
            )
    return ""


def draw(entry: Keys, data: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the corridor of each panel and sigma, up to the largest radius of the attacks.

    What is found in a ball lies in every larger one, so that the upper curve holds from each
    radius that was attacked up to the next one.
    """
    attacks = [_attacked(data, panel) for panel in entry.panels]
    parts = [
        _certified(select_certificates(data, panel.experiment, panel.classifier), attacked)
        for panel, attacked in zip(entry.panels, attacks, strict=True)
    ]
    largest = max(attacked["radius"].max() for attacked in attacks)
    figure = draw_panels(entry.panels, parts, xlim=(0, largest), **AGAINST_RADIUS)
    for axis, attacked in zip(figure.axes, attacks, strict=True):
        _draw_upper(axis, attacked)
    for axis in figure.axes:
        if axis.get_ylabel():
            axis.set_ylabel("accuracy (%)")
    return with_labels(figure)


def _attacked(data: Mapping[str, pd.DataFrame], panel: AttackedPanel) -> pd.DataFrame:
    rows = data[f"attacks/{panel.attack}"]
    return rows[rows["classifier"] == panel.classifier]


def _certified(certificates: pd.DataFrame, attacked: pd.DataFrame) -> pd.DataFrame:
    """Return the curves of certified accuracy of the images and noise levels attacked.

    They end at the largest radius attacked.
    """
    from dds.statistics.accuracy import certified_accuracy

    same = certificates["image"].isin(attacked["image"].unique())
    same &= certificates["sigma"].isin(attacked["sigma"].unique())
    rows = certificates[same]
    largest = attacked["radius"].max()
    curves = certified_accuracy(rows, curve_radii(rows, largest)).dropna(subset=["accuracy"])
    return _cut(curves, largest)


def _cut(curves: pd.DataFrame, largest: float) -> pd.DataFrame:
    """Return curves that end at a radius, at the height that they have up to the next one.

    That end is not marked: the sampling plan need not have decided it.
    """
    import pandas as pd

    curves = curves.assign(marked=curves["radius"] <= largest)
    beyond = curves[~curves["marked"]].groupby("sigma").head(1).assign(radius=largest)
    ends = curves.loc[curves["radius"] == largest, "sigma"]  # these curves end there as they are
    return pd.concat([curves[curves["marked"]], beyond[~beyond["sigma"].isin(ends)]])


def _draw_upper(axis: Any, attacked: pd.DataFrame) -> None:
    """Draw what the attack leaves at each sigma, in the look of its certified curve."""
    from dds.statistics.empirical import empirical_accuracy

    lower = {line.get_label(): line for line in axis.lines}
    for sigma, curve in empirical_accuracy(attacked).groupby("sigma"):
        label = f"$\\sigma = {sigma:g}$"
        if label not in lower:
            continue  # nothing was decided that it could stand above
        color, dashes = lower[label].get_color(), lower[label].get_linestyle()
        axis.plot(
            curve["radius"],
            100 * curve["unrefuted"],
            label=f"{label}, attacked",
            drawstyle="steps-post",
            color=color,
            linestyle=dashes,
            linewidth=0.8,
            clip_on=False,
        )
        axis.scatter(
            curve["radius"], 100 * curve["accuracy"], marker="v", s=16, color=color, clip_on=False
        )
