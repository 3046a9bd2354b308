"""A stand-in for conda: makes environments as envs/*.yaml describe them, with uv.

It knows the commands that Snakemake gives. Python comes from this machine rather than
from conda-forge; what `pip` lists is installed, and nothing else.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

BASE = Path(__file__).parents[1]
ANSWERS = {
    "--version": "conda 24.9.2",
    "info --json": json.dumps({"platform": "linux-64", "conda_prefix": str(BASE)}),
    "config --get channel_priority --json": json.dumps({"get": {"channel_priority": "strict"}}),
    "clean -y --tarballs": "",
}


def create(file: str, prefix: str) -> None:
    """Make an environment of exactly what a file pins."""
    python, _, pip = yaml.safe_load(Path(file).read_text())["dependencies"]
    version = ".".join(python.split("=")[1].split(".")[:2])
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for command in (
        ["venv", "--python", version, prefix],
        ["pip", "install", "--no-deps", "--python", f"{prefix}/bin/python", *pip["pip"]],
    ):
        subprocess.run(["uv", *command, "--quiet"], check=True, env=environment)


def main(arguments: list[str]) -> None:
    """Do what Snakemake asks of conda."""
    if " ".join(arguments) in ANSWERS:
        print(ANSWERS[" ".join(arguments)])
    elif arguments[:2] == ["env", "create"]:
        create(*(arguments[arguments.index(option) + 1] for option in ("--file", "--prefix")))
    else:
        sys.exit(f"conda, the stand-in, does not know: {arguments}")


if __name__ == "__main__":
    main(sys.argv[1:])
