"""Tables, figures and checks: what is made of the results of experiments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from dds.keys import Keys, Radius, Sigmas, key
from dds.kinds import Kinds
from paper.figures import FIGURES
from paper.tables import TABLES
from study.entries import Kinded


class Artefact(Kinded):
    """A table or a figure; beside these it has the keys of its kind."""

    kind: str = key("Its form.", paper="3, 4.1")

    @property
    def experiments(self) -> list[str]:
        """The experiments that numbers, or images, come from, sorted."""
        return sorted({part.experiment for _, part in sourced_parts(self)})


class Table(Artefact):
    """A table; beside these it has the keys of its kind."""

    KINDS: ClassVar[Kinds] = TABLES
    KIND: ClassVar[str] = "kind"

    @property
    def shows_published(self) -> bool:
        """Whether published values stand beside ours."""
        return any(getattr(part, "published", None) is not None for _, part in parts(self))


class Figure(Artefact):
    """A figure; beside these it has the keys of its kind."""

    KINDS: ClassVar[Kinds] = FIGURES
    KIND: ClassVar[str] = "kind"

    @property
    def shows_pictures(self) -> bool:
        """Whether it is drawn from images, instead of certificates."""
        return FIGURES[self.kind].PICTURES


class Other(Keys):
    """What certified accuracies are compared with."""

    experiment: str = key("The other's experiment.", allowed="a name of `experiments`")
    classifier: str = key("The other.", allowed="one of that experiment's classifiers")


class Check(Keys):
    """What must hold of two classifiers' certified accuracies, but for sampling error."""

    kind: Literal["better", "not_worse"] = key(
        "Whether the first must be better than the other, or not worse.", paper="4.1"
    )
    experiment: str = key("The first one's experiment.", allowed="a name of `experiments`")
    classifier: str = key("The first one.", allowed="one of the experiment's classifiers")
    than: Other = key("What it is compared with, on the same dataset and split.")
    sigmas: Sigmas = key(
        "At which sigmas it must hold.", allowed="sigmas of both experiments, each once"
    )
    radius: Radius = key("At which radius the accuracies are compared; 0 is clean accuracy.")


def parts(entry: Keys) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield an entry and every part of it, with the keys and indices that lead there.

    Parameters
    ----------
    entry : Keys
        A table, a figure, a check, or a part of one.
    """
    yield (), entry
    for name in type(entry).model_fields:
        value = getattr(entry, name)
        inside = {(name,): value}
        if isinstance(value, list | dict):
            numbered = value.items() if isinstance(value, dict) else enumerate(value)
            inside = {(name, key): part for key, part in numbered}
        for place, part in inside.items():
            if isinstance(part, Keys):
                for below, found in parts(part):
                    yield (*place, *below), found


def sourced_parts(entry: Keys) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield those of the `parts` that say which experiment they come from, and where they stand.

    Each has an ``experiment`` and, in most cases, a ``classifier``.
    """
    for place, part in parts(entry):
        if getattr(part, "experiment", None) is not None:
            yield place, part
