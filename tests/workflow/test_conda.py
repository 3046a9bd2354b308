"""Every rule runs in its conda environment, beside a Snakemake that has nothing else."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from projects import Project, shorten, shrink

pytestmark = pytest.mark.conda


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """A conda that is a stand-in, and a Snakemake in an environment of its own."""
    conda, outer = (tmp_path_factory.mktemp(name) for name in ("conda", "outer"))
    (conda / "bin").mkdir()
    script = Path(__file__).with_name("conda_standin.py").read_text()
    (conda / "bin/conda").write_text(f"#!{sys.executable}\n{script}")
    (conda / "bin/conda").chmod(0o755)
    (conda / "bin/activate").write_text('export PATH="$1/bin:$PATH" CONDA_PREFIX="$1"\n')
    (conda / "bin/uv").symlink_to(Path(sys.executable).with_name("uv"))
    uv = [conda / "bin/uv", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, "--clear", outer], check=True)
    snakemake = f"snakemake=={version('snakemake')}"
    subprocess.run([*uv, "pip", "install", "--python", outer / "bin/python", snakemake], check=True)
    for package in ("numpy", "torch", "pandas"):  # or the test would show nothing
        code = f"import importlib.util; assert not importlib.util.find_spec({package!r})"
        subprocess.run([outer / "bin/python", "-c", code], check=True)
    return [outer / "bin", conda / "bin", "/usr/bin", "/bin"]


def test_a_study_runs_in_the_pinned_environments(tools, tmp_path):
    project = Project(tmp_path)
    shorten(project)
    shrink(project.study)
    project.write_study()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [tools[0] / "snakemake", "all", "--cores", "2", "--sdm", "conda",
         "--config", "study=small.yaml"],
        cwd=project.folder, env=environment | {"PATH": ":".join(map(str, tools))},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    output = result.stdout + result.stderr
    assert result.returncode == 0, output

    made = {path.stem for path in (project.folder / ".snakemake/conda").glob("*.yaml")}
    used = set(re.findall(r"Activating conda environment: \S*/(\w+)", output))
    assert used == made
    (*_, listed) = yaml.safe_load((project.folder / "envs/torch.yaml").read_text())["dependencies"]
    pinned = {requirement.split()[0] for requirement in listed["pip"]}
    record = json.loads((project.results / "counts/denoised.json").read_text())
    for package in ("torch", "timm", "numpy"):
        assert f"{package}=={record['versions'][package]}" in pinned
