"""The examples in docstrings run, and give what they say."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
MODULES = [
    ".".join(path.relative_to(SCRIPTS).with_suffix("").parts).removesuffix(".__init__")
    for package in ("dds", "paper", "study", "jobs")
    for path in sorted((SCRIPTS / package).rglob("*.py"))
    if ">>> " in path.read_text("utf-8")
]


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(import_module(module), optionflags=doctest.ELLIPSIS)
    assert results.attempted > 0
    assert results.failed == 0


def test_the_methods_own_modules_have_examples():
    wanted = {
        "dds.statistics.bounds",
        "dds.networks.denoisers",
        "dds.sampling.smoothing",
        "dds.front.certify",
    }
    assert wanted <= set(MODULES)
