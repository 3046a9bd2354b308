"""Sources of images, one module each, which bears the name that datasets give as `source`.

A module holds

- ``Keys``: all keys of a dataset's entry but ``source``. ``splits`` is a mapping of each
  split's name to how many images it gets, or which; see `dds.data.splits`. ``files``, where
  the source has files, is a class of `Files`.
- ``images(keys)``: the `Images` that the source yields.
- ``prepare(keys, files, *, seed)``: a mapping of each split's name to its
  `dds.data.packs.Pack`. `files` maps each name in ``keys.files`` to where that file lies;
  `seed` keys every random choice.

`dds.data.archives` and `dds.data.images` read what sources have in common.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import model_validator

from dds.keys import Keys, refuse
from dds.kinds import Kinds

SOURCES = Kinds(__name__)


class Images(NamedTuple):
    """What is known of a dataset's images before any is read.

    Attributes
    ----------
    classes : int or None
        How many classes there are; None where only the images tell.
    channels : int
        Colour channels, 1 for grey and 3 for RGB.
    size : (int, int) or None
        Height and width in pixels; None where only the images tell.
    total : int or None
        How many images all splits are chosen from; None where only the files tell, or a
        split's entry itself says how many it gets.
    """

    classes: int | None
    channels: int
    size: tuple[int, int] | None
    total: int | None = None


class Files(Keys):
    """The files that a dataset is made from; each field is a `dds.origins.DataFile`."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, files: Any) -> Any:
        for name in files if isinstance(files, dict) else ():
            if name not in cls.model_fields:
                allowed = ", ".join(cls.model_fields)
                raise refuse(f"{name} is no file of this source; allowed: {allowed}")
        return files
