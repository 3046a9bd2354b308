"""What code says is told from how it is written, through all that it imports."""

from pathlib import Path

import pytest

from study import code
from study.code import closure, code_of

SCRIPTS = code.SCRIPTS


@pytest.fixture
def said(tmp_path):
    """A function that returns the hash of a text as a program of its own."""

    def said(text):
        said.count += 1
        file = tmp_path / f"program_{said.count}.py"
        file.write_text(text)
        return code_of(file)

    said.count = 0
    return said


PROGRAM = """
def bound(successes, n):
    return successes / n
"""


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\n" + PROGRAM,
        '"""A docstring."""\n' + PROGRAM,
        PROGRAM.replace("    return", '    """Return a bound."""\n    return'),
        PROGRAM.replace("successes / n", "(successes\n            / n)"),
        PROGRAM + "\n\n\n",
    ],
)
def test_comments_docstrings_and_layout_say_nothing(said, text):
    assert said(text) == said(PROGRAM)


@pytest.mark.parametrize(
    "text",
    [
        PROGRAM.replace("/", "//"),
        PROGRAM.replace("n):", "n, alpha=0.1):"),
        PROGRAM.replace("successes / n", "n / successes"),
        PROGRAM + "\nbound(1, 2)\n",
        PROGRAM.replace("return successes / n", "return 'successes / n'"),
    ],
)
def test_any_other_change_says_something_else(said, text):
    assert said(text) != said(PROGRAM)


def test_what_a_script_imports_is_part_of_it():
    files = closure(SCRIPTS / "compute_certificates.py")
    assert SCRIPTS / "dds/statistics/bounds.py" in files
    assert SCRIPTS / "dds/files.py" in files
    assert SCRIPTS / "paper/sheets.py" not in files


def test_a_module_can_be_named():
    assert SCRIPTS / "paper/tables/per_sigma.py" in closure("paper.tables.per_sigma")


def test_a_notebook_is_a_program():
    notebook = Path(__file__).parents[3] / "notebooks" / "tables.ipynb"
    assert SCRIPTS / "paper/sheets.py" in closure(notebook)


def test_other_packages_are_no_part_of_it():
    assert all(file.is_relative_to(SCRIPTS) for file in closure(SCRIPTS / "certify_shard.py"))
