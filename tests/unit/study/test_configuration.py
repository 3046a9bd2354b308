"""The configuration's files, schemas, description and library stay in step."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import yaml
from study.schema import Place, conform

from dds.data.sources import SOURCES
from dds.networks.registry import CLASSIFIERS, DENOISERS
from dds.networks.schedules import SCHEDULES, TIMESTEP_RULES
from dds.networks.training import Recipe
from dds.sampling.kernels import PRECISIONS
from dds.sampling.smoothing import NOISES
from dds.statistics.plans.sequential import Sequential
from paper.costs import GPUS
from study.load import load_schema

ROOT = Path(__file__).parents[3]
CHAPTERS = {"config": "config.yaml", "study": "studies/NAME.yaml", "models": "models.yaml"}
SCHEMAS = {name: load_schema(name) for name in CHAPTERS}


def keys_of(schema, root, path=""):
    """Yield (path, schema, whether required) for every key that a schema describes."""
    if "$ref" in schema:
        yield from keys_of(root["$defs"][schema["$ref"].split("/")[-1]], root, path)
    branches = [schema[key] for key in ("then", "else") if key in schema]
    for part in [*schema.get("allOf", ()), *branches]:
        yield from keys_of(part, root, path)
    for key, inner in schema.get("properties", {}).items():
        inside = f"{path}.{key}" if path else key
        yield inside, inner, key in schema.get("required", ())
        yield from keys_of(inner, root, inside)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from keys_of(schema["additionalProperties"], root, f"{path}.NAME".lstrip("."))
    if "items" in schema:
        yield from keys_of(schema["items"], root, f"{path}[]")


def rows_of(chapter):
    """Return the cells of the rows of a chapter of config/README.md, by the key's path."""
    text = (ROOT / "config/README.md").read_text()
    body = re.search(rf"^## {re.escape(chapter)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)[1]
    rows, prefix = {}, ""
    for line in body.splitlines():
        if heading := re.match(r"### `(.+)`", line):
            prefix = f"{heading[1]}."
        elif row := re.match(r"\| `([^`]+)` \| (.+) \|(.*)\|$", line):
            path = prefix + row[1]
            assert path not in rows, f"{path} is described twice"
            rows[path] = [cell.strip() for cell in row[2].split(" | ")]
    return rows


@pytest.mark.parametrize("name", CHAPTERS)
def test_readme_describes_the_keys_of_the_schema_and_no_others(name):
    described = set(rows_of(CHAPTERS[name]))
    assert described == {path for path, _, _ in keys_of(SCHEMAS[name], SCHEMAS[name])}


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_key_has_a_description_in_the_schema(name):
    keys = list(keys_of(SCHEMAS[name], SCHEMAS[name]))
    described = {path for path, schema, _ in keys if "description" in schema}
    assert {path for path, _, _ in keys} == described


@pytest.mark.parametrize("name", CHAPTERS)
def test_readme_gives_each_default_and_each_choice(name):
    rows = rows_of(CHAPTERS[name])
    keys = list(keys_of(SCHEMAS[name], SCHEMAS[name]))
    with_default = {path for path, schema, _ in keys if "default" in schema}
    for path, schema, required in keys:
        _, allowed, default = rows[path]
        if "default" in schema:
            written = yaml.safe_load(default.strip("`"))
            assert written == schema["default"], path
        elif required and path not in with_default:
            assert default.startswith("required"), path
        for choice in schema.get("enum", ()):
            assert f"`{choice}`" in allowed, path
    needed = {path for path, _, required in keys if required}
    assert {path for path, cells in rows.items() if cells[2].startswith("required")} <= needed


def test_the_configuration_that_ships_holds_every_key_at_its_default():
    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    assert shipped == conform({}, SCHEMAS["config"], Place("config"))


def choices(name, path):
    """Return what a schema lets a key be, over all forms that its entry may have."""
    found = [
        option["enum"]
        for key, schema, _ in keys_of(SCHEMAS[name], SCHEMAS[name])
        if key == path
        for option in [schema, *schema.get("anyOf", ())]
        if "enum" in option
    ]
    return sorted({choice for enum in found for choice in enum})


@pytest.mark.parametrize(
    ("name", "path", "known"),
    [
        ("study", "datasets.NAME.source", SOURCES.names),
        ("study", "experiments.NAME.timestep", TIMESTEP_RULES),
        ("study", "experiments.NAME.noise", NOISES),
        ("study", "tables.NAME.gpu", GPUS),
        ("study", "experiments.NAME.precision", [*PRECISIONS, "auto"]),
        ("models", "NAME.network", {**CLASSIFIERS, **DENOISERS}),
        ("models", "NAME.schedule.name", SCHEDULES),
        ("models", "NAME.weights.train.precision", PRECISIONS),
        ("models", "NAME.weights.finetune.timestep", TIMESTEP_RULES),
    ],
)
def test_the_schema_allows_what_the_library_knows(name, path, known):
    assert choices(name, path) == sorted(known)


def defaults(name, prefix):
    return {
        path.removeprefix(prefix): schema["default"]
        for path, schema, _ in keys_of(SCHEMAS[name], SCHEMAS[name])
        if path.startswith(prefix) and "default" in schema
    }


def test_recipes_have_the_defaults_of_the_library():
    library = {field.name: field.default for field in fields(Recipe)}
    recipe = {key: value for key, value in library.items() if value is not MISSING}
    assert defaults("models", "NAME.weights.train.") == recipe | {"noise": "none"}
    assert defaults("models", "NAME.weights.finetune.") == recipe | {"timestep": "nearest"}


def test_sequential_plans_have_the_defaults_of_the_library():
    library = {field.name: field.default for field in fields(Sequential)}
    study = defaults("study", "experiments.NAME.")
    for key in ("last_share", "futility"):
        assert study[key] == library[key]
