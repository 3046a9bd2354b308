"""Take a result from a deposit, where it is the study's, instead of making it."""

from jobs.deposit import take
from jobs.job import job

with job(globals()) as snakemake:
    parameters = snakemake.params
    take(parameters.files["deposit"], parameters.result, parameters.wanted, snakemake.output)
