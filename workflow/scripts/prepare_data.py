"""Prepare the packs of a dataset."""

from pathlib import Path

from dds.data.packs import write_pack
from dds.data.sources import SOURCES
from jobs.job import job

with job(snakemake):
    params, entry = snakemake.params, dict(snakemake.params.dataset)
    source = SOURCES[entry.pop("source")]
    packs = source.prepare(source.Keys(**entry), params.files, seed=params.seed)
    for path in snakemake.output:
        write_pack(path, packs[Path(path).stem])
