"""Execute a notebook on the study's results."""

import logging
import os
import tempfile
from pathlib import Path

import papermill
from ipykernel.kernelspec import write_kernel_spec
from traitlets.config import Config

import dds
from dds.files import atomic_path
from jobs.job import job

#: Variables that name, or are, settings of whoever runs this.
PERSONAL = ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "JUPYTER_RUNTIME_DIR", "PYTHONSTARTUP")


def isolate(folder):
    """Let the kernel be this Python's, without anybody's settings, and find this library."""
    write_kernel_spec(folder / "jupyter" / "kernels" / "python3")
    for name in PERSONAL:
        os.environ.pop(name, None)
    os.environ |= {
        "JUPYTER_DATA_DIR": str(folder / "jupyter"),
        "JUPYTER_PREFER_ENV_PATH": "0",
        "JUPYTER_NO_CONFIG": "1",
        "IPYTHONDIR": str(folder / "ipython"),
        "MPLBACKEND": "agg",
        "PYTHONPATH": str(Path(dds.__file__).parents[1]),
    }


with job(globals()) as snakemake, tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    isolate(folder)
    logging.getLogger("papermill").setLevel(logging.WARNING)
    with atomic_path(snakemake.output[0]) as temporary:
        papermill.execute_notebook(
            snakemake.input.notebook,
            temporary,
            parameters={
                "study": snakemake.config["study"],
                "results": str(Path(snakemake.output[0]).parents[1]),
            },
            kernel_name="python3",
            language="python",
            progress_bar=False,
            # Kernels talk over sockets in a folder of their own: no port is open to others,
            # and notebooks that run side by side cannot meet.
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}}),
        )
