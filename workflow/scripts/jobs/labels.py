"""Names of classes as others publish them, beside the weights of a classifier."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dds.data.packs import check_classes
from dds.origins import came_instead


def check_labels(path: str | Path, classes: Sequence[str]) -> None:
    """Compare the labels in a published configuration with a model's classes, in order.

    Parameters
    ----------
    path : str or Path
        A JSON file whose ``id2label`` maps ``"0"``, ``"1"``, ... to names.
    classes : sequence of str
        The names of the model's classes.

    Raises
    ------
    ValueError
        If the file is something else, or a class differs, naming the file and the first class
        that does.
    """
    published = read_published(path, "labels")
    check_classes(_in_order(published, path), classes, of=str(path), by="the model's entry")


def read_published(path: str | Path, of: str) -> Any:
    """Return what a published JSON file holds.

    Raises
    ------
    ValueError
        If the file is something else, naming it and what it should be a file of.
    """
    content = Path(path).read_bytes()
    if what := came_instead(content):
        raise ValueError(f"{path}: is {what}, not a JSON file of {of}")
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is no JSON file of {of}: {error}") from error


def _in_order(published: Any, path: str | Path) -> list[str]:
    labels = published.get("id2label") if isinstance(published, dict) else None
    if not isinstance(labels, dict):
        kind = "a configuration of timm, which" if _is_of_timm(published) else "it"
        raise ValueError(
            f"{path}: {kind} has no id2label, a mapping of the classes' numbers to their names; "
            "leave labels out, or give the address of a file that has it"
        )
    numbers = [str(number) for number in range(len(labels))]
    if labels.keys() != set(numbers) or not all(isinstance(x, str) for x in labels.values()):
        raise ValueError(
            f"{path}: id2label must map the numbers 0 to {len(labels) - 1} to the classes' names"
        )
    return [labels[number] for number in numbers]


def _is_of_timm(published: Any) -> bool:
    return isinstance(published, dict) and {"architecture", "pretrained_cfg"} <= published.keys()
