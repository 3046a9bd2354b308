"""What kinds of table have in common that compare experiments on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from dds.keys import Text, key
from paper.parts import Method, RadiusColumns, select_certificates

if TYPE_CHECKING:
    import pandas as pd

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


def check_same_images(entry: ComparedKeys, certificates: Mapping[str, pd.DataFrame]) -> None:
    """Refuse methods whose certificates are not of the same images with the same labels.

    Raises
    ------
    ValueError
        Naming the two experiments.
    """
    columns = ["sigma", "image", "label"]
    first, *others = [method.experiment for method in entry.methods]
    for classifier in entry.classifiers:
        expected = select_certificates(certificates, first, classifier)[columns]
        expected = expected.sort_values(columns).to_numpy().tolist()
        for other in others:
            rows = select_certificates(certificates, other, classifier)[columns]
            if rows.sort_values(columns).to_numpy().tolist() != expected:
                raise ValueError(
                    f"certificates of {other} and {first} by {classifier} are not of the same "
                    "images, labels and sigmas; compared methods must be"
                )
