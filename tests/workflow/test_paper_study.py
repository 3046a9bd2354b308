"""Studies that ship can be planned in a fresh clone, with no data, weights or cluster."""

from __future__ import annotations

import math

import pytest
import yaml
from projects import ROOT, Project

from project import written_out

STUDY = written_out("paper")
SHIPPED = sorted(path.stem for path in (ROOT / "config/studies").glob("*.yaml"))
REGISTRY = yaml.safe_load((ROOT / "config/models.yaml").read_text())


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("clone"))


def planned(text):
    """Return the jobs of a dry run's summary, by rule."""
    rows = text.split("Job stats:")[1].split("\n\n")[0].splitlines()
    return {row[0]: int(row[1]) for row in map(str.split, rows) if row and row[-1].isdigit()}


def expected(study):
    """Return how many jobs of each rule a study asks for."""
    experiments = study["experiments"].values()
    classifiers = {model for e in experiments for model in e["classifiers"]}
    used = classifiers | {e["denoiser"] for e in experiments} - {"none"}
    sigmas = {sigma for e in experiments for sigma in e["sigmas"]}
    weights = {model: REGISTRY[model]["weights"] for model in used}
    figures = study["figures"].values()
    attacks = study.get("attacks", {}).values()
    return {
        "attack_images": sum(
            len(a["sigmas"]) * math.ceil(a["images"] / a.get("images_per_shard", 100))
            for a in attacks
        ),
        "merge_attacks": len(attacks),
        "certify_shard": sum(
            len(e["sigmas"]) * math.ceil(e["images"] / e["images_per_shard"]) for e in experiments
        ),
        "finetune_classifier": len(sigmas) * sum("finetune" in w for w in weights.values()),
        "train_classifier": sum(  # one with noise is trained for each sigma
            len(sigmas) if "noise" in weights[model]["train"] else 1
            for model in classifiers
            if "train" in weights[model]
        ),
        "train_denoiser": sum("train" in weights[model] for model in used - classifiers),
        "measure_accuracy": sum(
            len(sigmas) if "finetune" in weights[model] else 1
            for model in classifiers
            if "expected_accuracy" in REGISTRY[REGISTRY[model].get("like", model)]
        ),
        "merge_counts": len(study["experiments"]),
        "compute_certificates": len(study["experiments"]),
        "render_table": len(study["tables"]),
        "estimate_costs": any(table["kind"] == "costs" for table in study["tables"].values()),
        "render_figure": len(study["figures"]),
        "draw_pictures": sum(figure["kind"] == "pictures" for figure in figures),
        "run_notebook": len(study["notebooks"]),
        "render_paper": 1,
        "check_results": 1,
        "all": 1,
        **{
            f"download_data_{name}_{file}": "url" in keys
            for name, dataset in study["datasets"].items()
            for file, keys in dataset.get("files", {}).items()
        },
        **{f"prepare_data_{dataset}": 1 for dataset in study["datasets"]},
        **{f"download_model_{model}": 1 for model, w in weights.items() if "download" in w},
    }


@pytest.mark.parametrize(
    ("study", "arguments"),
    [*((study, []) for study in SHIPPED), ("paper", ["--profile", "slurm"])],
    ids=[*SHIPPED, "paper on slurm"],
)
def test_the_whole_study_is_planned(clone, study, arguments):
    preview = clone.snakemake("--dry-run", "all", *arguments, study=study)
    jobs = planned(preview.stdout + preview.stderr)
    total = jobs.pop("total")
    assert jobs == {rule: count for rule, count in expected(written_out(study)).items() if count}
    assert total == sum(jobs.values())


def test_a_table_needs_no_more_than_its_experiments(clone):
    preview = clone.snakemake("--dry-run", "table_2", study="paper")
    jobs = planned(preview.stdout + preview.stderr)
    imagenet = STUDY["experiments"]["imagenet"]
    shards = math.ceil(imagenet["images"] / imagenet["images_per_shard"])
    assert jobs["certify_shard"] == shards * len(imagenet["sigmas"])
    assert not [rule for rule in jobs if "cifar10" in rule or "train" in rule]


@pytest.mark.parametrize(
    ("study", "target", "line"),
    [
        ("paper", "data/imagenet/test.npz",
         "datasets.imagenet.files.images.file: there is no data/imagenet/val; put there, or link,"),
        ("noise_trained", "counts/cifar10/sigma_0.5/images_00000-00249.parquet",
         "models.cifar10_dmae_base.weights.file: there is no file data/dmae/cifar10_base_0.25.pth; "
         "tune a pretrained DMAE for each sigma,"),
    ],
)  # fmt: skip
def test_missing_files_of_ones_own_end_a_run_before_it_starts(clone, study, target, line):
    result = clone.snakemake(f"results/{study}/{target}", study=study, check=False)
    assert result.returncode != 0
    assert result.stderr.rstrip().splitlines()[-1].startswith(f"error: study {study}: {line} ")
    assert "Traceback" not in result.stderr
    assert "\nlocalrule " not in result.stdout + result.stderr
    assert "\nrule " not in result.stdout + result.stderr


def refused(project, *arguments, **config):
    """Return the line that a dry run ends with, instead of a plan."""
    result = project.snakemake("--dry-run", *arguments, study="digits", check=False, **config)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    assert "\nrule " not in result.stdout + result.stderr
    return result.stderr.rstrip().splitlines()[-1]


def test_a_deposit_that_is_not_there_is_not_planned_with(clone):
    line = refused(clone, "all", deposit="nope.tar.gz")
    assert line.startswith("error: study digits: experiments.")
    assert line.endswith(".votes.file: there is no nope.tar.gz")


@pytest.mark.parametrize(
    "name",
    [
        "tables/table_nope.csv",
        "models/digits_cnn_finetuned/sigma_..pt",
        "models/digits_cnn_finetuned/sigma_99.pt",  # no experiment's noise level
        "models/digits_cnn_finetuned/sigma_0.250.pt",
        "models/digits_cnn/sigma_0.25.pt",
        "counts/plan_fixed/sigma_0.250/images_00000-00099.parquet",
    ],
)
def test_a_result_that_the_study_does_not_name_is_made_by_no_rule(clone, name):
    path = f"results/digits/{name}"
    result = clone.snakemake("--dry-run", path, study="digits", check=False)
    assert f"\nMissingRuleException:\nNo rule to produce {path} " in result.stdout + result.stderr


@pytest.mark.parametrize("given", [False, True], ids=["config.yaml", "--configfile"])
def test_a_key_that_comes_twice_is_refused_in_every_file_of_the_configuration(clone, given):
    usual = clone.folder / "config/config.yaml"
    file = clone.folder / "mine.yaml" if given else usual
    kept = usual.read_text()
    file.write_text("device: cpu\ndevice: auto\n")
    try:
        line = refused(clone, "all", *(["--configfile", str(file)] if given else []))
    finally:
        usual.write_text(kept)
    said = file if given else "config/config.yaml"
    assert line == f"error: {said}: line 2: key device comes twice"


def test_every_published_number_of_ours_stands_beside_a_result():
    """No row or panel is left out, and all of the right name."""
    today = {"table_today_cifar10": ("3", "cifar10"), "table_today_imagenet": ("1", "imagenet")}
    shown = set()
    for name, table in STUDY["tables"].items():
        named = today.get(name, name[-1])
        for part in [*table.get("panels", []), *table.get("rows", [])]:
            published = part["published"]
            if isinstance(published, str):
                assert published[0] in named
                shown.add((published, None, None))
            else:
                assert published["table"] in named
                shown.add((published["table"], published["row"], published.get("extra_data")))
    lines = (ROOT / "config/literature/published.csv").read_text().splitlines()[1:]
    cells = [line.split(",") for line in lines]
    wanted = {
        (table, None, None)
        if row.startswith("sigma")
        else (table, row, extra if row.startswith("SmoothAdv") and table == "3" else None)
        for table, row, _, extra, *_ in cells
    }
    assert shown == wanted
