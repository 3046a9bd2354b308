"""Check the counts of an experiment's shards and put them into one file."""

import json
from pathlib import Path

from dds.files import write_json
from dds.names import shard_place
from dds.sampling.counts import merge_counts, write_counts
from jobs.job import job
from jobs.provenance import summarize

with job(globals()) as snakemake:
    shards = [Path(counts) for counts in snakemake.input]
    expected = snakemake.params.depends["expected"]
    counts, metadata = merge_counts(shards, expected, list(map(shard_place, shards)))
    write_counts(snakemake.output.counts, counts, metadata)
    records = (json.loads(path.with_suffix(".json").read_text("utf-8")) for path in shards)
    write_json(snakemake.output.provenance, summarize(records))
    for path in shards:  # only now is what the checkpoints guard safe
        path.with_suffix(".checkpoint").unlink(missing_ok=True)
