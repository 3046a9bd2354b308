"""Execute a notebook on the study's results."""

import logging
import os
from pathlib import Path

import papermill
from traitlets.config import Config

from dds.files import atomic_path
from support.job import job

with job(snakemake):
    # The kernel is a process of its own and finds the library as this script did.
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    logging.getLogger("papermill").setLevel(logging.WARNING)
    study = snakemake.params.study
    with atomic_path(snakemake.output[0]) as temporary:
        papermill.execute_notebook(
            snakemake.input.notebook,
            temporary,
            parameters={"results": f"results/{study['name']}", "study": study},
            kernel_name="python3",
            language="python",
            progress_bar=False,
            config=Config({"KernelManager": {"transport": "ipc"}}),  # no port open to others
        )
