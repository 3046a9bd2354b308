"""Estimate what certifying the study takes."""

from dataclasses import asdict

from dds.files import write_json
from jobs.job import job
from paper.costs import GPUS, estimate, read_rates
from study.study import Study

with job(globals()) as snakemake:
    gpu = snakemake.wildcards.gpu
    rates = [rate for rate in read_rates(snakemake.input.rates) if rate.gpu == gpu]
    study = Study.from_json(snakemake.params.depends["study"])
    write_json(snakemake.output[0], [asdict(one) for one in estimate(study, GPUS[gpu], rates)])
