"""Estimate what certifying the study takes."""

from dataclasses import asdict

from dds.files import write_json
from jobs.job import job
from paper.costs import GPUS, estimate
from study.study import Study

with job(globals()) as snakemake:
    rate = GPUS[snakemake.wildcards.gpu].flops
    study = Study.from_json(snakemake.params.depends["study"])
    write_json(snakemake.output[0], [asdict(one) for one in estimate(study, rate)])
