"""Fetch a file that a dataset is made from."""

from jobs.download import fetch, link
from jobs.job import job

with job(globals()) as snakemake:
    link(fetch(snakemake.params.source, snakemake.config["url_overrides"]), snakemake.output[0])
