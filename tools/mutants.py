"""Break the library in small ways, one at a time, and tell which breaks no test notices.

Run by `make mutants`, on modules where a wrong sign is a wrong certificate. Mutants are made by
cosmic-ray, in a copy of the project, and only the fast tests of the module's room run on each.
What is done is kept in .mutants/, so that a run that was stopped goes on where it was; a module
that has changed begins anew.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import time
from functools import cache
from pathlib import Path

# Before anything reads them. Tests are small, and threads would only wait for each other; a
# mutant may be of the size and the second of the one before, as which its bytecode would pass.
os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}

import hypothesis
import pytest
from cosmic_ray.commands import init as list_mutants
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult

ROOT = Path(__file__).resolve().parents[1]
STATE = ROOT / ".mutants"
COPY = STATE / "project"
PARTS = ("config", "envs", "pyproject.toml", "tests", "tools", "workflow")
LIBRARY = Path("workflow/scripts/dds")

#: What is mutated, in this order; a folder stands for its modules.
MODULES = (
    "statistics/bounds", "statistics/pass_marks", "statistics/plans", "statistics/certificates",
    "statistics/cascade", "statistics/predictions", "statistics/accuracy", "networks/denoisers",
    "sampling/votes", "networks/schedules", "sampling/noise", "sampling/smoothing",
    "sampling/runner", "sampling/counts", "networks/training",
)  # fmt: skip

#: One replacement an operator of the language: eleven for each `+` say little more.
OPERATORS = re.compile(
    "core/(ReplaceBinaryOperator_"
    "(Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_Mul|Pow_Mul|BitAnd_BitOr)"
    "|ReplaceComparisonOperator_"
    "(Eq_NotEq|NotEq_Eq|Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Is_IsNot|IsNot_Is)"
    "|ReplaceUnaryOperator_(USub_UAdd|Delete_Not|Delete_Invert)"
    "|AddNot|NumberReplacer|ReplaceTrueWithFalse|ReplaceFalseWithTrue|ReplaceAndWithOr"
    "|ReplaceOrWithAnd|ReplaceBreakWithContinue|ReplaceContinueWithBreak"
    "|RemoveDecorator|ZeroIterationForLoop)"
)

#: Arguments that change no result but make other mistakes show: not mutated.
PRECAUTIONS = ("strict=", "frozen=", "kw_only=")

#: Slow to import, and never mutated: imported once, before the tests of each mutant are forked.
PACKAGES = (
    "numpy", "pandas", "pyarrow.parquet", "pydantic", "scipy.special", "scipy.stats", "torch",
    "torch.optim.swa_utils", "_hypothesis_pytestplugin",
)  # fmt: skip

#: What tests of a mutant may take: seconds of computing a test, seconds in all, bytes.
SECONDS_A_TEST, SECONDS, MEMORY = 10, 600, 4 << 30

# The same examples for each mutant. Whether one fails is all that is asked, not how small it gets.
hypothesis.settings.register_profile(
    "mutants",
    deadline=None,
    derandomize=True,
    database=None,
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
)


class Limit:
    """Ends the tests where one computes for too long; what others compute does not count."""

    def __init__(self) -> None:
        self.pytest_runtest_setup()  # for what the tests compute while they are imported

    def pytest_runtest_setup(self) -> None:
        """Give the next test its time."""
        signal.setitimer(signal.ITIMER_PROF, SECONDS_A_TEST)


def names(module: Path) -> tuple[str, ...]:
    """Return where a module of the library is, such as ``("statistics", "bounds")``."""
    return module.relative_to(LIBRARY).with_suffix("").parts


def run_pytest(module: Path) -> None:
    """Run the tests of a module's room and its examples; end with pytest's exit status."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.dup2(nowhere, sys.stderr.fileno())
    options = ["-x", "-m", "not slow and not conda", "-p", "no:cacheprovider",
               "--hypothesis-profile=mutants", "--doctest-modules",
               "-o", "doctest_optionflags=ELLIPSIS"]  # fmt: skip
    room, name, *_ = names(module)
    tests = Path("tests/unit") / room
    own = tests / f"test_{name}.py"
    status = pytest.main([*options, str(own)], plugins=[Limit()]) if own.exists() else 0
    if status == 0:
        rest = [str(tests), f"--ignore={own}", str(module)]
        status = pytest.main([*options, *rest], plugins=[Limit()])
    os._exit(status)


def passes(module: Path) -> bool:
    """Tell whether a module's tests pass, in a process of their own."""
    process = multiprocessing.get_context("fork").Process(target=run_pytest, args=(module,))
    process.start()
    process.join(SECONDS)
    if process.exitcode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode == 0


@cache
def check_tests(room: str) -> None:
    """Make sure that the tests of a room pass while nothing is broken."""
    if not passes(LIBRARY / room / "__init__.py"):
        sys.exit(f"error: tests of {room} fail before anything is broken")


def copy_project() -> None:
    """Copy what the tests need, so that a run that is killed leaves no mutant in the project."""
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        copy(ROOT / part, COPY / part)


def modules() -> list[Path]:
    """Return the modules to mutate, relative to the project."""
    named = [LIBRARY / name for name in MODULES]
    paths = [sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
             for path in named]  # fmt: skip
    return [path for group in paths for path in group]


def is_wanted(item: WorkItem, lines: list[str]) -> bool:
    """Tell whether a mutant is one to test."""
    row, column = position(item)
    before, after = lines[row - 1][:column], lines[row - 1][column:]
    if after.startswith("*,") or before.endswith(PRECAUTIONS):
        return False  # the star before keyword-only parameters is no product
    return bool(OPERATORS.fullmatch(item.mutations[0].operator_name))


def prepare(module: Path, db: WorkDB, mutated: Path) -> None:
    """List a module's mutants, unless that is done; `mutated` is the module they are of."""
    text = module.read_text("utf-8")
    if mutated.exists() and mutated.read_text("utf-8") == text:
        return
    list_mutants([module], db, {})
    lines = text.splitlines()
    unwanted = [item.job_id for item in db.work_items if not is_wanted(item, lines)]
    db.set_multiple_results(unwanted, WorkResult(WorkerOutcome.SKIPPED))
    mutated.write_text(text, "utf-8")


def position(item: WorkItem) -> tuple[int, int]:
    """Return the line and column that a mutant changes."""
    return item.mutations[0].start_pos


def test_mutant(item: WorkItem) -> WorkResult:
    """Run the tests on a mutant."""
    (mutation,) = item.mutations
    operator = get_operator(mutation.operator_name)()
    with use_mutation(mutation.module_path, operator, mutation.occurrence) as (before, after):
        survived = passes(mutation.module_path)
    lines = [text.splitlines()[position(item)[0] - 1].strip() for text in (before, after)]
    return WorkResult(
        WorkerOutcome.NORMAL,
        test_outcome=TestOutcome.SURVIVED if survived else TestOutcome.KILLED,
        diff="  ->  ".join(lines),
    )


def run(module: Path, *, again: bool, most: int | None, end: float) -> tuple[int, int, int]:
    """Test `most` more of a module's mutants; return how many are killed, survive, and wait."""
    name = ".".join(names(module))
    with use_db(STATE / f"{name}.sqlite") as db:
        prepare(module, db, STATE / f"{name}.py")
        waiting = list(db.pending_work_items)[:most]  # they come in a random order
        if again:
            waiting += [item for item, result in db.completed_work_items
                        if result.test_outcome == TestOutcome.SURVIVED]  # fmt: skip
        if waiting:
            check_tests(names(module)[0])
        for item in waiting:
            if time.monotonic() > end:
                break
            db.set_result(item.job_id, test_mutant(item))
        outcomes = [result.test_outcome for _, result in db.completed_work_items]
        counts = (
            outcomes.count(TestOutcome.KILLED),
            outcomes.count(TestOutcome.SURVIVED),
            len(db.pending_work_items),
        )
        print(f"{name}: {say(*counts)}", flush=True)
        for item, result in sorted(db.completed_work_items, key=lambda pair: position(pair[0])):
            if result.test_outcome == TestOutcome.SURVIVED:
                print(f"  line {position(item)[0]}: {result.diff}")
    return counts


def say(killed: int, survived: int, waiting: int) -> str:
    """Return the result in words."""
    left = f" ({waiting} not tested yet)" if waiting else ""
    return f"{killed} killed, {survived} survived, {killed + survived + waiting} in all{left}"


def main() -> None:
    """Test the mutants and say how many there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of modules' paths; by default all modules")
    parser.add_argument("--most", type=int, help="of each module, so many more, drawn at random")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--again", action="store_true", help="also those that survived before")
    arguments = parser.parse_args()
    copy_project()
    os.chdir(COPY)
    for package in PACKAGES:
        importlib.import_module(package)
    end = time.monotonic() + 60 * arguments.minutes
    chosen = [module for module in modules()
              if any(name in str(module) for name in arguments.names or [""])]  # fmt: skip
    counts = [run(module, again=arguments.again, most=arguments.most, end=end) for module in chosen]
    print("mutants: " + say(*map(sum, zip(*counts, strict=True))))


if __name__ == "__main__":
    main()
