"""The house: every module lies in a room, and imports only from the rooms below its own."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

import dds

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
OURS = ("dds", "study", "jobs", "paper")
MODULES = {
    ".".join(path.relative_to(SCRIPTS).with_suffix("").parts).removesuffix(".__init__"): path
    for package in OURS
    for path in sorted((SCRIPTS / package).rglob("*.py"))
}

NUMBERS = {"numpy", "pandas", "scipy"}
NETWORKS = {
    "torch", "triton", "torchvision", "timm", "transformers", "guided_diffusion", "safetensors",
    "diffusers",
}  # fmt: skip
#: What reaches outside: no module of the library does.
OUTSIDE = {"snakemake", "papermill", "yaml", "requests", "urllib", "http", "socket"}

#: Each room: its modules, the rooms below it that it may import from, and other packages. The
#: first room whose pattern fits a module is the module's.
ROOMS = {
    "ground": (
        "dds dds.version dds.extras dds.names dds.seeds dds.files dds.progress dds.protocol "
        "dds.differences dds.reasons dds.keys dds.kinds dds.origins dds.data dds.networks "
        "dds.sampling dds.statistics",
        "", {"pydantic", "pydantic_core", "tqdm"},
    ),
    "bounds": (
        "dds.statistics.bounds dds.statistics.pass_marks", "ground", {"numpy", "scipy"},
    ),
    "reach": ("dds.statistics.reach", "ground", set()),
    "plans": ("dds.statistics.plans*", "ground bounds", {"numpy", "scipy", "pydantic"}),
    "certificates": (
        "dds.statistics.certificates dds.statistics.predictions", "ground bounds plans", NUMBERS,
    ),
    "cascade": ("dds.statistics.cascade", "ground bounds certificates", NUMBERS),
    "accuracy": (
        "dds.statistics.accuracy dds.statistics.empirical", "ground bounds certificates", NUMBERS,
    ),
    "data": ("dds.data.*", "ground", NUMBERS | {"PIL", "sklearn", "pydantic"}),
    "description": (
        "dds.networks.schedules dds.networks.description dds.networks.families dds.networks.hub",
        "ground",
        {"pydantic"},
    ),
    "networks": (
        "dds.networks.*", "ground description", NETWORKS | {"numpy", "pydantic", "PIL"},
    ),
    "votes": ("dds.sampling.votes", "ground bounds plans", {"numpy"}),
    "counts": ("dds.sampling.counts", "ground plans votes", NUMBERS | {"pyarrow"}),
    "sampling": ("dds.sampling.*", "ground networks plans votes", {"numpy", "torch"}),
    "logs": ("dds.logs", "ground certificates accuracy", NUMBERS | {"pyarrow"}),
    "door": (
        "dds.front dds.front.* dds.decisions",
        "ground bounds reach plans certificates accuracy networks sampling votes counts logs",
        NUMBERS | {"torch", "matplotlib"},
    ),
    "commands": (
        "dds.__main__ dds.commands dds.commands.*",
        "ground bounds reach plans certificates accuracy data description networks sampling counts "
        "logs door",
        NUMBERS | {"click", "matplotlib", "pyarrow", "torch", "yaml"},
    ),
    "links": ("paper.linked_logs", "ground", set()),
    "literature": ("paper.literature", "ground accuracy logs links", NUMBERS),
    "paper": (
        "paper paper.*",
        "ground bounds reach plans certificates cascade accuracy data description networks counts "
        "literature",
        NUMBERS | {"matplotlib", "seaborn", "pydantic", "torch"},
    ),
    "study": (
        "study study.*", "ground reach plans data description links paper",
        {"pydantic", "pydantic_core", "yaml"},
    ),
    "jobs": (
        "jobs jobs.*",
        "ground plans certificates data description networks votes counts sampling study",
        NUMBERS | {
            "torch", "pynvml", "snakemake", "snakemake_interface_executor_plugins",
            "snakemake_interface_logger_plugins",
        },
    ),
}  # fmt: skip
#: Libraries of models, which not everyone who runs the tests has.
OPTIONAL = {"diffusers", "guided_diffusion", "timm", "transformers"}
TESTS = sorted(Path(__file__).parent.rglob("test_*.py"))
LIBRARY = [name for name in MODULES if name.split(".")[0] == "dds"]


def room_of(module):
    """Return the room that a module lies in."""
    for room, (patterns, _, _) in ROOMS.items():
        if any(fnmatch(module, pattern) for pattern in patterns.split()):
            return room
    return None


@cache
def imports(module):
    """Return what a module imports, ever: modules of ours by their names, others' packages."""
    found = set()
    for node in ast.walk(_without_types(ast.parse(MODULES[module].read_text("utf-8")))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= inside or {node.module}
    ours = {name for name in found if name.split(".")[0] in OURS}
    others = {name.split(".")[0] for name in found - ours}
    return ours, others - set(sys.stdlib_module_names), others


class _without_types(ast.NodeTransformer):  # noqa: N801 - used like a function
    """Drops blocks under ``if TYPE_CHECKING``."""

    def __new__(cls, tree):
        return super().__new__(cls).visit(tree)

    def visit_If(self, node):
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return None
        return self.generic_visit(node)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_lies_in_a_room_and_imports_from_below(module):
    room = room_of(module)
    assert room is not None, f"{module} lies in no room"
    _, below, packages = ROOMS[room]
    ours, others, _ = imports(module)
    assert {room_of(name) for name in ours} <= {room, *below.split()}
    assert others <= packages


def test_no_room_is_empty_and_none_stands_below_itself():
    assert {room_of(module) for module in MODULES} == ROOMS.keys()
    for position, (_, below, _) in enumerate(ROOMS.values()):
        assert set(below.split()) <= set(list(ROOMS)[:position])


def test_no_imports_go_round_in_a_circle():
    graph = {module: imports(module)[0] for module in MODULES}
    list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", LIBRARY)
def test_the_library_reads_no_environment_variable_and_no_network(module):
    text = MODULES[module].read_text("utf-8")
    assert "os.environ" not in text
    assert "getenv" not in text
    allowed = {"yaml"} if room_of(module) == "commands" else set()  # files of models
    assert not imports(module)[2] & (OUTSIDE - allowed)


def imported_at_once(statement):
    """Return what a statement outside of functions imports: modules of ours, others' packages."""
    if isinstance(statement, ast.Import):
        return {alias.name for alias in statement.names}
    if not isinstance(statement, ast.ImportFrom):
        return set()
    names = [f"{statement.module}.{alias.name}" for alias in statement.names]
    homes = {f"dds.{name}": home for name, home in dds._HOME.items()}
    return {statement.module} | {homes.get(name, name) for name in names}


@cache
def optional_at_once(module):
    """Return the optional packages that a module cannot be imported without."""
    if module not in MODULES:
        return {module.split(".")[0]} & OPTIONAL
    body = ast.parse(MODULES[module].read_text("utf-8")).body
    inside = [name for statement in body for name in imported_at_once(statement)]
    return set().union(*map(optional_at_once, inside))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_files_that_need_an_optional_package_are_skipped_without_it(path):
    asked = set()
    for statement in ast.parse(path.read_text("utf-8")).body:
        for name in imported_at_once(statement):
            assert optional_at_once(name) <= asked, f"{name} is imported before importorskip"
        if "importorskip" in ast.unparse(statement):
            asked |= {
                node.value for node in ast.walk(statement) if isinstance(node, ast.Constant)
            } & OPTIONAL


#: Snakemake is often installed alone, and reads the rules once a job.
READS_THE_WORKFLOW = """
from pathlib import Path
import jobs.gpus, jobs.slurm, jobs.terminal, study.depends, study.inputs
from study.load import load_config, load_study, shipped_studies
from study.reference import schemas
schemas()  # of every kind that ships
for name in shipped_studies(Path()):
    load_study(load_config({"study": name}), Path())
"""
SAYS_HELP = """
import os, sys
sys.stdout = open(os.devnull, "w")
from dds.commands import main
main(["certify", "--help"])
sys.stdout = sys.__stdout__
"""


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        (
            READS_THE_WORKFLOW,
            NUMBERS | NETWORKS
            | {"matplotlib", "seaborn", "sklearn", "PIL", "pyarrow", "tqdm", "jsonschema"},
        ),
        ("import dds", NUMBERS | NETWORKS),
        (SAYS_HELP, NUMBERS | NETWORKS | {"pyarrow", "pydantic", "yaml", "PIL"}),
        ("import dds.sampling.votes, dds.sampling.counts, dds.statistics.certificates", NETWORKS),
        ("import dds.logs, dds.__main__", NETWORKS),
        (
            "from dds import certified_accuracy, clopper_pearson_lower, make_plan, read_logs",
            NETWORKS,
        ),
    ],
)  # fmt: skip
def test_nothing_is_imported_that_may_be_missing_or_takes_long(statement, heavy):
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    answer = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(SCRIPTS)}, cwd=SCRIPTS.parents[1],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not heavy & set(answer.stdout.split())
