"""Check the counts of an experiment's shards and put them into one file."""

from pathlib import Path

from dds.counts import merge_counts, write_counts
from support.job import job

with job(snakemake):
    frame, metadata = merge_counts(snakemake.input)
    write_counts(snakemake.output[0], frame, metadata)
    for counts in snakemake.input:  # only now is what the checkpoints guard safe
        Path(counts).with_suffix(".checkpoint").unlink(missing_ok=True)
