"""Tables, figures and checks: what is made of the results of experiments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from dds.keys import Keys, Names, Radius, Sigmas, Text, key
from dds.kinds import Kinds
from paper.figures import FIGURES
from paper.tables import TABLES
from study.entries import Kinded
from study.errors import refuse_at


class Artefact(Kinded):
    """A table or a figure; beside these it has the keys of its kind."""

    kind: str = key("Its form.", paper="3, 4.1")

    @property
    def experiments(self) -> list[str]:
        """The experiments that numbers, or images, come from, sorted."""
        return sorted({part.experiment for _, part in sourced_parts(self)})

    @property
    def attacks(self) -> list[str]:
        """The attacks that it shows, sorted."""
        found = {getattr(part, "attack", None) for _, part in parts(self)}
        return sorted(found - {None})


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
    """What certified accuracies are compared with: ours, or what the paper prints."""

    experiment: str | None = key("The other's experiment.", None, allowed="a name of `experiments`")
    classifier: str | None = key("The other.", None, allowed="one of that experiment's classifiers")
    table: Text | None = key(
        "`better_than_published`: a table of the paper with the best over sigma.",
        None,
        allowed='text, such as `"3"`',
    )
    rows: Names | None = key(
        "`better_than_published`: its rows, as `config/literature/published.csv` names them.", None
    )


class Check(Keys):
    """What must hold of two classifiers' certified accuracies, but for sampling error."""

    kind: Literal["better", "not_worse", "better_than_published"] = key(
        "Whether the first must be better than the other, or not worse; or better, at its best "
        "sigma, than rows of the paper at every radius that they have a number for. Better: the "
        "95% interval of the difference lies above 0. Not worse: it does not lie below 0; how "
        "much worse would pass is said beside it.",
        paper="4.1",
    )
    experiment: str = key("The first one's experiment.", allowed="a name of `experiments`")
    classifier: str = key("The first one.", allowed="one of the experiment's classifiers")
    than: Other = key("What it is compared with; ours on the same dataset and split.")
    sigmas: Sigmas | None = key(
        "`better`, `not_worse`: at which sigmas it must hold.",
        None,
        allowed="sigmas of both experiments, each once",
    )
    radius: Radius | None = key(
        "`better`, `not_worse`: at which radius the accuracies are compared; 0 is clean accuracy, "
        "with abstentions as errors.",
        None,
    )

    @property
    def is_with_paper(self) -> bool:
        """Whether it compares with what the paper prints."""
        return self.kind == "better_than_published"

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        ours, papers = (False, True) if self.is_with_paper else (True, False)
        self._require(self, (), ("sigmas", "radius"), ours)
        self._require(self.than, ("than",), ("experiment", "classifier"), ours)
        self._require(self.than, ("than",), ("table", "rows"), papers)
        return self

    def _require(
        self, part: Keys, place: tuple[str, ...], names: tuple[str, ...], needed: bool
    ) -> None:
        """Refuse a part of the check that lacks keys of its kind, or has those of another."""
        for name in names:
            there = getattr(part, name) is not None
            if there and not needed:
                raise refuse_at(f"does not go with {self.kind}; leave it out", *place, name)
            if needed and not there:
                raise refuse_at(f"{self.kind} needs {name}", *place)


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
