"""Configurations of networks as others publish them, beside the weights of a denoiser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dds.networks.hub import configurations, published_difference
from dds.origins import hub_address
from jobs.download import fetch
from jobs.labels import read_published


def check_configurations(model: Mapping[str, Any], overrides: Mapping[str, str]) -> None:
    """Compare what a repository says of a denoiser with the model's entry.

    Parameters
    ----------
    model : mapping
        The entry, whose ``weights.download`` names a repository on the hub.
    overrides : mapping of str to str
        As `jobs.download.fetch` takes them.

    Raises
    ------
    ValueError
        If the entry describes another network, another schedule or another prediction, or the
        files are none that describe a denoiser; in one line, naming the file or the key.
    DownloadError
        As `jobs.download.download` does.
    """
    source = model["weights"]["download"]
    files = [
        fetch({"url": hub_address(source["hub"], source["revision"], file)}, overrides)
        for file in configurations(source["file"])
    ]
    config, scheduler = (_mapping(file) for file in files)
    try:
        difference = published_difference(config, scheduler, model)
    except ValueError as error:
        raise ValueError(f"{source['hub']}: {error}") from error
    if difference:
        raise ValueError(f"the model's entry differs from {source['hub']}: {difference}")


def _mapping(path: Path) -> dict[str, Any]:
    published = read_published(path, "a configuration")
    if not isinstance(published, dict):
        raise ValueError(f"{path}: is no mapping, as a configuration is")
    return published
