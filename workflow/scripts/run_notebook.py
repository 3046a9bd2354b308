"""Execute a notebook on the study's results."""

import logging
import os
import tempfile
from pathlib import Path

import papermill
from traitlets.config import Config

import dds
from dds.files import atomic_path
from jobs.job import job

with job(globals()) as snakemake:
    # The kernel is a process of its own, and must find the library that this script found.
    os.environ["PYTHONPATH"] = str(Path(dds.__file__).parents[1])
    logging.getLogger("papermill").setLevel(logging.WARNING)
    study = snakemake.params.depends["study"]
    # Kernels talk over sockets in a folder of their own: no port is open to others, and
    # notebooks that run side by side cannot meet.
    with (
        tempfile.TemporaryDirectory() as sockets,
        atomic_path(snakemake.output[0]) as temporary,
    ):
        papermill.execute_notebook(
            snakemake.input.notebook,
            temporary,
            parameters={"results": f"results/{study['name']}", "study": study},
            kernel_name="python3",
            language="python",
            progress_bar=False,
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}),
        )
