"""A stand-in for conda: makes environments as envs/*.yaml describe them, with uv.

It knows the commands that Snakemake gives. Python comes from this machine rather than
from conda-forge; what `pip` lists is installed, and nothing else. Like conda since
`env create` means `create`, it looks for every channel that is named.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

BASE = Path(__file__).parents[1]
CHANNELS = {"conda-forge", "bioconda", "defaults"}
ANSWERS = {
    "--version": "conda 24.9.2",
    "info --json": json.dumps({"platform": "linux-64", "conda_prefix": str(BASE)}),
    "config --get channel_priority --json": json.dumps({"get": {"channel_priority": "strict"}}),
    "clean -y --tarballs": "",
}


def create(file: str, prefix: str) -> None:
    """Make an environment of exactly what a file pins."""
    content = yaml.safe_load(Path(file).read_text())
    python, _, pip = content["dependencies"]
    named = {spec.partition("::")[0] for spec in content["dependencies"][:2] if "::" in spec}
    if missing := named.union(content["channels"]) - CHANNELS:
        sys.exit(f"UnavailableInvalidChannel: HTTP 404 NOT FOUND for channel {', '.join(missing)}")
    version = ".".join(python.split("=")[1].split(".")[:2])
    requirements = Path(f"{prefix}.requirements.txt")
    requirements.write_text("\n".join(pip["pip"]))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for command in (
        ["venv", "--python", version, prefix],
        ["pip", "install", "--no-deps", "--python", f"{prefix}/bin/python", "-r", requirements],
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
