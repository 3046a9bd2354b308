"""What docs/reruns.md says runs again after an edit of a finished study is what Snakemake plans."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable

import pytest
import yaml
from projects import ROOT, Project

from bench_scale import MAKE_OUTPUTS
from dds.files import sha256

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "reruns.md").read_text("utf-8")

NETWORK = '''
"""A network of the user's own."""

import sys
from pathlib import Path

from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from mine_parts import GAIN


def build(*, classes, channels, config):
    """Return it."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, classes))
'''


class Finished(Project):
    """A project whose study has everything that the page speaks of, and is done.

    Its results are empty files, beside Snakemake's records of how they were made, and ours.
    """

    def __init__(self, folder) -> None:
        super().__init__(folder)
        (folder / "mine.py").write_text(NETWORK)
        (folder / "mine_parts.py").write_text("GAIN = 1\n")
        (folder / "mine.json").write_text("{}")
        self.write_weights("some")
        self.link_log(folder / "logs" / "any name")
        self.write_images(1)
        self.study["datasets"]["own"] = {
            "source": "image_folder", "files": {"images": {"file": "images.zip"}},
            "splits": {"test": 10}, "channels": 1,
        }  # fmt: skip
        mine = {"like": "digits_cnn", "network": "mine.py:build"}
        mine |= {"arguments": {"config": "mine.json"}}
        self.study["models"] = {
            "mine": mine | {"weights": {"file": "mine.pt"}},
            "fetched": {"like": "digits_cnn",
                        "weights": {"download": {"url": "https://models.example/fetched.pt"}}},
        }  # fmt: skip
        plain = self.study["experiments"]["undefended"] | {"images": 10, "images_per_shard": 10}
        self.study["experiments"] |= {
            "mine": plain | {"dataset": "own", "classifiers": ["mine"]},
            "fetched": plain | {"classifiers": ["fetched"]},
        }
        panels = [("mine", "mine"), ("fetched", "fetched"), ("plan_sequential", "digits_cnn"),
                  ("denoised", "digits_cnn")]  # fmt: skip
        self.study["figures"]["figure_all"] = {
            "kind": "accuracy_against_sigma", "caption": "All of them.", "radii": [0.25],
            "panels": [{"title": e, "experiment": e, "classifier": c} for e, c in panels],
        }  # fmt: skip
        self.study["tables"]["table_1"]["rows"] += [
            {"label": "RS", "off_the_shelf": "none", "published": {"table": "3", "row": "RS [5]"}},
            {"label": "Mine", "off_the_shelf": "full", "experiment": "mine", "classifier": "mine"},
            {"label": "Fetched", "off_the_shelf": "full", "experiment": "fetched",
             "classifier": "fetched"},
        ]  # fmt: skip
        self.write_study()
        command = [sys.executable, "-c", MAKE_OUTPUTS, "all", "--touch", "--quiet", "all"]
        subprocess.run([*command, "--cores", "1", "--config", "study=small.yaml"],
                       cwd=folder, check=True, capture_output=True)  # fmt: skip

    def link_log(self, log) -> None:
        """Write a log, and link it to a published cell."""
        log.parent.mkdir()
        log.write_text("idx\tlabel\tpredict\tradius\tcorrect\ttime\n0\t1\t1\t0.6\t1\t0\n")
        links = self.folder / "config/literature/logs.csv"
        last = links.read_text().splitlines()[-1].split(",")
        with links.open("a") as file:
            cell = ["3", "Lee [15]", "no", "0.25", *last[4:8], str(log.stat().st_size)]
            file.write(",".join([*cell, sha256(log), "1", "100.0", "100.0"]) + "\n")

    def write_images(self, shade: int) -> None:
        """Write the user's archive of images."""
        with zipfile.ZipFile(self.folder / "images.zip", "w") as archive:
            archive.writestr("0/a.png", bytes([shade]))
        self.make_old("images.zip")

    def write_weights(self, content: str) -> None:
        """Write the user's file of weights."""
        (self.folder / "mine.pt").write_text(content)
        self.make_old("mine.pt")

    def name_other_weights(self) -> None:
        """Name another file of the user's, which is older than all results."""
        (self.folder / "other.pt").write_text("others")
        self.make_old("other.pt")
        self.change(models={"mine": {"weights": {"file": "other.pt"}}})

    def make_old(self, path: str) -> None:
        """Date a file back: what has replaced another one may be older than all results."""
        os.utime(self.folder / path, (0, 0))

    def append(self, path: str, text: str) -> None:
        """Add text at the end of a file."""
        with (self.folder / path).open("a") as file:
            file.write(text)

    def registry(self, **entries) -> None:
        """Change entries of config/models.yaml."""
        self.change_yaml("config/models.yaml", entries)

    def change_yaml(self, path: str, changes: dict) -> None:
        """Change keys of a YAML file, nested ones by nested mappings."""
        content = yaml.safe_load((self.folder / path).read_text())
        merge(content, changes)
        (self.folder / path).write_text(yaml.safe_dump(content, sort_keys=False))

    def change(self, **changes) -> None:
        """Change keys of the study file."""
        self.change_yaml("small.yaml", changes)


def merge(content: dict, changes: dict) -> None:
    """Change keys of a mapping, nested ones by nested mappings."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict):
            merge(content[key], value)
        else:
            content[key] = value


def speak(project: Finished) -> None:
    """Comment and document without changing what is done."""
    for path in ("workflow/scripts/certify_shard.py", "workflow/rules/certify.smk",
                 "workflow/scripts/dds/statistics/bounds.py", "mine.py",
                 "workflow/scripts/dds/networks/training.py"):  # fmt: skip
        project.append(path, "\n# A remark.\n")
    path = project.folder / "workflow/scripts/paper/sheets.py"
    path.write_text(path.read_text().replace('"""', '"""As ever: ', 1))


def raise_protocol(project: Finished) -> None:
    """Raise the number of the protocol."""
    path = project.folder / "workflow/scripts/dds/protocol.py"
    path.write_text(re.sub(r"(?m)^PROTOCOL = (\d+)$", r"PROTOCOL = 1\1", path.read_text()))


def experiments(*names: str, **changes) -> Callable[[Finished], None]:
    """Return an edit of experiments."""
    return lambda project: project.change(experiments=dict.fromkeys(names, changes))


EDITS: dict[str, Callable[[Finished], None]] = {
    "a comment or a docstring": speak,
    "`licence`, `citation` or `source`": lambda p: p.registry(
        digits_unet={"licence": "MIT", "citation": "Somebody (2026)", "source": "https://a.b/c"}
    ),
    "`sha256`, `bytes` or `mirrors`": lambda p: p.change(models={"fetched": {"weights": {
        "download": {"sha256": "0" * 64, "bytes": 9, "mirrors": ["https://b.example/f.pt"]}}}}),
    "`url_overrides`, `device`": lambda p: p.change_yaml("config/config.yaml", {
        "url_overrides": {"https://models.example/": "https://hub.example/"}, "device": "cpu",
        "checkpoint_seconds": 5, "container": "docker://hub.example/dds:1"}),
    "`batch_size`": experiments("fetched", batch_size=50),
    "a bound": lambda p: p.append("workflow/scripts/dds/statistics/bounds.py", "\nMENDED = 1\n"),
    "the layout of tables": lambda p: p.append("workflow/scripts/paper/sheets.py", "\nWIDE = 1\n"),
    "the paper's template": lambda p: p.append("workflow/report/paper.typ", "\n// wider\n"),
    "`published_logs`": lambda p: p.change_yaml("config/config.yaml", {"published_logs": "logs"}),
    "the `caption`": lambda p: p.change(tables={"table_4": {"caption": "Something else."}}),
    "a table is deleted": lambda p: (p.results / "tables/table_4.csv").unlink(),
    "`alpha` of an experiment with the fixed plan": experiments("denoised", alpha=0.01),
    "`alpha` of one with another plan": experiments(
        "plan_fixed", "plan_curtailed", "plan_sequential", alpha=0.01
    ),
    "`n` of an experiment": experiments("fetched", n=300),
    "`images_per_shard`": experiments("denoised", images_per_shard=7),
    "the `learning_rate`": lambda p: p.registry(
        digits_cnn={"weights": {"train": {"learning_rate": 0.5}}}
    ),
    "the `mean`": lambda p: p.change(models={"mine": {
        "input": {"channels": 1, "size": 8, "mean": [0.5], "std": [0.5]}}}),
    "what a network's FILE.py": lambda p: p.append("mine.py", "\nWIDTH = 8\n"),
    "what a module does": lambda p: p.append("mine_parts.py", "GAIN = 2\n"),
    "a file that the `arguments`": lambda p: p.append("mine.json", "\n"),
    "another archive of images": lambda p: p.write_images(2),
    "other weights": lambda p: p.write_weights("more"),
    "the `file` of": lambda p: p.name_other_weights(),
    "the `split`": lambda p: experiments(
        *(name for name in p.study["experiments"] if name != "mine"), split="validation")(p),
    "`steps` of an attack": lambda p: p.change(attacks={"denoised": {"steps": 11}}),
    "`url` of a download": lambda p: p.change(models={"fetched": {"weights": {
        "download": {"url": "https://models.example/revision-2/fetched.pt"}}}}),
    "`PROTOCOL`": raise_protocol,
}  # fmt: skip


def rows() -> dict[str, str]:
    """Return the table of the page: what is edited, and what runs again."""
    return dict(re.findall(r"(?m)^\| (?!edit |-)(.+?) \| (.+?) \|$", PAGE))


def promised(text: str) -> set[str]:
    """Return the rules that the page says run again."""
    found = set(re.findall(r"`(\w+)`", text))
    for word, rules in re.findall(r"(?m)^- \*\*(\w+)\*\*: (.+)$", PAGE):
        if re.search(rf"\b{word}\b", text):
            found |= promised(rules)
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return Finished(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def edited(finished):
    """The finished study, and afterwards all of its files as they were."""
    kept = {
        path: (path.read_bytes(), path.stat())
        for path in finished.folder.rglob("*")
        if path.is_file() and ".snakemake" not in path.parts
    }
    yield finished
    for path, (content, stat) in kept.items():
        times = path.stat().st_mtime_ns if path.exists() else None
        if times != stat.st_mtime_ns or path.read_bytes() != content:
            path.write_bytes(content)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_nothing_runs_after_no_edit(finished):
    assert finished.planned_rules("all") == []


def test_the_page_and_this_test_speak_of_the_same_edits():
    for edit in rows():
        assert sum(edit.startswith(beginning) for beginning in EDITS) == 1, edit
    assert len(rows()) == len(EDITS) >= 14


@pytest.mark.parametrize("edit", EDITS)
def test_what_the_page_says_is_what_runs(edited, edit):
    ((_, text),) = [row for row in rows().items() if row[0].startswith(edit)]
    EDITS[edit](edited)
    artefacts = {*edited.study["tables"], *edited.study["figures"], "all"}
    assert set(edited.planned_rules("all")) - artefacts == promised(text)


@pytest.mark.parametrize(
    "edit",
    ["`n` of an experiment", "the `caption`", "other weights", "the `file` of", "the `split`"],
)
def test_it_runs_whatever_snakemake_remembers(edited, edit):
    """As after `make clean`, or in a copy without the folder .snakemake."""
    ((_, text),) = [row for row in rows().items() if row[0].startswith(edit)]
    memory = edited.folder / ".snakemake"
    kept = memory.rename(edited.folder / "kept")
    try:
        EDITS[edit](edited)
        artefacts = {*edited.study["tables"], *edited.study["figures"], "all"}
        assert set(edited.planned_rules("all")) - artefacts == promised(text)
    finally:
        shutil.rmtree(memory)
        kept.rename(memory)
