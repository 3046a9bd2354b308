"""Schemas and reference are what the types say, and the types what the library knows."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
import yaml

from dds.networks.schedules import SCHEDULES, TIMESTEP_RULES
from dds.networks.training import Recipe as LibraryRecipe
from dds.sampling.kernels import PRECISIONS
from dds.sampling.smoothing import NOISES
from study.config import Config
from study.errors import names_of
from study.experiments import Experiment
from study.load import load_config
from study.models import Denoiser, Finetune, Recipe, Train
from study.reference import SECTIONS, files, fill, outdated, schemas, write

ROOT = Path(__file__).parents[3]
SCHEMAS = schemas()
SHIPPED = {
    "config": [ROOT / "config/config.yaml"],
    "models": [ROOT / "config/models.yaml"],
    "study": sorted((ROOT / "config/studies").glob("*.yaml")),
}


def read(path):
    return yaml.safe_load(path.read_text())


def test_the_files_are_what_the_types_say():
    stale = [str(path.relative_to(ROOT)) for path in outdated(files(ROOT))]
    assert not stale, "run tools/reference.py"


@pytest.mark.parametrize(
    ("file", "said", "otherwise"),
    [
        ("config/README.md", "Seconds between two checkpoints", "Minutes between"),
        ("workflow/schemas/config.schema.yaml", "exclusiveMinimum", "minimum"),
    ],
)
def test_a_file_that_says_something_else_is_found_and_mended(tmp_path, file, said, otherwise):
    for folder in ("config", "workflow/schemas"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    path = tmp_path / file
    path.write_text(path.read_text().replace(said, otherwise))
    assert outdated(files(tmp_path)) == [path]
    write(files(tmp_path))
    assert outdated(files(tmp_path)) == []
    assert path.read_text() == (ROOT / file).read_text()


def test_the_command_tells_whether_files_are_as_the_code_says():
    command = [sys.executable, str(ROOT / "tools/reference.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "reference: as the code says\n"


def test_the_reference_has_every_table_once():
    text = (ROOT / "config/README.md").read_text()
    assert sorted(re.findall(r"<!-- keys: (\w+) -->", text)) == sorted([*SECTIONS, "arguments"])
    assert fill("<!-- keys: check -->\n<!-- end -->\nbelow").endswith("<!-- end -->\nbelow")


def test_each_row_gives_meaning_range_default_and_section():
    rows = fill("<!-- keys: experiment -->\n<!-- end -->").splitlines()
    (alpha,) = [row for row in rows if row.startswith("| `alpha` ")]
    assert alpha == (
        "| `alpha` | Error probability of a certificate, over all looks of a sequential plan. "
        "| between 0 and 1, both excluded | required | 4 |"
    )
    (batch,) = [row for row in rows if row.startswith("| `batch_size` ")]
    assert batch.endswith("| whole number, 1 to 100,000, or `auto` | `100` | |")
    assert any(row.startswith("| `plan` ") and "`curtailed`, `fixed`" in row for row in rows)
    assert "With `plan: fixed`. " in "\n".join(rows)


def test_every_key_is_described():
    nameless = [
        name
        for schema in SCHEMAS.values()
        for part in [schema, *schema.get("$defs", {}).values()]
        if part.get("additionalProperties") is False
        for name, inner in part["properties"].items()
        if not inner.get("description")
    ]
    assert nameless == []


@pytest.mark.parametrize(
    ("name", "path"), [(name, path) for name, paths in SHIPPED.items() for path in paths]
)
def test_editors_accept_what_ships(name, path):
    jsonschema.validate(read(path), SCHEMAS[name])


@pytest.mark.parametrize(
    ("name", "keys", "value"),
    [
        ("config", ["device"], "gpu"),
        ("study", ["sead"], 1),
        ("study", ["datasets", "digits", "source"], "mnist"),
        ("study", ["datasets", "digits", "crop"], 8),
        ("study", ["experiments", "denoised", "look"], [1000]),
        ("study", ["experiments", "denoised", "n"], "many"),
        ("study", ["experiments", "denoised", "plan"], "sequential"),  # which needs radii
        ("study", ["tables", "table_1", "rows", 0, "labl"], "x"),
        ("study", ["figures", "figure_2", "kind"], "curves"),
        ("models", ["digits_cnn", "network"], "resnet"),
        ("models", ["digits_cnn", "arguments", "dept"], 10),
        ("models", ["digits_cnn", "weights", "train", "ema"], 1),
        ("models", ["digits_unet", "schedule", "steps"], 1),
    ],
)
def test_editors_refuse_what_is_wrong(name, keys, value):
    paths = {path.stem: path for path in SHIPPED["study"]}
    content = read({"study": paths["digits"]}.get(name, SHIPPED[name][0]))
    *parents, last = keys
    inner = content
    for key in parents:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, SCHEMAS[name])


def test_the_configuration_that_ships_holds_every_key_at_its_default():
    assert load_config(read(ROOT / "config/config.yaml")) == Config()
    assert set(read(ROOT / "config/config.yaml")) == set(Config.model_fields)


@pytest.mark.parametrize(
    ("keys", "name", "known"),
    [
        (Experiment, "timestep", TIMESTEP_RULES),
        (Finetune, "timestep", TIMESTEP_RULES),
        (Experiment, "noise", NOISES),
        (Experiment, "precision", [*PRECISIONS, "auto"]),
        (Recipe, "precision", PRECISIONS),
        (Denoiser.model_fields["schedule"].annotation, "name", SCHEDULES),
    ],
)
def test_the_types_allow_what_the_library_knows(keys, name, known):
    assert sorted(get_args(keys.model_fields[name].annotation)) == sorted(known)


def test_recipes_have_the_keys_and_defaults_of_the_library():
    library = {
        field.name: ... if field.default is MISSING else field.default
        for field in fields(LibraryRecipe)
    }
    ours = {
        name: ... if field.is_required() else field.default
        for name, field in names_of(Train).items()
    }
    of_the_study = {"dataset": ..., "noise": "none", "drop_path": 0.0}
    assert ours == library | of_the_study
