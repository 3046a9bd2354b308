"""Attack the smoothed classifiers on some images at one sigma."""

from jobs.attack import AttackJob
from jobs.job import job

with job(globals()) as snakemake:
    AttackJob(snakemake).make()
