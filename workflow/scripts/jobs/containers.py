"""The image that jobs run in under ``--sdm apptainer``, and what they see of the machine there."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from study.errors import CONFIG, StudyError

#: Folders that may be links to another disk.
_LINKS = ("results", "downloads")


def ready_containers(image: str, project: Path, deployment: Collection[Any]) -> None:
    """Check that there is an image where one is asked for, and let its jobs see their folders.

    Apptainer shows a job the working directory and little else. What else every job needs is
    added to ``APPTAINER_BIND``, which apptainer reads beside its options.

    Parameters
    ----------
    image : str
        What the configuration says: an address, a path, or empty for none.
    project : Path
        This project's folder, which holds the code that jobs import.
    deployment : collection of DeploymentMethod
        Where Snakemake was told to take software from.

    Raises
    ------
    StudyError
        If there is no such image: in one line, with how to get one.
    """
    if "apptainer" not in map(str, deployment):
        return
    at = CONFIG / "container"
    if not image:
        raise StudyError(
            f"{at}: is empty, and --sdm apptainer needs an image; slurm/README.md says how to "
            "build one and name it"
        )
    if "://" not in image and not Path(image).exists():
        raise StudyError(f"{at}: there is no image {image}")
    needed = [project, *(Path(link).resolve() for link in _LINKS if Path(link).is_symlink())]
    inherited = filter(None, os.getenv("APPTAINER_BIND", "").split(","))
    os.environ["APPTAINER_BIND"] = ",".join(dict.fromkeys([*inherited, *map(str, needed)]))
