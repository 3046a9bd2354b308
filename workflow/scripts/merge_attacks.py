"""Check what became of the images of an attack's shards and put it into one file."""

import json
from pathlib import Path

from dds.files import atomic_path, write_json
from jobs.attacked import merge_attacks
from jobs.job import job
from jobs.provenance import summarize

with job(globals()) as snakemake:
    shards = [Path(shard) for shard in snakemake.input]
    merged = merge_attacks(shards, snakemake.params.depends)
    with atomic_path(snakemake.output.attacked) as temporary:
        merged.to_parquet(temporary, index=False)
    records = (json.loads(path.with_suffix(".json").read_text("utf-8")) for path in shards)
    write_json(snakemake.output.provenance, summarize(records))
    for path in shards:  # only now is what the checkpoints guard safe
        path.with_suffix(".checkpoint").unlink(missing_ok=True)
