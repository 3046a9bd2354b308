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


@pytest.fixture
def own(tmp_path):
    """A program of the user's own, with what lies beside it."""
    files = {
        "main.py": "import torch\nfrom helper import GAIN\nimport nets.unet\n",
        "helper.py": "import more\nfrom dds.files import sha256\n",
        "more.py": "",
        "unused.py": "",
        "nets/__init__.py": "",
        "nets/unet.py": "from . import blocks\nfrom ..nets.layers import f\nimport more_still\n",
        "nets/blocks.py": "",
        "nets/layers.py": "",
        "nets/unused.py": "",
        "more_still.py": "import main\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_lies_beside_a_program_of_ones_own_and_is_imported_is_part_of_it(own):
    files = closure(own / "main.py")
    beside = {str(file.relative_to(own)) for file in files if file.is_relative_to(own)}
    assert beside == {
        "main.py", "helper.py", "more.py", "nets/__init__.py", "nets/unet.py", "nets/blocks.py",
        "nets/layers.py", "more_still.py",
    }  # fmt: skip
    assert SCRIPTS / "dds/files.py" in files


def test_a_change_beside_a_program_counts_unless_it_says_nothing(own):
    def said():
        for cached in (code_of, code._parse, code._meaning, code.imported):
            cached.cache_clear()
        return code_of(own / "main.py")

    first = said()
    for name in ("unused.py", "nets/unused.py"):
        (own / name).write_text("GAIN = 1\n")
    (own / "nets/layers.py").write_text("# a comment\n")
    assert said() == first
    (own / "nets/layers.py").write_text("GAIN = 1\n")
    assert said() != first


def test_modules_of_this_project_go_before_those_beside(said, tmp_path):
    program = "from dds.files import sha256\n"
    first = said(program)
    (tmp_path / "dds").mkdir()
    (tmp_path / "dds/__init__.py").write_text("")
    (tmp_path / "dds/files.py").write_text("sha256 = None\n")
    assert said(program) == first


def test_a_module_can_be_named():
    assert SCRIPTS / "paper/tables/per_sigma.py" in closure("paper.tables.per_sigma")


def test_a_notebook_is_a_program():
    notebook = Path(__file__).parents[3] / "notebooks" / "tables.ipynb"
    assert SCRIPTS / "paper/sheets.py" in closure(notebook)


def test_other_packages_are_no_part_of_it():
    assert all(file.is_relative_to(SCRIPTS) for file in closure(SCRIPTS / "certify_shard.py"))
