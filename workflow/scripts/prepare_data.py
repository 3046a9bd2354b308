"""Prepare the packs of a dataset."""

from pathlib import Path

from dds.datasets import SOURCES, write_pack
from support.job import job

with job(snakemake):
    params = snakemake.params
    source, options = SOURCES[params.entry["source"]], dict(params.entry)
    del options["source"]
    packs = source(**options, **params.files, seed=params.seed)
    for path in snakemake.output:
        write_pack(path, packs[Path(path).stem])
