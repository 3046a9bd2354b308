"""What kinds of table have in common that compare experiments on the same images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from dds.keys import Text, key
from paper.parts import Method, RadiusColumns

#: What experiments must share for a comparison of their methods.
SHARED = ("dataset", "split", "classifiers", "sigmas", "n0", "n", "alpha", "images")


class ComparedKeys(RadiusColumns):
    """Experiments beside each other."""

    classifiers: Annotated[dict[str, Text], Field(min_length=1)] = key(
        "Which of the experiments' classifiers to show, each with what to call it.",
        allowed="name: text",
        paper="3",
    )
    methods: Annotated[list[Method], Field(min_length=2)] = key(
        "The experiments to compare, alike but for their method: they must share dataset, split, "
        "classifiers, sigmas, n0, n, alpha and images.",
        paper="3",
    )


def check(entry: ComparedKeys, study: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield which classifiers an entry's experiments lack, and what they do not share."""
    name = entry.methods[0].experiment
    first = study.experiments[name]
    for classifier in entry.classifiers:
        if classifier not in first.classifiers:
            reason = (
                f"{classifier} is no classifier of experiment {name}; "
                f"allowed: {', '.join(first.classifiers)}"
            )
            yield ("classifiers",), reason
    for index, method in enumerate(entry.methods):
        other = study.experiments[method.experiment]
        for shared in SHARED:
            if getattr(other, shared) != getattr(first, shared):
                reason = (
                    f"{method.experiment} and {name} have different {shared}; "
                    f"compared experiments must share {', '.join(SHARED)}"
                )
                yield ("methods", index, "experiment"), reason
