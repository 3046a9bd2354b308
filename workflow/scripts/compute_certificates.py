"""Bound the class probabilities and compute the certified radii."""

from dds.files import atomic_path
from dds.sampling.counts import read_counts
from dds.statistics.certificates import compute_certificates
from jobs.job import job

with job(globals()) as snakemake:
    counts, metadata = read_counts(snakemake.input[0])
    alpha = snakemake.params.depends["alpha"]
    certificates = compute_certificates(counts, metadata["plan"], alpha)
    with atomic_path(snakemake.output[0]) as temporary:
        certificates.to_parquet(temporary, index=False)
