"""Datasets: where images come from, and their splits."""

from __future__ import annotations

from typing import ClassVar

from dds.data.sources import SOURCES
from dds.keys import key
from dds.kinds import Kinds
from dds.origins import DataFile
from study.entries import Kinded


class Dataset(Kinded):
    """A dataset; beside its source it has the keys of that source."""

    KIND: ClassVar[str] = "source"
    KINDS: ClassVar[Kinds] = SOURCES

    source: str = key("Where the images come from.", paper="4")

    @property
    def origins(self) -> dict[str, DataFile]:
        """The files that the dataset is made from, by what they are."""
        files = dict(getattr(self, "files", {}))
        return {name: file for name, file in files.items() if file is not None}
