"""Copies of the project, to run studies in."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import yaml

from project import written_out

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "CITATION.cff", "LICENSE", "README.md", "pyproject.toml",
         "config", "envs", "notebooks", "profiles", "slurm", "tools", "workflow")  # fmt: skip


#: Words that would do something if the report, or a page of it, took them for markup.
HOSTILE = """<script>document.title = "ran"</script></script><script>document.title = "ran"</script>
<img src="x" onerror="document.title = 'ran'"> p < 0.05, $5 & $6, a|b, foo_, `bar`_, {{ 7 * 7 }}

.. include:: README.md

.. raw:: html
   :file: README.md

.. csv-table::
   :file: README.md

<!--"""


def hostile_account(folder: Path) -> dict[str, str]:
    """Make settings of somebody's that would fail figures and notebooks, and return where."""
    kernel = folder / "jupyter" / "kernels" / "python3"
    startup = folder / "ipython" / "profile_default" / "startup"
    for path in (kernel, startup):
        path.mkdir(parents=True)
    spec = {"argv": ["false"], "display_name": "mine", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    (startup / "00.py").write_text("print('from startup'); raise SystemExit")
    (folder / "startup.py").write_text("print('from startup')")
    (folder / "matplotlibrc").write_text("text.usetex: True\nlines.linewidth: 9\n")
    return {
        "JUPYTER_PATH": str(folder / "jupyter"),
        "JUPYTER_DATA_DIR": str(folder / "jupyter"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONSTARTUP": str(folder / "startup.py"),
        "MATPLOTLIBRC": str(folder / "matplotlibrc"),
        "MPLBACKEND": "nonsense",
    }


def python_without(packages: list[str], folder: Path) -> str:
    """Make a Python that has what this one has, but for some packages, and return where."""
    venv.create(folder, symlinks=True)
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "others.pth").write_text("\n".join(site.getsitepackages()))
    (own / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "find = PathFinder.find_spec\n"
        f"lacking = {packages}\n"
        "PathFinder.find_spec = classmethod(lambda cls, name, *rest: "
        "None if name.split('.')[0] in lacking else find(name, *rest))\n"
    )
    return str(folder / "bin" / "python")


class Project:
    """A copy of the project's files, and how to run Snakemake in it."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        self.folder, self.python = folder, sys.executable
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part,
                                ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
            else:
                shutil.copy(source, folder / part)
        self.study = written_out("digits")
        self.results = folder / "results" / "small"
        self.environment = (
            os.environ | {"PYTHONPATH": str(self._lay_impostors())} | (settings or {})
        )

    def _lay_impostors(self) -> Path:
        """Make packages of our names that nothing may import, as if others were installed."""
        folder = self.folder / "impostors"
        for name in ("dds", "study", "jobs", "paper"):
            (folder / name).mkdir(parents=True)
            (folder / name / "__init__.py").write_text("raise ImportError('not the project')\n")
        return folder

    def write_study(self) -> None:
        """Write the study as a file of the user's own."""
        (self.folder / "small.yaml").write_text(yaml.safe_dump(self.study, sort_keys=False))

    def snakemake(
        self, *arguments: str, study: str = "small.yaml", check: bool = True, **config: str
    ) -> subprocess.CompletedProcess[str]:
        """Run Snakemake on a study, with keys that win over those of config.yaml."""
        result = subprocess.run(
            [self.python, "-m", "snakemake", "--cores", "2", *arguments,
             "--config", f"study={study}", *(f"{key}={value}" for key, value in config.items())],
            cwd=self.folder, capture_output=True, text=True, check=False, env=self.environment,
        )  # fmt: skip
        assert not check or result.returncode == 0, result.stdout + result.stderr
        return result

    def planned_rules(self, *arguments: str) -> list[str]:
        """Return the rules that a run would execute, sorted, one entry a job."""
        preview = self.snakemake("--dry-run", *arguments)
        lines = (preview.stdout + preview.stderr).splitlines()
        return sorted(line.split()[1].rstrip(":") for line in lines if line.startswith("rule "))


def shrink(study: dict) -> None:
    """Make the digits study small: two classifiers, few images and samples, two sigmas."""
    for name, experiment in study["experiments"].items():
        experiment |= {"sigmas": [0.25, 0.5], "n": 200, "images": 30, "images_per_shard": 20}
        if name.startswith("ablation"):
            experiment |= {"n": 100, "images": 12, "images_per_shard": 12}
        if name.startswith("plan"):
            experiment |= {"images": 12, "images_per_shard": 12}
        if experiment["steps"] != 1:
            experiment["steps"] = 3
    study["attacks"]["denoised"] |= {"images": 3, "images_per_shard": 2, "radii": [0.25], "n": 100}
    study["figures"]["figure_2"]["caption"] += f" {HOSTILE}"
    study["tables"]["table_1"]["caption"] += f" {HOSTILE}"
    study["tables"]["table_1"]["rows"][0]["label"] = HOSTILE.splitlines()[0]
    study["checks"] = [check for check in study["checks"] if check["kind"] == "better"]
    study["checks"][0] |= {"sigmas": [0.5], "radius": 0.0}


def shorten(project: Project) -> None:
    """Train a project's models for a few seconds each."""
    models = project.folder / "config" / "models.yaml"
    registry = yaml.safe_load(models.read_text())
    for entry in registry.values():
        for recipe in entry["weights"].values():
            if isinstance(recipe, dict) and "iterations" in recipe:
                recipe["iterations"] = min(recipe["iterations"], 500)
    models.write_text(yaml.safe_dump(registry, sort_keys=False))
