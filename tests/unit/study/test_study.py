"""A typed study: light to load, quick, and the same after a way through JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dds.seeds import ESTIMATION, noise_seed
from dds.statistics.plans import make_plan
from study import depends
from study.artefacts import parts
from study.experiments import MOST_SAMPLES, MOST_STEPS
from study.load import load_config, load_study
from study.references import read_references
from study.study import Study

ROOT = Path(__file__).parents[3]
SHIPPED = sorted(path.stem for path in (ROOT / "config/studies").glob("*.yaml"))


def load(name):
    return load_study(load_config({"study": name}), ROOT)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_study_is_the_same_after_a_way_through_json(name):
    study = load(name)
    plain = json.loads(json.dumps(study.to_json()))
    assert plain == study.to_json()
    again = Study.from_json(plain)
    assert again == study
    assert [type(model).__name__ for model in again.models.values()] == [
        type(model).__name__ for model in study.models.values()
    ]


def test_json_holds_defaults_and_the_keys_that_files_have():
    plain = load("digits").to_json()
    assert plain["name"] == "digits"
    assert plain["experiments"]["denoised"]["split"] == "test"
    finetune = plain["models"]["digits_cnn_finetuned"]["weights"]["finetune"]
    assert finetune["from"] == "digits_cnn"
    assert "like" not in plain["experiments"]["undefended"]


def test_an_argument_of_none_is_kept(tmp_path):
    study = yaml.safe_load((ROOT / "config/studies/digits.yaml").read_text())
    arguments = {"model": "vit_tiny_patch16_224", "global_pool": None}
    study["models"] = {"mine": {"like": "digits_vit", "arguments": arguments}}
    study["experiments"]["denoised"]["classifiers"].append("mine")
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    loaded = load(str(path))
    assert loaded.to_json()["models"]["mine"]["arguments"] == arguments
    assert Study.from_json(loaded.to_json()) == loaded


def test_there_is_noise_for_the_largest_numbers_of_samples_and_steps_and_no_more():
    last = (MOST_SAMPLES - 1) // 100
    noise_seed(1, 0, 0.25, ESTIMATION, last, MOST_STEPS - 1)
    with pytest.raises(ValueError, match="must lie below"):
        noise_seed(1, 0, 0.25, ESTIMATION, last + 1)
    with pytest.raises(ValueError, match="must lie below"):
        noise_seed(1, 0, 0.25, ESTIMATION, 0, MOST_STEPS)


def test_datasets_name_the_files_they_are_made_from():
    datasets = load("paper").datasets
    assert datasets["cifar10"].origins["images"].url.endswith("cifar-10-python.tar.gz")
    assert list(datasets["imagenet"].origins) == ["images"]
    assert load("digits").datasets["digits"].origins == {}


def test_experiments_and_artefacts_name_what_they_are_made_from():
    study = load("digits")
    assert study.experiments["plan_fixed"].models == ["digits_cnn", "digits_unet"]
    assert study.experiments["undefended"].models == ["digits_cnn", "digits_cnn_gaussian"]
    assert study.tables["table_1"].experiments == ["denoised", "undefended"]
    assert study.figures["figure_pictures"].experiments == ["denoised"]
    figures = {name for name, figure in study.figures.items() if figure.shows_pictures}
    assert figures == {"figure_pictures"}
    shown = {name for name, table in load("paper").tables.items() if table.shows_published}
    today = {"table_today_cifar10", "table_today_imagenet"}
    assert shown == {"table_1", "table_2", "table_3", "table_4", "table_5"} | today
    assert not any(table.shows_published for table in study.tables.values())


def test_the_parts_of_an_entry_come_with_their_places():
    table = load("paper").tables["table_5"]
    places = [place for place, _ in parts(table)]
    assert places[:3] == [(), ("rows", 0), ("rows", 0, "published")]
    assert len(places) == 1 + 2 * len(table.rows)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_table_and_figure_knows_how_its_experiments_are_sampled(name):
    study = load(name)
    dependencies = [depends.table(study, table) for table in study.tables]
    dependencies += [depends.figure(study, figure) for figure in study.figures]
    for found in dependencies:
        for experiment, facts in found["sampling"].items():
            settings = study.experiments[experiment]
            for key in ("images", "sigmas", "n0", "n", "alpha", "plan"):
                assert facts[key] == getattr(settings, key)
            assert facts["radii"] == settings.model_dump(mode="json").get("radii")


@pytest.mark.parametrize("name", ["cifar10", "paper"])
def test_a_plan_that_stops_decides_every_cell_of_the_papers_tables(name):
    study = load(name)
    tables = [table for table in study.tables.values() if table.kind == "per_sigma"]
    cells = [
        (experiment.sigmas, table.radii, experiment)
        for table in tables
        for experiment in (study.experiments[panel.experiment] for panel in table.panels)
    ]
    assert cells
    for sigmas, radii, experiment in cells:
        assert experiment.plan == "sequential"
        for sigma in sigmas:
            plan = make_plan(experiment.model_dump(), sigma)
            assert set(radii) <= set(plan.decided_radii)


def test_the_paper_in_a_day_has_the_models_noise_and_confidence_of_its_text():
    text, day = load("paper_exact").experiments, load("paper").experiments
    for name in ("cifar10", "imagenet"):
        for key in ("denoiser", "classifiers", "timestep", "sigmas", "n0", "n", "alpha"):
            assert getattr(day[name], key) == getattr(text[name], key)
        assert (text[name].plan, text[name].precision) == ("fixed", "float32")
    assert (text["cifar10"].images, text["imagenet"].images) == (10_000, 1_000)
    assert all(e.alpha == 0.001 for e in (*text.values(), *day.values()))


def test_every_row_of_prior_work_cites_its_reference():
    study = load("paper")
    names = ("table_1", "table_3", "table_today_cifar10", "table_today_imagenet")
    prior = {
        name: [row for row in study.tables[name].rows if row.experiment is None] for name in names
    }
    assert [len(rows) for rows in prior.values()] == [9, 10, 10 + 4, 9 + 4]
    for name, rows in prior.items():
        cited = {row.cite for row in rows}
        assert cited <= read_references().keys()
        assert set(depends.table(study, name)["references"]) == cited
    assert depends.table(study, "table_2")["references"] == {}


def test_the_bibliography_names_every_author_of_the_paper():
    authors = [name.partition(",")[0] for name in read_references()["carlini"]["author"]]
    assert authors == ["Carlini", "Tramèr", "Dvijotham", "Rice", "Sun", "Kolter"]
