"""Prepare the packs of a dataset."""

from pathlib import Path

from dds.datasets import SOURCES, write_pack
from support.job import job

with job(snakemake):
    entry = dict(snakemake.params.entry)
    packs = SOURCES[entry.pop("source")](**entry, seed=snakemake.params.seed)
    for path in snakemake.output:
        write_pack(path, packs[Path(path).stem])
