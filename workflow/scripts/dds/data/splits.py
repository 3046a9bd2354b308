"""Which images a split gets: how a study says it, and the choosing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, WrapValidator, model_validator

from dds.data.archives import plain_name
from dds.keys import Images, Keys, key, refuse
from dds.seeds import stream_seed

if TYPE_CHECKING:
    import numpy as np

Part = TypeVar("Part")

_COUNT = TypeAdapter(Images, config=ConfigDict(strict=True))
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")


class Choice(Keys):
    """Which images a split gets."""

    images: Images | None = key("How many images, chosen at random; all when left out.", None)
    every: Images | None = key(
        "Takes every so many-th image instead, ordered by class and name, also of those that "
        "random splits get: `every: 50` is the first image of each ImageNet class.",
        None,
        paper="4",
    )

    @model_validator(mode="after")
    def _not_both(self) -> Self:
        if self.images is not None and self.every is not None:
            raise refuse("takes either images or every, not both")
        return self


def number_or(choice: type[Choice]) -> Any:
    """Return the type of a split that is a whole number of images or the mapping `choice`.

    An error is that of the one which is meant, not of both as in a plain union.
    """

    def check(value: Any, both: Callable[[Any], Any]) -> Any:
        if isinstance(value, dict | choice):
            return choice.model_validate(value)
        return _COUNT.validate_python(value)

    return Annotated[Images | choice, WrapValidator(check)]


def _check_names(splits: dict[str, Part]) -> dict[str, Part]:
    for name in splits:
        if not _NAME.fullmatch(name):
            raise refuse(
                f"{name} is no name; a name has lower-case letters, digits and _, at most 100 of "
                "them, and starts with a letter"
            )
    return splits


#: How many images a split gets, or which.
Split = number_or(Choice)
#: Splits by name, at least one: ``Splits[Count]``, ``Splits[Split]``.
Splits = Annotated[dict[str, Part], Field(min_length=1), AfterValidator(_check_names)]


def most_images(rule: int | Choice, total: int | None) -> int | None:
    """Return how many images a split can have at most.

    Parameters
    ----------
    rule : int or Choice
        How many it gets, or which.
    total : int or None
        How many images there are to choose from, if that is known.

    Returns
    -------
    int or None
        None where only the files tell.

    Examples
    --------
    >>> most_images(300, None), most_images(Choice(every=50), 50_000), most_images(Choice(), None)
    (300, 1000, None)
    """
    if isinstance(rule, int):
        return rule
    if rule.images is not None or total is None:
        return rule.images
    return -(-total // (rule.every or 1))


def most_at_random(splits: Mapping[str, int | Choice]) -> int:
    """Return how many images the random splits, which have none in common, need together."""
    rules = [rule if isinstance(rule, int) else rule.images for rule in splits.values()]
    return sum(filter(None, rules))


def may_overlap(rule: int | Choice, other: int | Choice) -> bool:
    """Tell whether two splits of a dataset may have images in common.

    Parameters
    ----------
    rule, other : int or Choice
        How many images each gets, or which.

    Returns
    -------
    bool
        False for random splits, and for those of different folders.

    Examples
    --------
    >>> may_overlap(300, Choice(images=20)), may_overlap(300, Choice(every=50))
    (False, True)
    """
    folders = (plain_name(getattr(one, "folder", "")) for one in (rule, other))
    if len(set(folders)) > 1:
        return False
    return any(isinstance(one, Choice) and one.every is not None for one in (rule, other))


def choose(
    total: int, splits: Mapping[str, int | Choice], *, seed: int, path: str | Path
) -> dict[str, np.ndarray]:
    """Return which images each split gets; random splits have none in common.

    Parameters
    ----------
    total : int
        How many images there are.
    splits : mapping of str to int or Choice
        How many each split gets, or which.
    seed : int
        Seed of the random choice.
    path : str or Path
        Where the images lie, for the error.

    Returns
    -------
    dict of str to ndarray of int
        Indices of images from 0 to `total` - 1. Their order is random, so that the first
        images of a split are a fair sample of it; with ``every`` they rise.

    Raises
    ------
    ValueError
        If the splits ask for more images than there are.

    Examples
    --------
    >>> chosen = choose(6, {"train": 4, "test": 2, "few": Choice(every=3)}, seed=1, path="pets")
    >>> sorted([*chosen["train"], *chosen["test"]]) == [0, 1, 2, 3, 4, 5]
    True
    >>> chosen["few"].tolist()
    [0, 3]
    """
    import numpy as np

    order = np.random.default_rng(stream_seed(seed, "splits")).permutation(total)
    chosen, taken = {}, 0
    for name, rule in splits.items():
        rule = Choice(images=rule) if isinstance(rule, int) else rule
        if rule.every is not None:
            chosen[name] = np.arange(0, total, rule.every)
            continue
        size = at_most(rule.images or total, total - taken, split=name, path=path)
        chosen[name] = order[taken : taken + size]
        taken += size
    return chosen


def at_most(wanted: int, there: int, *, split: str, path: str | Path) -> int:
    """Return how many images a split wants, if so many are there.

    Raises
    ------
    ValueError
        If there are fewer.
    """
    if wanted > there:
        raise ValueError(f"split {split} asks for {wanted} images, {path} has {there} left")
    return wanted
