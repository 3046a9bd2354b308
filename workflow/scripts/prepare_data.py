"""Prepare the packs of a dataset."""

from pathlib import Path

from dds.data.packs import SOURCES, write_pack
from jobs.job import job

with job(snakemake):
    params = snakemake.params
    source, options = SOURCES[params.entry["source"]], dict(params.entry)
    del options["source"]
    packs = source(**options, **params.files, seed=params.seed)
    for path in snakemake.output:
        write_pack(path, packs[Path(path).stem])
