"""Datasets as a study's entry describes them."""

import pytest

from dds.data.sources import SOURCES


@pytest.fixture(scope="session")
def prepare():
    """A function that prepares a dataset from its entry, with files given by their paths."""

    def prepare(source, splits, *, seed=1, images=None, devkit=None, **keys):
        named = {"images": images, "devkit": devkit}
        files = {name: path for name, path in named.items() if path is not None}
        entry = {"splits": splits, **keys}
        if files:
            entry["files"] = {name: {"file": str(path)} for name, path in files.items()}
        kind = SOURCES[source]
        return kind.prepare(kind.Keys.model_validate(entry), files, seed=seed)

    return prepare


@pytest.fixture(scope="session")
def refusal():
    """A function that returns where and why the keys of a source refuse an entry."""
    from pydantic import ValidationError

    def refusal(source, entry):
        with pytest.raises(ValidationError) as caught:
            SOURCES[source].Keys.model_validate(entry)
        (error,) = caught.value.errors()
        return ".".join(map(str, error["loc"])), error["msg"]

    return refusal
