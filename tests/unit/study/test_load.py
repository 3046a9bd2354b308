from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dds.data.sources import SOURCES
from dds.files import sha256
from dds.networks.families import FAMILIES
from dds.statistics.plans import PLANS, make_plan
from paper.figures import FIGURES
from paper.tables import TABLES
from study import depends
from study.checks import check_files_exist
from study.config import Config
from study.depends import votes
from study.errors import StudyError, alternatives, bounds, is_keys, names_of
from study.load import like_of, load_config, load_study, study_files
from study.models import MODELS as MODEL_KINDS
from study.paths import find_settings
from study.study import StudyKeys

ROOT = Path(__file__).parents[3]
SHIPPED = sorted(path.stem for path in (ROOT / "config/studies").glob("*.yaml"))
DIGITS = yaml.safe_load((ROOT / "config/studies/digits.yaml").read_text())
MODELS = yaml.safe_load((ROOT / "config/models.yaml").read_text())
REMOVED = object()
AGAINST_SIGMA = {
    "figures.figure_2.kind": "accuracy_against_sigma",
    "figures.figure_2.radii": [0.25, 0.3],
    "figures.figure_2.panels": [
        {"title": "CNN", "experiment": "plan_sequential", "classifier": "digits_cnn"}
    ],
}
AGAINST_PAPER = {
    "kind": "better_than_published",
    "experiment": "plan_sequential",
    "classifier": "digits_cnn",
    "than": {"table": "3", "rows": ["Denoised [20]"]},
}


@pytest.fixture
def project(tmp_path):
    """A folder with this project's configuration and rules, and the notebooks it asks for."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    shutil.copytree(ROOT / "workflow/rules", tmp_path / "workflow/rules")
    shutil.copy(ROOT / "workflow/Snakefile", tmp_path / "workflow")
    (tmp_path / "notebooks").mkdir()
    for name in SHIPPED:
        study = yaml.safe_load((tmp_path / f"config/studies/{name}.yaml").read_text())
        for notebook in study.get("notebooks", []):
            (tmp_path / f"notebooks/{notebook}.ipynb").touch()
    return tmp_path


@pytest.fixture
def load(project):
    """Load the digits study after changes, given as {path of a key: new value}.

    Its experiments are written out first, so that a change is one of one experiment.
    """

    def load(changes=(), models=()):
        for file, edits in (("studies/digits", changes), ("models", models)):
            path = project / f"config/{file}.yaml"
            content = yaml.safe_load(path.read_text())
            if "experiments" in content:
                content["experiments"] = written_out(content["experiments"])
            for keys, value in dict(edits).items():
                change(content, keys, value)
            path.write_text(yaml.safe_dump(content, sort_keys=False))
        return read({"study": "digits"}, project)

    return load


def written_out(entries):
    """Return entries with the keys of those that they are like."""
    full = {}
    for name, entry in entries.items():
        full[name] = {**full.get(entry.get("like"), {}), **entry}
        full[name].pop("like", None)
    return full


def read(config, project):
    return load_study(load_config(config), project)


def change(content, keys, value):
    """Set what a path such as ``tables.table_1.rows.0.label`` leads to, or remove it."""
    *parents, last = (int(key) if key.isdigit() else key for key in keys.split("."))
    for key in parents:
        content = content[key]
    if value is REMOVED:
        del content[last]
    else:
        content[last] = copy.deepcopy(value)


def refusal(function, *arguments):
    with pytest.raises(StudyError) as refused:
        function(*arguments)
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", SHIPPED)
def test_every_study_that_ships_is_valid(project, name):
    study = read({"study": name}, project)
    assert study.name == name


def test_published_numbers_are_read_whatever_an_editor_put_before_them(project):
    published = project / "config/literature/published.csv"
    text = published.read_text("utf-8")
    published.write_text(text, "utf-8-sig")
    assert read({"study": "paper"}, project).name == "paper"


def test_published_numbers_in_another_encoding_are_one_line(project):
    published = project / "config/literature/published.csv"
    published.write_bytes(published.read_bytes() + "é".encode("latin-1"))
    line = refusal(read, {"study": "paper"}, project)
    assert line == f"{published}: is no text in UTF-8"


def test_a_published_radius_that_is_no_number_is_one_line(project):
    published = project / "config/literature/published.csv"
    row = "3,Denoised [20],half,no,,0.25,"
    published.write_text(published.read_text("utf-8").replace(row, row.replace("0.25", "x")))
    line = refusal(read, {"study": "cifar10"}, project)
    assert line == (
        "config/literature/published.csv: row Denoised [20] of table 3 has a radius that is no "
        "number"
    )


def test_a_folder_of_settings_beside_the_work_counts_instead_of_the_project_s(
    project, tmp_path_factory, monkeypatch
):
    work = tmp_path_factory.mktemp("work")
    monkeypatch.chdir(work)
    (work / "config").mkdir()
    (work / "config" / "models.yaml").write_text("{}")  # of some other workflow
    assert find_settings(project) == project
    shutil.rmtree(work / "config")
    shutil.copytree(project / "config", work / "config")
    study = work / "config" / "studies" / "digits.yaml"
    study.write_text(study.read_text("utf-8").replace("rebuilt on digits", "changed here"), "utf-8")
    assert find_settings(project) == Path()
    changed = load_study(load_config({"study": "digits"}), find_settings(project), project)
    assert "changed here" in changed.title
    assert "changed here" not in read({"study": "digits"}, project).title


def test_defaults_are_filled_in(load):
    study = load()
    experiment = study.experiments["denoised"]
    defaults = {"split": "test", "timestep": "nearest", "noise": "float", "batch_size": 100}
    defaults |= {"steps": 1, "precision": "float32"}
    assert {key: getattr(experiment, key) for key in defaults} == defaults
    assert experiment.deterministic is True
    assert study.experiments["undefended"].steps == 1
    assert study.experiments["ablation_multi_step"].steps == 10
    assert not hasattr(experiment, "last_share")
    assert study.tables["table_1"].rows[0].extra_data is False
    assert study.models["digits_unet"].weights.train.optimizer == "adamw"
    assert study.authors == []


def test_a_study_needs_no_more_than_seed_datasets_and_experiments(load):
    optional = ("tables", "figures", "notebooks", "checks")
    study = load(dict.fromkeys(optional, REMOVED))
    assert [getattr(study, key) for key in optional] == [{}, {}, [], []]


def test_a_sequential_experiment_gets_the_defaults_of_its_plan(load):
    radii = [0.0, 0.125, 0.25, 0.375, 0.5, 0.75]
    changes = {"experiments.denoised.plan": "sequential", "experiments.denoised.radii": radii}
    changes |= {"figures": {}, "tables": {}}  # a curve shows all radii, a cascade has plan fixed
    experiment = load(changes).experiments["denoised"]
    assert experiment.frugal is False
    experiment = load(changes | {"experiments.denoised.plan": "union_sequential"})
    experiment = experiment.experiments["denoised"]
    assert (experiment.last_share, experiment.futility) == (0.9, 0.01)


def test_radii_that_are_taken_over_may_be_of_more_sigmas(load):
    radii = {"0.25": [0.25, 0.5], "0.5": [0.25, 0.5, 1.0], "1.0": [9.0]}
    study = load({"experiments.plan_sequential.radii": radii, "tables": {}})
    depends = json.loads(json.dumps(votes(study, "plan_sequential")))
    assert make_plan(depends, 0.25).decided_radii == (0.25, 0.5)


def test_radii_of_each_sigma_are_what_its_plan_decides(load):
    radii = {"0.25": [0.125, 0.25, 0.375, 0.5], "0.5": [0.25, 0.5, 1.0]}
    study = load({"experiments.plan_sequential.radii": radii})
    settings = study.experiments["plan_sequential"]
    assert settings.radii == {0.25: radii["0.25"], 0.5: radii["0.5"]}
    depends = json.loads(json.dumps(votes(study, "plan_sequential")))
    assert depends["radii"] == radii
    assert make_plan(depends, 0.5).decided_radii == (0.25, 0.5, 1.0)
    assert make_plan(depends, 0.25).to_dict() == make_plan(depends, 0.5).to_dict()

    radii["0.25"].append(1.25)
    message = refusal(load, {"experiments.plan_sequential.radii": radii})
    assert message.startswith(
        "config/studies/digits.yaml: experiments.plan_sequential.radii.0.25[4]: 1.25 is out of "
        "reach of experiment plan_sequential at sigma 0.25"
    )


def test_the_best_over_sigma_needs_radii_that_every_sigma_in_reach_decides(load):
    radii = {"0.125": [0.25, 0.125], "0.25": [0.125, 0.25, 0.375, 0.5], "0.5": [0.25, 0.375, 0.5]}
    sampled = {"plan": "sequential", "radii": radii}
    changes = {"experiments.denoised": DIGITS["experiments"]["denoised"] | sampled, "checks": []}
    changes |= {"tables": {"table_1": DIGITS["tables"]["table_1"]}, "figures": {}, "notebooks": []}
    message = refusal(load, changes)
    assert message == (
        "config/studies/digits.yaml: tables.table_1.radii[0]: 0.125 is none of the radii that "
        "experiment denoised decides at all of sigma 0.125, 0.25, 0.5; allowed: 0.25, 0.375, 0.5"
    )
    radii["0.5"].append(0.125)
    load(changes)  # sigma 0.125 reaches 0.307
    changes["tables.table_1.kind"] = "per_sigma"  # a row a sigma shows which are not computed
    panel = {"title": "CNN", "experiment": "denoised", "classifier": "digits_cnn"}
    changes |= {"tables.table_1.rows": REMOVED, "tables.table_1.panels": [panel]}
    radii["0.5"].remove(0.125)
    load(changes)


def test_a_sequential_plan_with_keys_of_a_union_bound_is_one(load):
    study = load({"experiments.plan_sequential.futility": 0.05})
    assert study.experiments["plan_sequential"].plan == "union_sequential"
    assert votes(study, "plan_sequential")["plan"] == "union_sequential"


def test_the_configuration_is_completed():
    config = load_config({"device": "cpu"})
    assert config.model_dump() == {
        "study": "digits",
        "deposit": "",
        "device": "cpu",
        "checkpoint_seconds": 60,
        "container": "",
        "published_logs": "",
        "url_overrides": {},
    }


def test_numbers_may_be_written_with_an_exponent(project):
    path = project / "config/studies/digits.yaml"
    text = path.read_text()
    path.write_text(text.replace("n: 1000", "n: 1e3").replace("alpha: 0.001", "alpha: 1e-3"))
    experiment = read({}, project).experiments["denoised"]
    assert (experiment.n, experiment.alpha) == (1000, 0.001)
    assert isinstance(experiment.n, int)


def test_only_models_that_the_experiments_need_are_kept(load):
    only_finetuned = {
        "experiments": {
            "denoised": DIGITS["experiments"]["denoised"]
            | {"classifiers": ["digits_vit_finetuned"]}
        },
        "attacks": {},
        "tables": {},
        "figures": {},
        "checks": [],
    }
    kept = load(only_finetuned).models
    assert list(kept) == ["digits_unet", "digits_vit", "digits_vit_finetuned"]


def test_a_model_inherits_whole_keys_and_its_own_win(load):
    models = load().models
    plain, finetuned = models["digits_cnn"], models["digits_cnn_finetuned"]
    assert (plain.weights.origin, finetuned.weights.origin) == ("train", "finetune")
    for key in ("kind", "network", "arguments", "input", "classes"):
        assert getattr(finetuned, key) == getattr(plain, key)
    assert finetuned.like is None


def test_an_experiment_inherits_whole_keys_and_its_own_win(load):
    own = {"like": "denoised", "sigmas": [0.5], "steps": 3}
    experiments = load({"experiments.mine": own, "experiments.mine_too": {"like": "mine"}})
    mine, denoised = (experiments.experiments[name] for name in ("mine", "denoised"))
    assert (mine.sigmas, mine.steps) == ([0.5], 3)
    assert mine.model_copy(update={"sigmas": denoised.sigmas, "steps": 1}) == denoised
    assert experiments.experiments["mine_too"] == mine
    assert list(experiments.experiments)[-2:] == ["mine", "mine_too"]


def test_models_tell_whether_they_have_weights_for_each_sigma(load):
    models = load().models
    per_sigma = {name for name, model in models.items() if model.is_per_sigma}
    assert per_sigma == {"digits_cnn_finetuned", "digits_vit_finetuned", "digits_cnn_gaussian"}


def test_a_network_of_ones_own_must_be_python(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = {"like": "digits_cnn", "network": "mine.py:build", "arguments": {},
           "weights": {"file": "mine.py"}}  # fmt: skip
    changes = {"models": {"mine": own}, "experiments.denoised.classifiers.1": "mine"}
    (tmp_path / "mine.py").write_text("import torch\n\ndef build(classes:\n")
    reason = "models.mine.network: mine.py is no valid Python: line 3: "
    assert reason in refusal(load, changes)
    changes["models"]["mine"]["network"] = "mine_too.py:build"
    (tmp_path / "mine_too.py").write_text("import torch, beside\n\ndef build(classes): pass\n")
    (tmp_path / "beside.py").write_text("\nGAIN = = 2\n")
    reason = "models.mine.network: beside.py is no valid Python: line 2: "
    assert reason in refusal(load, changes)


def test_files_that_a_network_of_ones_own_is_told_of_count(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def build(**keys): pass\n")
    (tmp_path / "cfg.json").write_text("{}")
    arguments = {"config": "cfg.json", "parts": [{"name": "none.json", "width": 8}]}
    own = {"like": "digits_cnn", "network": "mine.py:build", "arguments": arguments,
           "weights": {"file": "mine.pt"}}  # fmt: skip
    changes = {"models": {"mine": own}, "experiments.denoised.classifiers.1": "mine",
               "tables": {}, "figures": {}}  # fmt: skip
    study = load(changes)
    assert depends.model(study, "mine")["files"] == {"cfg.json": sha256("cfg.json")}
    (tmp_path / "cfg.json").unlink()
    assert "files" not in depends.model(study, "mine")
    assert "files" not in depends.model(study, "digits_cnn")


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        ("mine.py:build", None),
        ("mine.py:other", None),
        ("mine.py:biuld", "mine.py has no function biuld; did you mean build? allowed: path, "),
        ("mine.py:inner", "mine.py has no function inner; allowed: path, "),
        ("mine.py", "mine.py has no ROLE, Keys, which a family of networks needs"),
        ("none.py:build", "there is no file none.py"),
        (f"{'x' * 6000}.py:build", "there is no file xxx"),
    ],
)
def test_a_network_of_ones_own_must_be_there(load, tmp_path, monkeypatch, network, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import os.path as path\n"
        "if path:\n"
        "    def build(**keys):\n"
        "        def inner(): pass\n"
        "    other = build\n"
    )
    own = {"like": "digits_cnn", "network": network, "arguments": {},
           "weights": {"file": "mine.py"}}  # fmt: skip
    changes = {"models": {"mine": own}, "experiments.denoised.classifiers.1": "mine",
               "tables": {}, "figures": {}}  # fmt: skip
    if reason is None:
        assert load(changes).models["mine"].network == network
    else:
        place = "config/studies/digits.yaml: models.mine.network: "
        assert refusal(load, changes).startswith(place + reason)


@pytest.mark.parametrize("radius", [0.0, 0.25, 0.5, 1.0, 3.0])
def test_published_numbers_are_shown_whatever_is_reached(project, radius):
    changes = {"experiments": {"cifar10": {"n": 100}}, "tables": {"table_4": {"radii": [radius]}}}
    changes |= {"like": "paper_exact", "checks": []}
    (project / "mine.yaml").write_text(yaml.safe_dump(changes))
    assert read({"study": str(project / "mine.yaml")}, project).tables["table_4"].radii == [radius]


def test_imagenet_has_no_more_images_than_it_has(project):
    path = project / "config/studies/paper.yaml"
    study = yaml.safe_load(path.read_text())
    study["experiments"]["imagenet"]["images"] = 1001
    path.write_text(yaml.safe_dump(study))
    message = refusal(read, {"study": "paper"}, project)
    assert message.endswith("images: 1001 is out of range; split test of dataset imagenet has 1000 "
                            "images")  # fmt: skip


def test_text_is_in_one_line(load):
    study = load({"tables.table_1.caption": "One\n  two.\n", "title": "A\ttitle"})
    assert (study.tables["table_1"].caption, study.title) == ("One two.", "A title")


def test_a_study_may_add_models_of_its_own(load, tmp_path):
    file = tmp_path / "my.pt"
    file.touch()
    own = {"my_cnn": {"like": "digits_cnn", "weights": {"file": str(file), "key": "state_dict"}}}
    study = load(
        {
            "models": own,
            "experiments.denoised.classifiers.1": "my_cnn",
            "tables": {},
            "figures": {},
        }
    )
    mine = study.models["my_cnn"]
    assert mine.network == "wide_resnet"
    assert (mine.weights.file, mine.weights.key) == (str(file), "state_dict")


def test_classes_may_lie_in_a_file(load, project):
    names = [f"digit {number}, é" for number in range(10)]
    changes = {"digits_cnn.classes": "names.txt"}
    for before, between, after in (("", "\n", ""), ("\ufeff", "\r\n", "\r\n\r\n \r\n")):
        content = (before + between.join(names) + after).encode()
        (project / "names.txt").write_bytes(content)
        assert load({}, changes).models["digits_cnn"].classes == names


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("caf\xe9\nbar\n".encode("latin-1"), "is no text in UTF-8; save it as UTF-8"),
        ("café\nbar\n".encode("utf-16"), "is no text in UTF-8; save it as UTF-8"),
        (b"", "line 1 is no name of a class"),
        (b"cat\n\ndog\n", "line 2 is no name of a class"),
        (b"cat\nd\0g\n", "line 2 is no name of a class"),
        (b"cat\ndog\ncat\n", "line 3: cat comes twice"),
        (b"cat\n", "must hold at least two names, one a line"),
    ],
)
def test_a_file_of_classes_that_is_none_is_refused(load, project, content, reason):
    (project / "names.txt").write_bytes(content)
    message = refusal(load, {}, {"digits_cnn.classes": "names.txt"})
    assert message.startswith("config/models.yaml: digits_cnn.classes: ")
    assert reason in message


@pytest.mark.parametrize(
    ("key", "download"),
    [
        ("url", {"url": "https://me:SECRET@host/f"}),
        ("mirrors[0]", {"url": "https://host/f", "mirrors": ["https://me:SECRET@host/f"]}),
        ("labels.url", {"url": "https://host/f", "labels": {"url": "https://me:SECRET@host/f"}}),
    ],
)
def test_no_address_has_a_login_in_it(load, key, download):
    message = refusal(load, {}, {"digits_cnn.weights": {"download": download}})
    place = f"config/models.yaml: digits_cnn.weights.download.{key}"
    assert message.startswith(f"{place}: has a login in it, which would be published with")
    assert "SECRET" not in message


def test_the_mirror_of_ones_own_tells_no_password(project):
    config = {"url_overrides": {"https://hub.example/": "https://me:SECRET@mirror.example/"}}
    message = refusal(read, config, project)
    assert "url_overrides.https://hub.example/: has a login in it" in message
    assert "SECRET" not in message


def test_a_study_file_may_lie_anywhere_and_gives_the_results_their_name(project, tmp_path):
    path = tmp_path / "elsewhere/my-study_2.yaml"
    path.parent.mkdir()
    shutil.copy(project / "config/studies/digits.yaml", path)
    assert read({"study": str(path)}, project).name == "my-study_2"


def write_studies(folder, studies):
    for name, text in studies.items():
        (folder / name).write_text(text)
    return str(folder / next(iter(studies)))


def test_a_study_may_change_another(project, tmp_path):
    mine = write_studies(tmp_path, {
        "mine.yaml": f"""
            like: {tmp_path}/base.yaml
            title: Mine
            experiments:
              denoised: {{n: 500, classifiers: [digits_cnn]}}
              undefended: {{images: 50}}
              plan_fixed: null
              plan_curtailed: null
              plan_sequential: null
              more: {{like: denoised, sigmas: [0.25]}}
            tables: {{table_plans: null, table_4: null, table_5: null}}
            checks: []
            """,
        "base.yaml": """
            like: digits
            experiments: {denoised: {n: 700, images: 60}}
            tables: {table_1: null, table_2: null, table_3: null, table_costs: null,
                     table_cascade: null}
            figures: {figure_2: null, figure_cascade: null}
            """,
    })  # fmt: skip
    study, digits = read({"study": mine}, project), read({"study": "digits"}, project)
    assert (study.name, study.title, study.seed) == ("mine", "Mine", digits.seed)
    denoised, more = study.experiments["denoised"], study.experiments["more"]
    assert (denoised.n, denoised.images, denoised.classifiers) == (500, 60, ["digits_cnn"])
    assert (more.n, more.images, more.sigmas) == (500, 60, [0.25])
    # Experiments are like those of the changed study, too.
    assert (study.experiments["undefended"].n, study.experiments["undefended"].images) == (500, 50)
    assert "plan_fixed" not in study.experiments
    assert study.tables == {"table_ablation": digits.tables["table_ablation"]}
    assert (study.checks, list(study.figures)) == ([], ["figure_attack", "figure_pictures"])
    assert [path.stem for path in study_files(mine, project)] == ["mine", "base", "digits"]
    assert like_of(mine, project) == "base"


def test_null_is_an_argument_in_a_study_that_changes_another_and_below_it(project, tmp_path):
    (tmp_path / "mine.py").write_text("def build(**arguments): ...")
    digits = (project / "config/studies/digits.yaml").read_text()
    mine = write_studies(tmp_path, {
        "mine.yaml": f"""
            like: {tmp_path}/base.yaml
            models:
              below: {{arguments: {{width: null, options: {{bias: null}}}}}}
            experiments: {{mine: {{like: undefended, classifiers: [below]}}}}
            """,
        "base.yaml": digits + f"""
models:
  below:
    {{like: digits_cnn, network: "{tmp_path}/mine.py:build",
      arguments: {{depth: null, width: 8, heads: 2}}}}
            """,
    })  # fmt: skip
    found = read({"study": mine}, project).models["below"].arguments
    assert found == {"depth": None, "width": None, "heads": 2, "options": {"bias": None}}


@pytest.mark.parametrize(
    ("studies", "reason"),
    [
        ({"a.yaml": "like: digts"}, "a.yaml: like: there is no config/studies/digts.yaml; did you"),
        ({"a.yaml": "like: [digits]"}, "a.yaml: like: a list is not text"),
        ({"a.yaml": "like: {0}/a.yaml"}, "a.yaml: like: goes round in a circle: "),
        (
            {"a.yaml": "like: {0}/b.yaml", "b.yaml": "like: {0}/a.yaml"},
            "b.yaml: like: goes round in a circle: ",
        ),
        ({"a.yaml": "like: digits\nseed: null"}, "a.yaml: seed is missing; needed: seed"),
        (
            {"a.yaml": "like: digits\nexperiments: {{denoised: {{m: 1}}}}"},
            "a.yaml: experiments.denoised.m: unknown key",
        ),
    ],
)
def test_a_study_that_is_like_none_is_refused(project, tmp_path, studies, reason):
    texts = {name: text.format(tmp_path) for name, text in studies.items()}
    message = refusal(read, {"study": write_studies(tmp_path, texts)}, project)
    assert message.startswith(f"{tmp_path}/{reason}")


def test_an_experiment_with_another_plan_takes_over_what_that_plan_has(load):
    changes = {"experiments.plan_fixed": {"like": "plan_sequential", "plan": "fixed"},
               "experiments.plan_curtailed.like": "denoised",
               "experiments.plan_sequential.like": "denoised",
               "experiments.plan_sequential.frugal": True,
               "experiments.plan_sequential.radii": [0.125, 0.25]}  # fmt: skip
    experiments = load(changes | {"tables.table_plans": REMOVED}).experiments
    assert experiments["plan_fixed"].plan == "fixed"
    assert not hasattr(experiments["plan_fixed"], "radii")
    assert experiments["plan_sequential"].frugal


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("digits.yaml", "results/digits is for something else"),
        ("bench.yaml", "results/bench is for something else"),
        ("my study.yaml", "my study cannot name a folder of results"),
    ],
)
def test_a_study_file_with_an_unusable_name_is_refused(project, tmp_path, name, reason):
    path = tmp_path / "elsewhere" / name
    path.parent.mkdir()
    shutil.copy(project / "config/studies/digits.yaml", path)
    assert reason in refusal(read, {"study": str(path)}, project)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"study": "digts"}, "study: there is no config/studies/digts.yaml; did you mean digits?"),
        ({"study": "mine.yaml"}, "study: there is no file mine.yaml"),
        ({"study": 3}, "study: 3 is not text"),
        ({"devise": "cpu"}, "devise: unknown key; did you mean device? allowed: study, deposit"),
        ({"device": "gpu"}, "device: gpu is not allowed; allowed: auto, cpu, cuda"),
        ({"checkpoint_seconds": 0}, "checkpoint_seconds: 0 is out of range; must be above 0"),
    ],
)
def test_a_wrong_setting_is_refused(project, config, reason):
    message = refusal(read, config, project)
    assert message.startswith(f"config/config.yaml or --config: {reason}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("seed: [1", "is not valid YAML: line 2"),
        ("seed: 1\nseed: 2\n", "line 2: key seed comes twice"),
        ("datasets:\n  yes: {}\n", "line 2: key yes is not text; put it in quotes"),
        ("- seed\n", "a list is not a mapping of keys to values"),
        ("a: &a {n: 1}\nb: {<<: *a, n: 2}\n", "a: unknown key"),
    ],
)
def test_a_file_that_is_no_study_is_refused(project, text, reason):
    (project / "config/studies/digits.yaml").write_text(text)
    message = refusal(read, {}, project)
    assert message.startswith(f"config/studies/digits.yaml: {reason}")


def test_a_missing_registry_is_refused(project):
    (project / "config/models.yaml").unlink()
    message = refusal(read, {}, project)
    assert message == "config/models.yaml: cannot be read: No such file or directory"


ABOUT_KEYS = {
    "name": ("digits", "name: unknown key; allowed: like, seed, datasets, models"),
    "models": ([], "models: a list is not a mapping of keys to values"),
    "seed": (REMOVED, "seed is missing; needed: seed, datasets, experiments"),
    "sead": (1, "sead: unknown key; did you mean seed? allowed: like, seed"),
    "experiments": ({}, "experiments: is empty"),
    "experiments.Denoised": ({}, "experiments: Denoised is no name; a name has lower-case letters"),
    "experiments.denoised": (None, "experiments.denoised: nothing is not a mapping"),
    "experiments.denoised.imagess": (1, "experiments.denoised.imagess: unknown key; did you mean "
                                        "images? allowed: like, dataset, "),
    "experiments.denoised.images": (REMOVED, "experiments.denoised: images is missing; needed: "),
    "experiments.denoised.n": ("many", "experiments.denoised.n: many is not a whole number"),
    "experiments.denoised.n0": (1.5, "experiments.denoised.n0: 1.5 is not a whole number"),
    "experiments.denoised.alpha": (1, "experiments.denoised.alpha: 1 is out of range; must be "
                                      "above 0 and below 1"),
    "experiments.denoised.images_per_shard": (0, "experiments.denoised.images_per_shard: 0 is out "
                                                 "of range; must be at least 1"),
    "experiments.denoised.sigmas": ([0.5, 0.5], "experiments.denoised.sigmas: 0.5 comes twice"),
    "experiments.denoised.sigmas.1": (float("inf"), "experiments.denoised.sigmas[1]: inf is not a "
                                                    "finite number"),
    "experiments.denoised.sigmas.2": (0, "experiments.denoised.sigmas[2]: 0 is out of range; must "
                                         "be at least 0.001 and at most 10"),
    "experiments.denoised.classifiers": ([], "experiments.denoised.classifiers: is empty"),
    "experiments.denoised.precision": ("float16", "experiments.denoised.precision: float16 is not "
                                                  "allowed; did you mean bfloat16? allowed"),
    "experiments.denoised.deterministic": ("ja", "experiments.denoised.deterministic: ja is not "
                                                 "true or false"),
    "experiments.denoised.looks": ([1000], "experiments.denoised.looks: is for plan union_sequ"),
    "datasets.digits.source": ("mnist", "datasets.digits.source: mnist is not allowed; allowed: "),
    "datasets.digits.split": ({}, "datasets.digits.split: unknown key; did you mean splits?"),
    "tables.table_2.kind": ("per_sgima", "tables.table_2.kind: per_sgima is not allowed; did you "
                                         "mean per_sigma?"),
    "tables.table_2.rows": ([], "tables.table_2.rows: unknown key; allowed: kind, caption"),
    "tables.table_2.radii.0": (-1, "tables.table_2.radii[0]: -1 is out of range; must be at le"),
    "tables.table_1.rows.0": ({"label": "a", "off_the_shelf": "none"},
                              "tables.table_1.rows[0]: needs experiment and classifier, or publ"),
    "tables.table_1.rows.1.classifier": (REMOVED, "tables.table_1.rows[1]: experiment needs "
                                                  "classifier beside it"),
    "tables.table_ablation.methods.1": (REMOVED, "tables.table_ablation.methods: needs at least 2"),
    "tables.table_2.panels.0.published": (4, "tables.table_2.panels[0].published: 4 is not text; "
                                             "put it in quotes"),
    "figures.figure_2.kind": (REMOVED, "figures.figure_2: kind is missing; needed: kind"),
    "experiments.undefended.n0": (10**12, "experiments.undefended.n0: 1000000000000 is out of ra"),
    "experiments.undefended.images": (501, "experiments.undefended.images: 501 is out of range; "
                                           "split test of dataset digits has 500 images"),
    "experiments.denoised.sigmas.0": (1e-7, "experiments.denoised.sigmas[0]: 1e-07 is out of ran"
                                            "ge; must be at least 0.001 and at most 10"),
    "experiments.denoised.steps": (10**9, "experiments.denoised.steps: 1000000000 must be a whole "
                                          "number from 2 to 8,192, or all"),
    f"experiments.{'x' * 101}": ({}, "experiments: xxx"),
    "datasets.digits.splits.train": (1098, "datasets.digits.splits: 1,798 images are more than the "
                                           "1,797 that there are"),
    "title": ("a\x07b", "title: has the control character U+0007; leave it out"),
    "tables.table_1.caption": (" \n ", "tables.table_1.caption: is empty"),
    "tables.table_2.panels.0.title": ("a\x1bb", "tables.table_2.panels[0].title: has the control"),
    "checks.0.radius": (-0.5, "checks[0].radius: -0.5 is out of range; must be at least 0"),
}  # fmt: skip


ABOUT_DATA = {
    "cifar10.splits.valid": (10, "splits: valid is no split of CIFAR-10; allowed: train"),
    "cifar10.splits.validation": ({"every": 2}, "splits: validation is a number of images; every"),
    "cifar10.splits.test": ({"evry": 2}, "splits.test.evry: unknown key; did you mean every?"),
    "cifar10.splits": ({"test": 10_001}, "splits: test is 10,001, more than the 10,000 test"),
    "cifar10.splits.train": (45_001, "splits: train and validation are 50,001 together, more than "
                                     "the 50,000 training images"),
    "imagenet.splits": ({"test": 50_001}, "splits: 50,001 images are more than the 50,000 that"),
    "cifar10.files.images.url": (REMOVED, "files.images: needs exactly one of file, url"),
    "cifar10.files.images.file": ("here", "files.images: needs exactly one of file, url"),
    "cifar10.files.images.md5": ("c58f", "files.images.md5: c58f is no MD5 checksum"),
    "cifar10.files.devkit": ({"file": "here"}, "files: devkit is no file of this source"),
    "imagenet.crop": (REMOVED, "crop is missing; needed: source, splits, files, resize,"),
    "imagenet.files.images.bytes": (9, "files.images: bytes is for url alone; leave it out"),
    "imagenet.splits.test": ({"every": 5, "images": 2}, "splits.test: takes either images or ev"),
    "imagenet.splits.test.evry": (5, "splits.test.evry: unknown key; did you mean every?"),
}  # fmt: skip


@pytest.mark.parametrize("keys", ABOUT_DATA)
def test_a_wrong_source_of_data_is_refused(project, keys):
    value, reason = ABOUT_DATA[keys]
    path = project / "config/studies/paper.yaml"
    study = yaml.safe_load(path.read_text())
    change(study["datasets"], keys, value)
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    message = refusal(read, {"study": "paper"}, project)
    where = f"config/studies/paper.yaml: datasets.{keys.split('.')[0]}"
    assert message.startswith((f"{where}.{reason}", f"{where}: {reason}"))


def test_images_of_ones_own_need_fitting_models_and_files(load, project, monkeypatch):
    monkeypatch.chdir(project)
    images = {"source": "image_folder", "splits": {"test": 500, "train": 9, "validation": 9},
              "files": {"images": {"file": "mine.zip", "obtain": "ask me"}}}  # fmt: skip
    key = "datasets.digits"
    assert "digits_unet takes images of 1 channels, those of dataset digits have 3" in refusal(
        load, {key: images}
    )
    images |= {"channels": 1, "classes": ["0", "1"]}
    assert "digits_cnn has 10 classes, dataset digits has 2" in refusal(load, {key: images})
    del images["classes"]
    study = load({key: images})
    assert refusal(check_files_exist, "digits", study) == (
        "study digits: datasets.digits.files.images.file: there is no mine.zip; ask me"
    )
    (project / "mine.zip").touch()
    check_files_exist("digits", study)


@pytest.mark.parametrize(
    ("splits", "model"),
    [
        ({"train": 1000, "validation": 200, "test": {"every": 4}}, "digits_cnn"),
        ({"train": {"every": 2}, "validation": 200, "test": {"images": 200}}, "digits_cnn"),
        ({"train": {"from": "./a/"}, "validation": {"from": "a"},
          "test": {"from": "a", "every": 4}}, "digits_cnn"),
        ({"train": {"from": "a", "every": 2}, "validation": {"from": "a"},
          "test": {"from": "b", "every": 2}}, None),
        ({"train": 1000, "validation": 200, "test": {"images": 200}}, None),
    ],
)  # fmt: skip
def test_images_that_models_are_trained_on_are_not_certified_without_a_word(load, splits, model):
    images = {"source": "image_folder", "channels": 1, "splits": splits,
              "files": {"images": {"file": "mine.zip"}}}  # fmt: skip
    changes = {"datasets.digits": images}
    if model is None:
        assert load(changes).datasets["digits"].splits.keys() == splits.keys()
    else:
        assert f".split: test may have images that {model} is trained on" in refusal(load, changes)
    trained = {"experiments.trained": {"like": "undefended", "split": "train", "images": 9}}
    if model is None:  # a split that is named is meant
        assert load(trained).experiments["trained"].split == "train"


@pytest.mark.parametrize("keys", ABOUT_KEYS)
def test_a_wrong_key_or_value_is_refused(load, keys):
    value, reason = ABOUT_KEYS[keys]
    assert refusal(load, {keys: value}).startswith(f"config/studies/digits.yaml: {reason}")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n": 50}, "n: 50 is below n0 (100); n must be at least n0"),
        ({"images": 501}, "images: 501 is out of range; split test of dataset digits has 500"),
        ({"split": "tset"}, "split: tset is no split of dataset digits; did you mean test?"),
        ({"dataset": "digit"}, "dataset: digit is no dataset; did you mean digits?"),
        (
            {"denoiser": "digits_cnn"},
            "denoiser: digits_cnn is a classifier, no denoiser; all",
        ),
        (
            {"n": 26_214_401},
            "n: 26214401 is out of range; must be at least 1 and at most 26,214,400",
        ),
        (
            {"n0": 26_214_401},
            "n0: 26214401 is out of range; must be at least 1 and at most 26,214,",
        ),
        ({"denoiser": None}, "denoiser: nothing is no denoiser; must be its name, or none for no "),
        ({"denoiser": "none", "steps": 10}, "steps: 10 is for experiments with a denoiser alone"),
        ({"steps": "every"}, "steps: every must be a whole number from 2 to 8,192, or all"),
        ({"steps": -1}, "steps: -1 must be a whole number from 2 to 8,192, or all"),
        (
            {"steps": 1000},
            "steps: 1000 is more steps than timesteps below sigma 0.125; must be at most 598, or",
        ),
        ({"batch_size": 0}, "batch_size: 0 must be a whole number from 1 to 100,000, or auto"),
        (
            {"timestep": "exact"},
            "timestep: exact is not the timestep that digits_cnn_finetuned is ",
        ),
        ({"like": "denoise"}, "like: denoise is no experiment; did you mean denoised? allowed: de"),
        ({"like": "denoised"}, "like: goes round in a circle: denoised is like denoised"),
        ({"like": 3}, "like: 3 is no experiment; allowed: denoised"),
        ({"classifiers": ["digits_cn"]}, "classifiers[0]: digits_cn is no classifier; did you me"),
        (
            {"sigmas": [0.25, 0.001]},
            "sigmas[1]: denoiser digits_unet: sigma 0.001 is outside what the noise schedule "
            "covers: 0.00157 to 4.06e+04",
        ),
        (
            {"denoiser": "none", "sigmas": [1e300]},
            "sigmas[0]: 1e+300 is out of range; must be at least 0.001 and at most 10",
        ),
        ({"sigmas": [0.1234567]}, "sigmas[0]: 0.1234567 has more than the six digits"),
        ({"plan": "sequential"}, "radii is missing"),
        ({"plan": "sequentail"}, "plan: sequentail is not allowed; did you mean sequential? allow"),
        ({"plan": "mine.py"}, "plan: there is no file mine.py"),
        (
            {"radii": [0.0]},
            "radii: is for plans curtailed, sequential and union_sequential alone; lea",
        ),
        ({"plan": "curtailed", "futility": 0.1}, "futility: is for plan union_sequential alone; "),
        (
            {"plan": "sequential", "radii": [0.0], "frugl": 1},
            "frugl: unknown key; did you mean fru",
        ),
        (
            {"plan": "sequential", "radii": {"0.25": [0.0], "1.0": [0.0]}},
            "radii: are listed for sigma 0.25, 1; each sigma of the experiment needs some: 0.125",
        ),
        (
            {"plan": "sequential", "radii": {"0.125": [0.0], "0.25": [0.0, -1.0], "0.5": [0.0]}},
            "radii.0.25[1]: -1.0 is out of range; must be at least 0 and at most 100",
        ),
        (
            {"plan": "sequential", "radii": {"0.125": [0.0], "0.25": [], "0.5": [0.0]}},
            "radii.0.25: is empty",
        ),
        (
            {"plan": "sequential", "radii": {"0.125": [0.75], "0.25": [0.0], "0.5": [0.0]}},
            "radii.0.125[0]: 0.75 is out of reach of experiment denoised at sigma 0.125",
        ),
        (
            {"plan": "sequential", "radii": {"0.125": [0.0], "a quarter": [0.0], "0.5": [0.0]}},
            "radii: a quarter is no noise level; keys must be numbers in quotes",
        ),
        (
            {"plan": "sequential", "radii": {"0.125": [0.0], "0.5": [0.0], "0.50": [0.0]}},
            "radii: 0.5 comes twice",
        ),
        ({"plan": "sequential", "radii": []}, "radii: is empty"),
        ({"plan": "sequential", "radii": 0.5}, "radii: 0.5 is not a list"),
        (
            {"plan": "sequential", "radii": [0.0], "curtail": True},
            "curtail: true is for plan fixed",
        ),
        (
            {"plan": "sequential", "radii": [0.0], "looks": [150, 1000]},
            "looks: looks must rise in multiples of 100 and end at n = 1000, not [150, 1000]",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(load, changes, reason):
    changes = {f"experiments.denoised.{key}": value for key, value in changes.items()}
    message = refusal(load, changes)
    place = "config/studies/digits.yaml: experiments.denoised"
    assert message.startswith((f"{place}.{reason}", f"{place}: {reason}"))


def test_sigma_may_be_chosen_on_validation_images(load):
    study = load(
        {
            "experiments.validated": {"like": "denoised", "split": "validation"},
            "tables.table_1.rows.1.chosen_on": {"experiment": "validated"},
        }
    )
    assert study.tables["table_1"].experiments == ["denoised", "undefended", "validated"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tables.table_2.panels.0.experiment": "denoise"},
         "tables.table_2.panels[0].experiment: denoise is no experiment; did you mean denoised?"),
        ({"tables.table_3.rows.1.classifier": "digits_vit"},
         "tables.table_3.rows[1].classifier: digits_vit is no classifier of experiment undefended"),
        ({"tables.table_3.rows.1.cite": "cohn"},
         "tables.table_3.rows[1].cite: cohn is no reference of workflow/report/references.yaml; "
         "did you mean cohen?"),
        ({"figures.figure_2.panels.1.classifier": "vit"},
         "figures.figure_2.panels[1].classifier: vit is no classifier of experiment denoised"),
        ({"tables.table_cascade.panels.1.experiment": "plan_curtailed",
          "tables.table_cascade.panels.1.classifier": "digits_cnn",
          "tables.table_cascade.radii": [0.25]},
         "tables.table_cascade.panels[1].experiment: plan_curtailed has plan curtailed; a cascade "
         "needs plan fixed"),
        ({"figures.figure_cascade.panels.0.experiment": "plan_sequential"},
         "figures.figure_cascade.panels[0].experiment: plan_sequential has plan sequential; a"),
        ({"experiments.denoised.sigmas": [0.5], "attacks.denoised.sigmas": [0.5],
          "checks": REMOVED},
         "tables.table_cascade.panels[0].experiment: denoised has one sigma; a cascade needs at "),
        ({"tables.table_1.rows.1.chosen_on": {"experiment": "denoised"}},
         "tables.table_1.rows[1].chosen_on.experiment: denoised may have images of denoised; sigma "
         "must be chosen on a split that shares none with it"),
        ({"tables.table_1.rows.2.chosen_on": {"experiment": "undefended"}},
         "tables.table_1.rows[2].chosen_on.experiment: undefended and denoised have different "
         "denoiser; they must share dataset, denoiser, steps, timestep, sigmas"),
        ({"tables.table_1.rows.1.chosen_on": {"experiment": "denoise"}},
         "tables.table_1.rows[1].chosen_on.experiment: denoise is no experiment; did you mean"),
        ({"experiments.validated": {"like": "denoised", "split": "validation",
                                    "classifiers": ["digits_cnn"]},
          "tables.table_1.rows.2.chosen_on": {"experiment": "validated"}},
         "tables.table_1.rows[2].chosen_on.experiment: digits_vit is no classifier of experiment "
         "validated; allowed: digits_cnn"),
        ({"experiments.ablation_multi_step.n": 300},
         "tables.table_ablation.methods[1].experiment: ablation_multi_step and ablation_one_shot "
         "have different n; compared experiments must share dataset"),
        ({"experiments.ablation_multi_step.plan": "radius"},
         "tables.table_ablation.methods[1].experiment: ablation_multi_step has plan radius; a "
         "comparison needs plan fixed, because the share of samples that are correct is biased"),
        ({"figures.figure_pictures.experiment": "undefended"},
         "figures.figure_pictures.experiment: undefended has no denoiser"),
        ({"figures.figure_pictures.images": 501},
         "figures.figure_pictures.images: 501 is out of range; split test of dataset digits"),
        ({"attacks.denoised.experiment": "denoise"},
         "attacks.denoised.experiment: denoise is no experiment; did you mean denoised?"),
        ({"attacks.denoised.classifiers": ["digits_cnn_gaussian"]},
         "attacks.denoised.classifiers[0]: digits_cnn_gaussian is no classifier of experiment den"),
        ({"attacks.denoised.sigmas": [0.3]},
         "attacks.denoised.sigmas[0]: 0.3 is no sigma of experiment denoised; allowed: 0.125, 0."),
        ({"attacks.denoised.n": 10},
         "attacks.denoised.n: n = 10 samples name no class at alpha 0.001, whatever they answer; "),
        ({"attacks.denoised.images": 201},
         "attacks.denoised.images: 201 is out of range; experiment denoised certifies 200 images"),
        ({"experiments.denoised.noise": "integer"},
         "attacks.denoised.experiment: denoised has noise integer, which no gradient passes; "),
        ({"attacks.denoised.radii": [0.25, 0.0]}, "attacks.denoised.radii[1]: 0.0 is out of range"),
        ({"attacks.denoised.step_size": 3.0}, "attacks.denoised.step_size: 3.0 is out of range"),
        ({"attacks.denoised.samples": 100_000, "attacks.denoised.steps": 1000},
         "attacks.denoised.samples: 100,000 samples at 1,000 steps from 1 starts are 100,000,000"),
        ({"figures.figure_attack.panels.0.attack": "denoise"},
         "figures.figure_attack.panels[0].attack: denoise is no attack; allowed: denoised"),
        ({"figures.figure_attack.panels.0.classifier": "digits_vit"},
         "figures.figure_attack.panels[0].attack: denoised is not on digits_vit"),
        ({"figures.figure_attack.panels.0.experiment": "undefended"},
         "figures.figure_attack.panels[0].attack: denoised is not on experiment undefended"),
        ({"experiments.denoised.plan": "curtailed", "experiments.denoised.radii": [1.1],
          "tables": {}, "checks": REMOVED,
          "figures": {"figure_attack": DIGITS["figures"]["figure_attack"]}},
         "figures.figure_attack.panels[0].attack: denoised goes up to radius 1; denoised decides "
         "none below 1.1 at sigma 0.25"),
        ({"figures.table_1": DIGITS["figures"]["figure_2"]},
         "figures.table_1: is the name of a table"),
        ({"tables.merge_counts": DIGITS["tables"]["table_1"]},
         "tables.merge_counts: is the name of a rule"),
        ({"figures.all": DIGITS["figures"]["figure_2"]}, "figures.all: is the name of a rule"),
        ({"tables.prepare_data_digits": DIGITS["tables"]["table_1"]},
         "tables.prepare_data_digits: is the name of a rule; choose another"),
        ({"notebooks.0": "table"},
         "notebooks[0]: there is no notebooks/table.ipynb; did you mean tables?"),
        ({"checks.0.than.experiment": "nothing"},
         "checks[0].than.experiment: nothing is no experiment; allowed: denoised, undefended"),
        ({"checks.0.than.table": "3"},
         "checks[0].than.table: does not go with better; leave it out"),
        ({"checks.0.than": {"experiment": "undefended"}},
         "checks[0].than: better needs classifier"),
        ({"checks.0.kind": "better_than_published"},
         "checks[0].sigmas: does not go with better_than_published; leave it out"),
        ({"checks.0": {"kind": "better_than_published", "experiment": "denoised",
                       "classifier": "digits_cnn", "than": {"table": "3"}}},
         "checks[0].than: better_than_published needs rows"),
        ({"checks.0": AGAINST_PAPER | {"than": {"table": "4c", "rows": ["sigma = 0.5"]}}},
         "checks[0].than.rows[0]: row sigma = 0.5 of table 4c has no legible number to be better"),
        ({"checks.0": AGAINST_PAPER},
         "checks[0].than.rows[0]: 0.75 is none of the radii that experiment plan_sequential deci"),
        ({"checks.0": AGAINST_PAPER | {"experiment": "plan_curtailed"}, "tables": {},
          "experiments.plan_curtailed.radii": [0.375]},
         "checks[0].than.rows[0]: 0.25 is below the radii that experiment plan_curtailed decides; "
         "must be at least 0.375"),
        ({"checks.0": AGAINST_PAPER | {"experiment": "undefended"},
          "experiments.undefended.sigmas": [0.25], "checks.1": REMOVED},
         "checks[0].than.rows[0]: 0.75 is out of reach of experiment undefended at sigma 0.25: "),
        ({"checks.1.sigmas": [0.125]},
         "checks[1].sigmas[0]: 0.125 is no sigma of experiment ablation_one_shot; allowed: 0.25"),
        ({"experiments.denoised.plan": "curtailed", "experiments.denoised.radii": [0.25]},
         "tables.table_1.radii[0]: 0.125 is below the radii that experiment denoised decides"),
        ({"experiments.denoised.plan": "sequential", "experiments.denoised.radii": [0.125, 0.25]},
         "tables.table_1.radii[2]: 0.375 is none of the radii that experiment denoised decides"),
        ({"experiments.denoised.n": 9, "experiments.denoised.n0": 5},
         "experiments.denoised.n: 9 certifies nothing at alpha = 0.001; must be at least 10"),
        ({"tables.table_2.radii": [0.25, 1.3]},
         "tables.table_2.radii[1]: 1.3 is out of reach of experiment denoised at sigma 0.5: "
         "n = 1,000 at alpha = 0.001 certifies at most 1.231; n must be at least 1,479"),
        ({"tables.table_2.radii": [0.25, 1.2], "experiments.denoised.plan": "radius",
          "experiments.denoised.within": 0.1},
         "tables.table_2.radii[1]: 1.2 is out of reach of experiment denoised at sigma 0.5: "
         "n = 1,000 at alpha = 0.001 certifies at most 1.108; n must be at least 1,"),
        ({"tables.table_ablation.radii": [0.5]},
         "tables.table_ablation.radii[0]: 0.5 is out of reach of experiment ablation_one_shot at "
         "sigma 0.25: n = 200 at alpha = 0.001 certifies at most 0.456; n must be at least 301"),
        ({"tables.table_1.radii": [50]},
         "tables.table_1.radii[0]: 50 is out of reach of experiment undefended at sigma 0.5: n = "
         "1,000 at alpha = 0.001 certifies at most 1.231; no n is enough"),
        ({"checks.0.radius": 0.7}, "checks[0].radius: 0.7 is out of reach of experiment denoised"),
        ({"experiments.denoised.images": 1, "attacks.denoised.images": 1},
         "checks[0].experiment: denoised certifies 1 image; a check, which allows for sampling er"),
        ({"tables.table_2.panels.0.published": "4e"},
         "tables.table_2.panels[0].published: 4e is no table of config/literature/published.csv; "),
        ({"tables.table_1.rows.0.published": {"table": "1", "row": "RS"}},
         "tables.table_1.rows[0].published.row: RS is no row of table 1 in config/literature/publ"),
        ({"tables.table_1.rows.0.published": {"table": "3", "row": "RS [5]", "extra_data": "yes"}},
         "tables.table_1.rows[0].published.extra_data: yes is no extra_data of row RS [5]; allow"),
        ({"tables.table_1.rows.0.published": {"table": "3", "row": "SmoothAdv [19]"}},
         "tables.table_1.rows[0].published.row: SmoothAdv [19] comes twice in table 3; say "
         "extra_data: yes or no"),
        ({"tables.table_2.panels.0.published": "3"},
         "tables.table_2.panels[0].published: table 3 has no sigma to stand beside ours; allowed: "
         "2, 4a, 4b, 4c, 4d"),
        ({"tables.table_4.panels.1.title": "CNN"},
         "tables.table_4.panels[1].title: CNN comes twice"),
        ({"tables.table_ablation.methods.1.label": "one-shot"},
         "tables.table_ablation.methods[1].label: one-shot comes twice"),
        ({"checks.0.than": {"experiment": "denoised", "classifier": "digits_cnn_finetuned"},
          "checks.0.classifier": "digits_cnn_finetuned"},
         "checks[0].than: is what it is compared with; name another"),
        ({"experiments.plan_sequential.radii": [0.25, 50]},
         "experiments.plan_sequential.radii[1]: 50 is out of reach of experiment plan_sequential"),
        ({"experiments.ablation_one_shot.plan": "sequential",
          "experiments.ablation_one_shot.radii": {"0.25": [0.125], "0.5": [0.25]},
          "checks.1.radius": 0.25, "tables": {}},
         "checks[1].radius: experiment ablation_one_shot decides no radius at all of sigma 0.25, "
         "0.5; its radii must have 0.25 for each of them"),
        (AGAINST_SIGMA,
         "figures.figure_2.radii[1]: 0.3 is none of the radii that experiment plan_sequential"),
        ({"models": {"digits_cnn": {"like": "digits_vit"}}},
         "models.digits_cnn: is the name of a model in config/models.yaml already"),
        ({"models": {"mine": {"like": "digits_cnn", "size": 8}}},
         "models.mine.size: unknown key; allowed: like, kind"),
    ],
)  # fmt: skip
def test_tables_figures_and_checks_must_name_what_there_is(load, changes, reason):
    assert refusal(load, changes).startswith(f"config/studies/digits.yaml: {reason}")


def test_names_of_rules_that_are_made_in_loops_are_taken(project):
    path = project / "config/studies/paper.yaml"
    study = yaml.safe_load(path.read_text())
    for name in ("download_model_cifar10_vit", "download_data_cifar10_images"):
        path.write_text(yaml.safe_dump(study | {"tables": {name: study["tables"]["table_2"]}}))
        message = refusal(read, {"study": "paper"}, project)
        place = f"config/studies/paper.yaml: tables.{name}"
        assert message == f"{place}: is the name of a rule; choose another"


def test_a_dataset_may_not_make_a_rule_that_there_is(load, project):
    (project / "workflow/rules/mine.smk").write_text("rule prepare_data_digits:\n    input: []\n")
    assert refusal(load) == (
        "config/studies/digits.yaml: datasets.digits: makes prepare_data_digits, which is the name "
        "of a rule; choose another"
    )


def test_a_chain_of_likes_has_an_end(load):
    chain = {f"mine_{n}": {"like": f"mine_{n + 1}"} for n in range(3000)}
    chain["mine_3000"] = {"like": "denoised"}
    changes = {f"experiments.{name}": entry for name, entry in chain.items()}
    assert refusal(load, changes).endswith("is like experiments in a chain longer than 50")


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("none")
VALUES |= st.sampled_from([10**12, 2**62, 1e300, 1e-7, -1, "a\nb", "\x00", "x" * 300, "../../etc"])
VALUES |= st.sampled_from([*DIGITS["experiments"], *MODELS, "mine.py:build"])
VALUES |= st.lists(VALUES, max_size=2) | st.dictionaries(st.text(), VALUES, max_size=2)
#: Words of the libraries behind, which mean nothing to who writes a study.
FOREIGN = (
    "Input should",
    "validation error",
    "pydantic",
    "Traceback",
    "object has no",
    "Errno",
    "dict",
)


def broken(data, content):
    """Return a file's content with another value, a key more or a key less somewhere."""
    content = copy.deepcopy(content)
    inner, key = content, data.draw(st.sampled_from(sorted(content)))
    while isinstance(inner[key], dict | list) and inner[key] and data.draw(st.booleans()):
        inner = inner[key]
        keys = list(inner) if isinstance(inner, dict) else range(len(inner))
        key = data.draw(st.sampled_from(keys))
    how = data.draw(st.sampled_from(["another", "another", "less", "misspelt"]))
    value = data.draw(VALUES) if how == "another" else inner[key]
    if how != "another":
        del inner[key]
    if how == "another":
        inner[key] = value
    elif how == "misspelt" and isinstance(inner, dict):
        inner[f"{key}s"] = value
    return content


@pytest.mark.parametrize("file", ["studies/digits", "models"])
@settings(max_examples=40, derandomize=True)  # a change must not fail for what was there before
@given(data=st.data())
def test_whatever_files_hold_they_are_read_or_refused_in_one_line(tmp_path_factory, file, data):
    folder = tmp_path_factory.mktemp("any")
    (folder / "config/studies").mkdir(parents=True)
    for part in ("config/classes", "config/literature", "workflow", "notebooks"):
        (folder / part).symlink_to(ROOT / part)
    for name, content in (("studies/digits", DIGITS), ("models", MODELS)):
        content = broken(data, content) if name == file else content
        text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
        (folder / f"config/{name}.yaml").write_text(text, encoding="utf-8")
    try:
        read({"study": "digits"}, folder)
    except StudyError as error:
        message = str(error)
        assert message.isprintable()
        assert re.match(r"config/(studies/digits|models)\.yaml: ", message)
        assert not [word for word in FOREIGN if re.search(rf"(?<!\w){re.escape(word)}", message)]


def numbers_without_a_range(annotation, place, seen):
    """Yield where in a type, or in what it holds, a number may be as large as it likes."""
    limits = bounds(annotation)
    for one in alternatives(annotation):
        if one in (int, float) and not {"le", "lt"} & set(limits):
            yield place
        for inner in get_args(one) if get_origin(one) in (list, dict) else ():
            yield from numbers_without_a_range(inner, f"{place}[]", seen)
        if is_keys(one) and one not in seen:
            seen.add(one)
            for name, field in names_of(one).items():
                inner = Annotated[field.annotation, field]
                yield from numbers_without_a_range(inner, f"{place}.{name}", seen)


def test_every_number_of_a_file_has_a_range():
    files = {"study": StudyKeys, "config": Config, **MODEL_KINDS}
    for kinds in (PLANS, SOURCES, FAMILIES, TABLES, FIGURES):
        files |= {name: kinds[name].Keys for name in kinds.names}
    seen = set()
    assert not [
        place for name, keys in files.items() for place in numbers_without_a_range(keys, name, seen)
    ]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"digits_cnn.kind": "clasifier"}, "digits_cnn.kind: clasifier is not allowed; did you me"),
        ({"digits_cnn.network": "resnet"}, "digits_cnn.network: resnet must be one of timm,"),
        ({"digits_cnn.classes": [0, 1]}, "digits_cnn.classes[0]: 0 is not text; put it in quotes"),
        ({"digits_cnn.input.std": [0.3, 0.3]}, "digits_cnn.input.std: has 2 numbers; allowed is "),
        ({"digits_cnn.input.std": [0]}, "digits_cnn.input.std[0]: 0 is out of range; must be"),
        ({"digits_cnn.weights": {}}, "digits_cnn.weights: needs exactly one of train, finetune,"),
        ({"digits_cnn.weights.file": "a"}, "digits_cnn.weights: needs exactly one of train, fine"),
        ({"digits_cnn.weights.key": "a"}, "digits_cnn.weights.key: a is for file and download al"),
        ({"digits_cnn.weights.obtain": "a"}, "digits_cnn.weights.obtain: a is for file alone;"),
        ({"digits_unet.weights": {"file": "a/{sigma}.pt"}},
         "digits_unet.weights.file: a/{sigma}.pt is of one sigma, and a denoiser's weights are"),
        ({"digits_cnn.weights": {"download": {}}}, "digits_cnn.weights.download: url is missing"),
        ({"digits_cnn.weights": {"download": {"url": "x"}}},
         "digits_cnn.weights.download.url: x is no address of a file"),
        ({"digits_cnn.weights": {"download": {"url": "https://h/f", "sha256": "abc"}}},
         "digits_cnn.weights.download.sha256: abc is no SHA-256 checksum"),
        ({"digits_cnn.classes": "no.txt"}, "digits_cnn.classes: there is no file"),
        ({"digits_cnn.weights.train.ema": 1.0}, "digits_cnn.weights.train.ema: 1.0 is out of"),
        ({"digits_cnn.weights.train.dataset": "mnist"},
         "digits_cnn.weights.train.dataset: mnist is no dataset; allowed: digits"),
        ({"digits_unet.schedule.name": "cosin"}, "digits_unet.schedule.name: cosin is not allowed; "
                                                 "did you mean cosine?"),
        ({"digits_unet.weights.finetune": {}}, "digits_unet.weights.finetune: unknown key; allow"),
        ({"digits_cnn.like": "digits_cnn"}, "digits_cnn.like: goes round in a circle: digits_c"),
        ({"digits_cnn_gaussian.like": "cnn"}, "digits_cnn_gaussian.like: cnn is no model; allo"),
        ({"digits_vit_finetuned.weights.finetune.from": "digits_unet"},
         "digits_vit_finetuned.weights.finetune.from: digits_unet is a denoiser, no classi"),
        ({"digits_vit_finetuned.weights.finetune.from": "digits_cnn"},
         "digits_vit_finetuned.weights.finetune.from: digits_cnn has other network"),
        ({"digits_cnn_finetuned.weights.finetune.from": "digits_cnn_gaussian"},
         "digits_cnn_finetuned.weights.finetune.from: digits_cnn_gaussian has weights for each"),
        ({"digits_cnn_finetuned.weights.finetune.denoiser": "none"},
         "digits_cnn_finetuned.weights.finetune.denoiser: none is no denoiser"),
        ({"none": {}}, "none is no name for a model"),
        ({"digits_unet.schedule.steps": 1_000_001}, "digits_unet.schedule.steps: 1000001 is out of "
                                                    "range; must be at least 2 and at most 1,000,"),
        ({"digits_unet.weights": {"download": {}}},
         "digits_unet.weights.download: needs url, or hub"),
        ({"digits_unet.weights": {"download": {"hub": "google"}}},
         "digits_unet.weights.download.hub: google"),
        ({"digits_unet.weights": {"download": {"url": "https://h/f", "revision": "v1"}}},
         "digits_unet.weights.download: revision is for hub alone; leave it out"),
        ({"digits_unet.weights": {"download": {"url": "https://h/f", "hub": "a/b"}}},
         "digits_unet.weights.download: url does not go with hub; leave one of them out"),
        ({"digits_unet.schedule": {"name": "cosine"}},
         "digits_unet.schedule: steps is missing, which cosine needs"),
        ({"digits_unet.schedule.beta_end": 0.5},
         "digits_unet.schedule: beta_end is for linear, scaled_linear alone; leave it out"),
        ({"digits_unet.schedule": {"name": "alphas_cumprod", "alphas_cumprod": [0.5, 0.9]}},
         "digits_unet.schedule: alphas_cumprod: 0.9 at timestep 1 must be above 0 and below 0.5"),
        ({"digits_unet.predicts": "edm"}, "digits_unet: predicts edm does not go with "
         "schedule.name cosine; allowed: noise, x0, v"),
        ({"digits_unet.predicts": "v"}, "digits_unet.weights.train: is for denoisers that predict "
         "noise at the timesteps of a schedule; name the weights by file or download"),
        ({"digits_cnn.network": "mine.py:build"}, "digits_cnn.network: there is no file mine.py"),
        ({"digits_unet.arguments.num_channels": 32},
         "digits_unet.arguments: num_channels is a flag of OpenAI's scripts; write model_channels"),
        ({"digits_unet.arguments.class_cond": False},
         "digits_unet.arguments: class_cond is a flag of OpenAI's scripts; leave it out; network"),
        ({"digits_unet.arguments.attention_resolutions": "16,8"},
         "digits_unet.arguments.attention_resolutions: 16,8 is not a list"),
        ({"digits_vit.arguments.model": "vit_tny_patch16_224"},
         "digits_vit.arguments: model vit_tny_patch16_224: timm has no such network; did you mean "
         "vit_tiny_patch16_224,"),
        ({"digits_unet.schedule": {"name": "linear", "steps": 20}},
         "digits_unet.schedule.steps: a linear noise schedule needs at least 21 steps, not 20"),
        ({"digits_unet.arguments.attention_resolutions": [3]},
         "digits_unet.arguments: attention_resolutions: 3 is no height of a level; allowed: 8"),
        ({"digits_vit.input.size": 9},
         "digits_vit.arguments.img_size: 8 is not input.size, which is 9"),
        ({"digits_cnn.input.size": "8"},
         'digits_cnn.input.size: "8" is text, not a whole number; leave out the quotes'),
        ({"digits_cnn.arguments.dept": 4}, "digits_cnn.arguments.dept: unknown key; did you mean "),
        ({"digits_cnn.classes": 3}, "digits_cnn.classes: must be a list of names, or the path of "),
    ],
)  # fmt: skip
def test_a_wrong_model_is_refused(load, changes, reason):
    assert refusal(load, {}, changes).startswith(f"config/models.yaml: {reason}")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"classes": ["a", "b"]}, "mine has 2 classes, dataset digits has 10"),
        ({"input": {"channels": 3, "size": 8}},
         "mine takes images of 3 channels, those of dataset digits have 1"),
    ],
)  # fmt: skip
def test_a_model_that_does_not_fit_the_dataset_is_refused(load, changes, reason):
    mine = {"like": "digits_cnn", **changes}
    asked_for = {"experiments.denoised.classifiers.1": "mine"}
    message = refusal(load, {"models": {"mine": mine}, **asked_for})
    place = "config/studies/digits.yaml: models.mine.weights.train.dataset"
    assert message == f"{place}: {reason}"
    mine["weights"] = {"file": __file__}  # any file that exists
    message = refusal(load, {"models": {"mine": mine}, **asked_for})
    assert message == f"config/studies/digits.yaml: experiments.denoised.classifiers[1]: {reason}"
