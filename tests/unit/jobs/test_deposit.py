"""A result is taken from a deposit where it is the study's, and refused in one line where not."""

from __future__ import annotations

import copy
import json
import re
import shutil
import tarfile
from pathlib import Path

import pandas as pd
import pytest

import archive
from dds.files import sha256
from dds.sampling.counts import write_counts
from dds.statistics.plans import make_plan
from jobs.deposit import take
from project import open_study
from study import depends
from study.study import Study

COUNTS = "results/digits/counts/denoised.parquet"
OUTPUTS = [COUNTS, "results/digits/counts/denoised.json"]
TUNED = "models.digits_cnn_finetuned.weights.finetune"
#: The study of the deposit: digits with one experiment of a few votes, and a figure of pictures.
DIGITS = open_study("digits").to_json()
FEW = {"images": 2, "sigmas": [0.25], "n0": 2, "n": 16}
DIGITS["experiments"] = {"denoised": DIGITS["experiments"]["denoised"] | FEW}
DIGITS |= {"tables": {}, "notebooks": [], "checks": []}


def changed(**changes):
    """Return the study after changes, given as {path of a key: new value}."""
    study = copy.deepcopy(DIGITS)
    for path, value in changes.items():
        *keys, last = path.split(".")
        part = study
        for key in keys:
            part = part[key]
        part[last] = value
    return Study.from_json(study)


def votes(study, *, images=2, **metadata):
    """Write the counts of the study's experiment, and where they come from."""
    known = depends.votes(study, "denoised")
    plan = make_plan(known, 0.25)
    rows = [
        {"image": image, "label": 1, "sigma": 0.25, "classifier": classifier,
         "selection": [0, 2] + [0] * 8, "estimation": [1, 15] + [0] * 8}
        for image in range(images) for classifier in known["classifiers"]
    ]  # fmt: skip
    said = {"protocol": known["protocol"], "seed": known["seed"], "n0": plan.n0, "n": plan.n,
            "plan": plan.to_dict(), "num_classes": 10, "depends": known}  # fmt: skip
    write_counts(COUNTS, pd.DataFrame(rows), said | metadata)
    Path(OUTPUTS[1]).write_text(json.dumps({"parts": 1}))


@pytest.fixture
def deposit(tmp_path, monkeypatch):
    """A function that packs what lies in one folder, and goes on in another."""
    (here := tmp_path / "there").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(archive, "ROOT", here)
    Path("config").mkdir()
    Path("config/models.yaml").write_text("{}")

    def pack(files=OUTPUTS):
        path = tmp_path / "deposit.tar.gz"
        archive.pack(changed(), map(Path, files), path)
        (here := tmp_path / "here").mkdir()
        monkeypatch.chdir(here)
        return path

    return pack


def take_counts(path, study=None):
    take(path, "counts/denoised", depends.taken(study or changed(), "counts/denoised"), OUTPUTS)


def refusal(path, study=None):
    """Return why a deposit is refused, after making sure that this is one line about the file."""
    with pytest.raises(ValueError, match=path.name) as caught:
        take_counts(path, study)
    assert not Path("results").exists()
    line = str(caught.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    return line.removeprefix(str(path))


def test_counts_are_taken_as_they_are_packed_or_not(deposit, tmp_path):
    votes(changed())
    there = sha256(COUNTS)
    path = deposit()
    take_counts(path)
    assert sha256(COUNTS) == there
    assert json.loads(Path(OUTPUTS[1]).read_text()) == {"parts": 1}
    with tarfile.open(path) as tar:
        tar.extractall(tmp_path, filter="data")
        assert min(member.mtime for member in tar) > 315_600_000  # reports of it are zip archives
    shutil.rmtree("results")
    take_counts(tmp_path / "digits")
    assert sha256(COUNTS) == there


@pytest.mark.parametrize(
    "harmless",
    [
        {"title": "Another", "name": "other", "figures": {}},
        {"experiments.denoised.alpha": 0.05},
        {"experiments.denoised.images_per_shard": 1},
        {"models.digits_cnn.licence": "MIT"},
    ],
    ids=str,
)
def test_what_votes_do_not_depend_on_may_differ(deposit, harmless):
    votes(changed())
    take_counts(deposit(), changed(**harmless))
    assert Path(COUNTS).is_file()


@pytest.mark.parametrize(
    ("difference", "named"),
    [
        ({"experiments.denoised.n": 20}, "votes.n: 16, not 20"),
        ({"experiments.denoised.images": 1}, "images: 2, not 1"),
        ({"experiments.denoised.sigmas": [0.25, 0.5]}, "sigmas: [0.25], not [0.25, 0.5]"),
        ({"experiments.denoised.split": "train"}, "votes.split: test, not train"),
        ({"seed": 7}, "datasets.digits.seed: 2023, not 7"),
        ({"datasets.digits.splits.validation": 100}, "splits.validation: 200, not 100"),
        ({"models.digits_cnn.input.mean": [0.5]}, "models.digits_cnn.description.input.mean"),
        ({f"{TUNED}.iterations": 9}, "weights.digits_cnn_finetuned.recipe.iterations"),
        ({"models.digits_cnn.weights": {"download": {"url": "https://a.example/b.pt"}}},
         "weights.digits_cnn."),
    ],
    ids=str,
)  # fmt: skip
def test_other_votes_images_and_models_are_refused(deposit, difference, named):
    votes(changed())
    line = refusal(deposit(), changed(**difference))
    assert line.startswith(": counts/denoised was made with another ")
    assert named in line


@pytest.mark.parametrize("result", ["models/digits_cnn.accuracy", "figures/figure_pictures"])
def test_accuracies_and_pictures_of_another_split_are_refused(deposit, result):
    file = Path(f"results/digits/{result}.json")
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    path, study = deposit([file]), changed(**{"experiments.denoised.split": "validation"})
    with pytest.raises(ValueError, match=rf"{result} was made with another split: \['test'\], not"):
        take(path, result, depends.taken(study, result), [str(file)])
    take(path, result, depends.taken(changed(), result), [str(file)])
    assert file.read_text() == "{}"


def test_another_protocol_is_refused_by_what_the_counts_say(deposit, monkeypatch):
    votes(changed())
    path = deposit()
    monkeypatch.setattr(depends, "PROTOCOL", depends.PROTOCOL + 1)
    line = refusal(path)
    assert line == (
        f": results/digits/counts/denoised.parquet was counted with another protocol: "
        f"{depends.PROTOCOL - 1}, not {depends.PROTOCOL}"
    )


def test_counts_that_are_not_of_all_images_are_refused(deposit):
    votes(changed(), images=1)
    assert refusal(deposit()).endswith(
        "counts/denoised.parquet holds other images than its study says"
    )


def test_votes_that_do_not_add_up_are_refused(deposit):
    votes(changed(), n0=3)
    assert "selection samples, the plan 3" in refusal(deposit())


def test_an_experiment_or_a_file_that_a_deposit_lacks_is_named(deposit):
    votes(changed())
    path = deposit(files=OUTPUTS[:1])
    assert refusal(path) == " holds no results/digits/counts/denoised.json"
    study = changed(experiments={"mine": DIGITS["experiments"]["denoised"]}, figures={})
    with pytest.raises(
        ValueError,
        match="its study digits has no experiment mine; allowed: denoised. A study that is `like` "
        "yours, with `experiments: {mine: null}`, goes without it$",
    ):
        take(path, "counts/mine", depends.taken(study, "counts/mine"), OUTPUTS)


def test_what_is_damaged_is_refused(deposit, tmp_path):
    votes(changed())
    path = deposit()
    with tarfile.open(path) as tar:
        tar.extractall(tmp_path, filter="data")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert refusal(path).startswith(" is damaged: ")
    path.write_bytes(b"no archive")
    assert refusal(path) == " is neither a folder nor a zip or tar archive"
    folder = tmp_path / "digits"
    with (folder / OUTPUTS[1]).open("a") as file:
        file.write(" ")
    assert refusal(folder) == f" is damaged: {OUTPUTS[1]} is not what SHA256SUMS says"
    (folder / "study.json").write_text("{}")
    assert refusal(folder) == " is damaged: study.json is not what SHA256SUMS says"
    (folder / "SHA256SUMS").unlink()
    assert refusal(folder) == " is no deposit: it holds 0 files SHA256SUMS"


def test_an_attack_is_taken_if_it_is_the_one_and_refused_if_not(deposit):
    files = [f"results/digits/attacks/denoised{suffix}" for suffix in (".parquet", ".json")]
    Path(files[0]).parent.mkdir(parents=True)
    for file in files:
        Path(file).write_text("fallen")
    path = deposit(files)

    def take_attack(study):
        take(path, "attacks/denoised", depends.taken(study, "attacks/denoised"), files)

    for key, line in (("steps", "expected.attack.steps: 10, not 2"), ("images", "images: 20, not")):
        with pytest.raises(ValueError, match=line):
            take_attack(changed(**{f"attacks.denoised.{key}": 2}))
    assert not Path("results").exists()
    take_attack(changed())
    assert Path(files[0]).read_text() == "fallen"


def test_a_study_of_another_version_is_one_line(deposit, monkeypatch):
    votes(changed())
    monkeypatch.setattr(Study, "to_json", lambda self: {"shape": "of the future"})
    assert re.match(r": study.json cannot be used: .*seed", refusal(deposit()))
