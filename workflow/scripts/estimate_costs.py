"""Estimate what certifying the study takes."""

import warnings
from dataclasses import asdict

from dds.costs import GPUS, estimate
from dds.files import write_json
from support.job import job

with job(snakemake):
    warnings.filterwarnings("ignore", category=FutureWarning, module="guided_diffusion")
    rate = GPUS[snakemake.wildcards.gpu].flops
    write_json(snakemake.output[0], [asdict(one) for one in estimate(snakemake.params.study, rate)])
