"""Count the votes of the smoothed classifiers on some images at one sigma."""

from jobs.certify import CertifyJob
from jobs.job import job

with job(globals()) as snakemake:
    CertifyJob(snakemake).make()
