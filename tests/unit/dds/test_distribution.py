"""The library works as others install it: from a wheel, beside packages of their own."""

import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import torch
import yaml

import dds
from distribution import copy_parts, misfits

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
#: The packages of this environment, but nothing that a .pth file adds to them.
OTHERS = sysconfig.get_path("purelib")

USE = """
from importlib.metadata import metadata, requires
from pathlib import Path
import dds, numpy, torch
assert Path(dds.__file__).is_relative_to(Path.cwd()), dds.__file__
assert dds.__version__ == metadata("diffusion-denoised-smoothing")["Version"]
assert all(callable(getattr(dds, name)) for name in dds.__all__ if name != "ABSTAIN")
certificate = dds.certify(torch.tensor([[[0.2, 0.9]]]), torch.nn.Flatten(), None, 0.5, n=1000)
assert certificate.prediction == 1 and 0.3 < certificate.radius < 0.5
entry = {"network": "wide_resnet", "arguments": {"depth": 10, "width": 1}, "classes": ["a", "b"],
         "input": {"channels": 1, "size": 8}}
dds.save_weights(dds.build_classifier(entry), "weights.pt")
settings = {"plan": "sequential", "n0": 10, "n": 1000, "radii": [0.25], "alpha": 0.001}
assert dds.make_plan(settings, sigma=0.5).n == 1000
print(*requires("diffusion-denoised-smoothing"), sep="\\n")
"""

NO_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, *where):
        if name == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NoTorch())
from dds.commands import main
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return a folder that holds the wheel, unpacked by pip, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    copy_parts(folder / "project")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    alone = ["--no-deps", "--no-index"]
    subprocess.run(
        [*pip, "wheel", *alone, "--no-build-isolation", "--wheel-dir", folder, folder / "project"],
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    assert misfits(wheel) == []
    subprocess.run([*pip, "install", *alone, "--target", folder / "installed", wheel], check=True)
    return folder / "installed"


def run(installed, *arguments):
    """Run Python where the library is installed, and the project cannot be seen."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=installed, env={"PYTHONPATH": f"{installed}:{OTHERS}"},
        capture_output=True, text=True,
    )  # fmt: skip


def test_the_library_is_used_from_a_wheel(installed):
    answer = run(installed, "-c", USE)
    assert answer.returncode == 0, answer.stderr
    needed = answer.stdout.splitlines()
    assert {re.split(r"\W", line)[0] for line in needed if "extra ==" not in line} == {
        "click", "numpy", "pandas", "pyarrow", "pydantic", "scipy", "tqdm",
    }  # fmt: skip
    assert not [line for line in needed if "==" in line.split(";")[0]]  # ranges, no exact versions


def test_the_command_line_is_there(installed):
    answer = run(installed, "-m", "dds", "--version")
    assert (answer.returncode, answer.stdout) == (0, f"dds {dds.__version__}\n")
    answer = run(installed, "bin/dds", "plan", "--sigma", "0.25")
    assert "Largest radius: 0.799" in answer.stdout, answer.stderr


def test_a_wheel_tells_type_checkers_that_it_is_typed(installed):
    assert (installed / "dds" / "py.typed").is_file()
    assert (installed / "dds" / "__init__.pyi").is_file()


def test_the_version_stands_in_one_place_and_the_citation_keeps_step():
    assert PROJECT["project"]["dynamic"] == ["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == dds.__version__


def test_the_types_of_all_public_names_are_checked():
    checked = {Path(file) for file in PROJECT["tool"]["mypy"]["files"]}
    homes = re.findall(r"^from (\S+) import", Path(dds.__file__ + "i").read_text("utf-8"), re.M)
    assert len(homes) > 20
    for home in set(homes):
        path = Path("workflow/scripts", *home.split("."))
        assert checked & {path.with_suffix(".py"), path / "__init__.py"}, home


def test_a_package_that_is_not_installed_is_named_with_the_command(installed):
    hide = (
        "import sys; sys.modules['torch'] = None; import dds; print(dds.certified_radius(0.9, 1))"
    )
    answer = run(installed, "-c", f"{hide}; dds.certify")
    assert answer.stdout.startswith("1.28")
    assert answer.stderr.splitlines()[-1] == (
        'ModuleNotFoundError: torch is needed: pip install "diffusion-denoised-smoothing[torch]"'
    )


def test_results_are_read_where_there_is_no_torch(installed, tmp_path):
    votes = tmp_path / "votes.parquet"
    image = torch.tensor([[[[0.2, 0.9]]]])
    dds.certify(image, torch.nn.Flatten(), None, 0.5, labels=[1], n=1000).save(votes)
    commands = ["accuracy", f"{votes}"], ["export-log", f"{votes}", f"{tmp_path / 'logs'}"]
    for command in commands:
        answer = run(installed, "-c", f"{NO_TORCH}sys.exit(main({command}))")
        assert (answer.returncode, answer.stderr) == (0, "")
    command = ["certify", ".", "--classifier", "timm:resnet18", "--sigma", "1"]
    answer = run(installed, "-c", f"{NO_TORCH}sys.exit(main({command}))")
    cure = 'error: torch is needed: pip install "diffusion-denoised-smoothing[torch]"\n'
    assert (answer.returncode, answer.stderr) == (2, cure)


def test_the_lock_lies_within_the_ranges():
    from packaging.requirements import Requirement

    lock = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "envs/requirements.lock").read_text(), re.M)
    )
    project = PROJECT["project"]
    asked = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    ranges = [Requirement(line) for line in asked if project["name"] not in line]
    assert len(ranges) >= 10
    for wanted in ranges:
        assert lock[wanted.name] in wanted.specifier
