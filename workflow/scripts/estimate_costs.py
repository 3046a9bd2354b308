"""Estimate what certifying the study takes."""

from dataclasses import asdict

from dds.files import write_json
from jobs.job import job
from paper.costs import GPUS, estimate

with job(snakemake):
    rate = GPUS[snakemake.wildcards.gpu].flops
    write_json(snakemake.output[0], [asdict(one) for one in estimate(snakemake.params.study, rate)])
