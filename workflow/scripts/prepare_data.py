"""Prepare the packs of a dataset."""

from pathlib import Path

from dds.data.packs import write_pack
from dds.data.sources import SOURCES
from jobs.job import job

with job(globals()) as snakemake:
    depends, files = snakemake.params.depends, snakemake.params.files
    entry = dict(depends["entry"])
    source = SOURCES[entry.pop("source")]
    here = {"files": {name: {"file": path} for name, path in files.items()}} if files else {}
    packs = source.prepare(source.Keys(**entry, **here), files, seed=depends["seed"])
    for path in snakemake.output:
        write_pack(path, packs[Path(path).stem])
