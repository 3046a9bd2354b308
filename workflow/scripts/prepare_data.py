"""Prepare the packs of a dataset."""

from pathlib import Path

from dds.data.packs import check_images, write_pack
from dds.data.sources import SOURCES
from jobs.job import job

with job(globals()) as snakemake:
    depends, files = snakemake.params.depends, snakemake.params.files
    entry = dict(depends["entry"])
    source = SOURCES[entry.pop("source")]
    here = {"files": {name: {"file": path} for name, path in files.items()}} if files else {}
    keys = source.Keys(**entry, **here)
    _, channels, size, *_ = source.images(keys)
    packs = source.prepare(keys, files, seed=depends["seed"])
    for path in snakemake.output:
        pack = packs[Path(path).stem]
        check_images(pack, channels, size)
        write_pack(path, pack)
