"""What is built, and how: config/config.yaml and what the command line says instead."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dds.keys import Keys, key
from dds.origins import check_no_login


class Config(Keys):
    """config/config.yaml; ``--config KEY=VALUE`` on the command line wins over it."""

    study: str = key(
        "What to build: a file in `config/studies/` without its ending, or the path of a study "
        "file.",
        "digits",
        paper="4",
        allowed="name or path",
    )
    deposit: str = key(
        "A deposit that experiments take their votes from instead of drawing samples, but for "
        "those that name one themselves: an archive that `make archive` wrote, or its folder "
        "(`docs/deposits.md`).",
        "",
        allowed="path or address, or empty for none",
    )
    device: Literal["auto", "cpu", "cuda"] = key(
        "Where networks run; `auto` takes a GPU where there is one.", "auto"
    )
    checkpoint_seconds: Annotated[float, Field(gt=0, le=604_800)] = key(
        "Seconds between two checkpoints of a shard that is being certified.", 60
    )
    container: str = key(
        "The image that jobs run in under `--sdm apptainer`: its address, such as "
        "`docker://hub.my-institute.org/dds:0.1.0`, or the path of a `.sif` file. `Containerfile` "
        "builds it.",
        "",
        allowed="address or path, or empty for none",
    )
    published_logs: str = key(
        "Folder with other authors' certification logs, under any names, at least one of those "
        "that `config/literature/logs.csv` links. Tables show what they give beside what is "
        "printed.",
        "",
        paper="Tables 1, 3",
        allowed="path, or empty for none",
    )
    url_overrides: dict[str, Annotated[str, AfterValidator(check_no_login)]] = key(
        "Beginnings of the addresses of models and data, and what to ask instead of them: for a "
        "mirror of your own, such as "
        "`{https://huggingface.co/: https://hub.my-institute.org/}`.",
        {},
        allowed="mapping of text to text",
    )
