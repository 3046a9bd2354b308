"""Who may import whom: the library's rooms, and what stays out of them."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "workflow" / "scripts" / "dds"
MODULES = sorted(path.stem for path in LIBRARY.glob("*.py") if path.stem != "__init__")
NOT_THE_LIBRARYS = {
    "snakemake",
    "papermill",
    "jobs",
    "study",
    "paper",
    "yaml",
    "requests",
    "urllib",
    "http",
}

STATISTICS = {"numpy", "pandas", "pyarrow", "scipy"}
#: What a room may import from outside the standard library. Of dds, a room with no
#: entry "dds" imports only the modules listed.
ROOMS = {
    "grid": set(),
    "archives": set(),
    "protocol": set(),
    "seeds": set(),
    "looks": {"dds.seeds"},
    "schedules": set(),
    "certificates": {"numpy", "scipy", "dds.statistics.plans"},
    "plans": {"numpy", "scipy", "dds.statistics.certificates", "dds.statistics.looks", "dds.seeds"},
    "counts": STATISTICS | {"dds"},
    "accuracy": STATISTICS | {"dds"},
    "logs": STATISTICS | {"dds"},
    "literature": STATISTICS | {"dds"},
    "__main__": STATISTICS | {"dds"},
    "tables": STATISTICS | {"dds", "matplotlib", "seaborn"},
    "figures": STATISTICS | {"dds", "matplotlib", "seaborn"},
}  # fmt: skip
NETWORKS = {"torch", "torchvision", "timm", "transformers", "guided_diffusion", "safetensors"}


@cache
def imports(module):
    """Return the top-level packages and modules of dds that a module imports, ever."""
    found = set()
    for node in ast.walk(ast.parse((LIBRARY / f"{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names = [node.module]
            if node.module == "dds":
                names = [f"dds.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name if name.startswith("dds.") else name.split(".")[0] for name in names}
    return found - set(sys.stdlib_module_names) - {"__future__"} | found & NOT_THE_LIBRARYS


def reach(module):
    """Return what a module imports, itself or through other modules of dds."""
    seen, waiting = set(), [module]
    while waiting:
        for name in imports(waiting.pop()) - seen:
            seen.add(name)
            if name.startswith("dds."):
                waiting.append(name.removeprefix("dds."))
    return seen


@pytest.mark.parametrize("module", MODULES)
def test_the_library_knows_no_workflow_and_no_network(module):
    assert not imports(module) & NOT_THE_LIBRARYS


@pytest.mark.parametrize("module", MODULES)
def test_the_library_reads_no_environment_variable(module):
    text = (LIBRARY / f"{module}.py").read_text(encoding="utf-8")
    assert "os.environ" not in text
    assert "getenv" not in text


@pytest.mark.parametrize("module", sorted(ROOMS.keys() & set(MODULES)))
def test_rooms_import_only_what_is_theirs(module):
    strangers = imports(module) - ROOMS[module]
    if "dds" in ROOMS[module]:
        strangers = {name for name in strangers if not name.startswith("dds.")}
    assert not strangers


@pytest.mark.parametrize("module", sorted(ROOMS.keys() & set(MODULES)))
def test_statistics_never_reach_a_network(module):
    assert not reach(module) & NETWORKS


def test_the_package_itself_imports_only_the_standard_library():
    assert imports("__init__") == set()
