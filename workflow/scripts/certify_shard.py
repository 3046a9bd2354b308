"""Count the votes of the smoothed classifiers on some images at one sigma."""

from jobs.job import job
from jobs.shard import certify

with job(globals()) as snakemake:
    certify(snakemake)
