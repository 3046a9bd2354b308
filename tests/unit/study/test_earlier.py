"""Study files from before `steps` and `plan` said all: read, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.earlier import read_earlier
from study.errors import Place, StudyError
from study.load import load_config, load_study

ROOT = Path(__file__).parents[3]
AT = Place("study.yaml", ("experiments", "mine"))


def test_an_earlier_file_of_the_digits_study_is_the_one_that_ships():
    """But for the words of its tables, which need not be what ships, and for what came later."""
    earlier = Path(__file__).parent / "earlier_digits.yaml"
    study = load_study(load_config({"study": str(earlier)}), ROOT).to_json()
    shipped = load_study(load_config({"study": "digits"}), ROOT).to_json()
    for part in (study, shipped):
        part.pop("attacks")
        part["figures"].pop("figure_attack", None)
    tables, shipped_tables = study.pop("tables"), shipped.pop("tables")
    assert study | {"name": "digits", "title": shipped["title"]} == shipped
    assert [table["kind"] for table in tables.values()] == [
        table["kind"] for table in shipped_tables.values()
    ]
    assert tables.keys() == shipped_tables.keys()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"denoiser": "none", "method": "none"}, {"denoiser": "none"}),
        ({"denoiser": "unet", "method": "one_shot"}, {"denoiser": "unet"}),
        ({"denoiser": "unet", "method": "one_shot", "steps": 1}, {"denoiser": "unet", "steps": 1}),
        (
            {"denoiser": "unet", "method": "multi_step", "steps": 10},
            {"denoiser": "unet", "steps": 10},
        ),
        (
            {"denoiser": "unet", "method": "multi_step", "steps": 0},
            {"denoiser": "unet", "steps": "all"},
        ),
        ({"plan": "fixed", "curtail": True}, {"plan": "curtailed"}),
        (
            {"plan": "fixed", "curtail": True, "radii": [0.25]},
            {"plan": "curtailed", "radii": [0.25]},
        ),
        ({"plan": "fixed", "curtail": False, "radii": [0.25]}, {"plan": "fixed"}),
        ({"plan": "sequential", "curtail": False}, {"plan": "sequential"}),
        ({"plan": "curtailed", "curtail": True}, {"plan": "curtailed"}),
        ({"steps": False}, {"steps": False}),
        ({"steps": 3, "plan": "sequential"}, {"steps": 3, "plan": "sequential"}),
    ],
)
def test_earlier_keys_are_read(written, read):
    before = dict(written)
    assert read_earlier(written, AT) == read
    assert written == before


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ({"method": "two_shot"}, "method: two_shot is not allowed; did you mean one_shot? allowed"),
        ({"method": ["none"]}, "method: a list is not allowed; allowed: one_shot, multi_step, non"),
        (
            {"denoiser": "none", "method": "one_shot"},
            "denoiser: none needs method: none; name a denoiser, or leave method out",
        ),
        (
            {"denoiser": "unet", "method": "none"},
            "denoiser: unet does not go with method none; write denoiser: none",
        ),
        (
            {"denoiser": "unet", "method": "multi_step"},
            "method: multi_step needs steps beside it: 2 or more, or all",
        ),
        (
            {"denoiser": "unet", "method": "multi_step", "steps": 1},
            "steps: 1 must be 2 or more, or all for every timestep",
        ),
        (
            {"denoiser": "unet", "method": "one_shot", "steps": 10},
            "steps: 10 is for method multi_step alone; leave steps or method out",
        ),
        (
            {"denoiser": "none", "method": "none", "steps": 0},
            "steps: all is for method multi_step alone; leave steps or method out",
        ),
        ({"plan": "fixed", "curtail": "ja"}, "curtail: ja is not true or false"),
        (
            {"plan": "sequential", "curtail": True},
            "curtail: true is for plan fixed alone; a sequential plan stops by itself",
        ),
        (
            {"plan": "curtailed", "curtail": False},
            "curtail: false does not go with plan curtailed; leave it out",
        ),
    ],
)
def test_earlier_keys_that_contradict_others_are_refused(written, reason):
    with pytest.raises(StudyError) as refused:
        read_earlier(written, AT)
    assert str(refused.value).startswith(f"study.yaml: experiments.mine.{reason}")


def test_an_entry_takes_over_what_an_earlier_one_means(tmp_path):
    text = (ROOT / "config/studies/digits.yaml").read_text()
    text = text.replace("    plan: fixed\n", "    plan: fixed\n    curtail: true\n    radii: [0]\n")
    text = text.replace("    steps: 10\n", "    method: multi_step\n    steps: 10\n")
    path = tmp_path / "mixed.yaml"
    path.write_text(text.split("attacks:")[0])
    experiments = load_study(load_config({"study": str(path)}), ROOT).experiments
    assert experiments["ablation_multi_step"].plan == "curtailed"
    assert experiments["ablation_multi_step"].steps == 10
    assert experiments["plan_sequential"].plan == "sequential"
