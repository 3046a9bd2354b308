"""Conda environments are pinned, agree with the lock, and hold what their rules import."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
SCRIPTS = ROOT / "workflow" / "scripts"
OURS = ("dds", "study", "jobs", "paper")
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))
RULES = [
    pytest.param(environment, script, id=script)
    for file in sorted((ROOT / "workflow" / "rules").glob("*.smk"))
    for rule in re.split(r"\n\s*rule\b", file.read_text())[1:]
    for environment, script in zip(
        re.findall(r"envs/(\w+)\.yaml", rule), re.findall(r"scripts/(\w+\.py)", rule), strict=True
    )
]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def requirements(environment: str) -> list[str]:
    """Return an environment's pip section."""
    content = yaml.safe_load((ROOT / "envs" / f"{environment}.yaml").read_text())
    (pip,) = [entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict)]
    return pip


@cache
def pins(environment: str) -> dict[str, str]:
    """Return the versions that an environment's pip section pins, by package."""
    versions = [line.split()[0].split("==") for line in requirements(environment)[1:]]
    return {normal(name): version for name, version in versions}


@cache
def imports(module: Path) -> set[str]:
    """Return the packages that a file of ours needs as soon as it is imported, ours followed."""
    needed = set()
    for node in ast.parse(module.read_text()).body:  # imports inside functions are by choice
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.split(".")[0] in OURS:
                needed = needed.union(*map(imports, files_of(name)))
            elif name.split(".")[0] not in sys.stdlib_module_names:
                needed.add(name.split(".")[0])
    return needed


def files_of(name: str) -> list[Path]:
    """Return the file of a module of ours, or none for what a module holds."""
    path = SCRIPTS.joinpath(*name.split("."))
    files = [path.with_suffix(".py"), path / "__init__.py"]
    return [file for file in files if file.is_file()]


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_an_environment_asks_conda_for_python_alone_and_pins_the_rest(path):
    content = yaml.safe_load(path.read_text())
    conda = [entry for entry in content["dependencies"] if isinstance(entry, str)]
    assert [entry.split("=")[0] for entry in conda] == ["conda-forge::python", "conda-forge::pip"]
    assert all(re.search(r"[a-z]=[0-9.]+$", entry) for entry in conda)
    assert all(pins(path.stem).values())
    assert content["channels"] == ["conda-forge"]  # conda looks for any other, `nodefaults` too


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_pip_takes_files_of_the_locks_hashes_alone(path):
    lock = set(re.findall(r"--hash=(\S+)", (ROOT / "envs/requirements.lock").read_text()))
    option, *packages = requirements(path.stem)
    assert option == "--require-hashes"
    for package in packages:
        _, *hashes = package.split()
        assert hashes
        assert {entry.removeprefix("--hash=") for entry in hashes} <= lock


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_an_environment_has_the_locks_versions(path):
    lock = re.findall(
        r"^([\w.-]+)(?:\[.*?\])?==(\S+)", (ROOT / "envs/requirements.lock").read_text(), flags=re.M
    )
    # A package may stand there twice, for different versions of Python.
    assert pins(path.stem).items() <= {(normal(name), version) for name, version in lock}


def test_the_documentation_is_built_with_the_locks_versions_and_hashed_files():
    lock, documentation = (
        re.findall(r"^([\w.-]+)(?:\[.*?\])?==(\S+)(.*)", (ROOT / name).read_text(), flags=re.M)
        for name in ("envs/requirements.lock", "envs/docs.lock")
    )
    versions = {(normal(name), version) for name, version, _ in lock}
    shared = {normal(name) for name, *_ in lock}
    assert {"sphinx", "numpy"} <= {normal(name) for name, *_ in documentation}
    for name, version, rest in documentation:
        assert rest.endswith("\\"), f"{name} has no hash"
        assert normal(name) not in shared or (normal(name), version) in versions


def test_every_rule_that_runs_a_script_names_an_environment():
    for file in (ROOT / "workflow" / "rules").glob("*.smk"):
        text = file.read_text()
        assert text.count("script:") == text.count("conda:"), file.name
    assert len(RULES) >= 15


def test_the_workflow_is_read_with_snakemake_alone():
    """Nothing that the rules files import is missing where only Snakemake is installed."""
    rules = "\n".join(file.read_text() for file in (ROOT / "workflow" / "rules").glob("*.smk"))
    names = re.findall(rf"^from ((?:{'|'.join(OURS)})[\w.]*) import (\w+)", rules, flags=re.M)
    files = [file for name, what in names for file in files_of(name) + files_of(f"{name}.{what}")]
    assert len(files) > 4
    # Snakemake itself needs these.
    needed = {"pydantic", "pydantic_core", "yaml", "snakemake_interface_logger_plugins"}
    assert set().union(*map(imports, files)) <= needed


@pytest.mark.parametrize(("environment", "script"), RULES)
def test_an_environment_holds_what_its_rules_import(environment, script):
    distributions = packages_distributions()
    for package in imports(SCRIPTS / script):
        names = {normal(name) for name in distributions[package]}
        assert names & pins(environment).keys(), f"{script} imports {package}"
