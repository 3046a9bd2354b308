"""A rule's script gets, when it is run alone, what Snakemake would give it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.records import fault

ROOT = Path(__file__).parents[3]


def run(folder, script, *arguments, then=""):
    program = (
        "import json, sys\n"
        "from jinja2 import StrictUndefined, Template\n"
        "from jobs.alone import stand_in\n"
        "snakemake = stand_in(sys.argv[1], sys.argv[2:])\n" + then
    )
    return subprocess.run(
        [sys.executable, "-c", program, script, *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT / "workflow/scripts"), "HOME": str(folder)},
        capture_output=True,
        text=True,
    )


def test_a_table_has_its_inputs_outputs_and_parameters(tmp_path):
    say = "print(json.dumps([snakemake.input.certificates, snakemake.output.csv, snakemake.threads,"
    say += "snakemake.params.depends['entry']['kind'], snakemake.config['study']]))"
    done = run(tmp_path, "render_table.py", "table=table_2", "--config", "study=paper", then=say)
    assert done.returncode == 0, done.stderr
    certificates, csv, *rest = json.loads(done.stdout.splitlines()[-1])
    assert certificates == ["results/paper/certificates/imagenet.parquet"]
    assert csv == "results/paper/tables/table_2.csv"
    assert rest == [1, "per_sigma", "paper"]
    assert (tmp_path / csv).parent.is_dir()


@pytest.mark.parametrize(
    ("script", "wildcards", "caption", "said"),
    [
        ("render_table.py", ["table=table_4"], "artefact", "Certified accuracy of four"),
        ("render_figure.py", ["figure=figure_2"], "artefact", "Certified accuracy against"),
        ("render_paper.py", [], "paper", "Every table and figure of the study, typeset"),
        ("render_paper.py", [], "provenance", "Where the results come from"),
    ],
)
def test_captions_of_the_report_find_what_they_name(tmp_path, script, wildcards, caption, said):
    path = ROOT / "workflow/report" / f"{caption}.rst"
    render = f"text = open({str(path)!r}).read()\n"
    render += "print(Template(text, undefined=StrictUndefined).render(snakemake=snakemake))"
    done = run(tmp_path, script, *wildcards, then=render)
    assert said in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("script", "arguments", "problem"),
    [
        ("render_table.py", [], "rule render_table needs table=..."),
        (
            "render_table.py",
            ["tabel=table_4"],
            "rule render_table has no tabel; did you mean table? allowed: table",
        ),
        (
            "render_table.py",
            ["table=table_nope"],
            "rule render_table makes nothing for table=table_nope; it must match table_1|table_2|",
        ),
        (
            "certify_shard.py",
            ["experiment=denoised", "sigma=x", "shard=images_00000-00099"],
            "rule certify_shard makes nothing for sigma=x; it must match 0\\.125|0\\.",
        ),
        ("render_nothing.py", [], "there is no rule render_nothing; allowed with --rule: measure"),
        ("render_table.py", ["table=table_4", "--config", "study"], "study must be written NAME="),
    ],
)
def test_what_is_missing_is_said_in_one_line(tmp_path, script, arguments, problem):
    done = run(tmp_path, script, *arguments)
    assert done.returncode == 2
    assert problem in done.stderr.splitlines()[-1]


def test_what_a_script_makes_alone_is_what_its_rule_wrote(tmp_path, monkeypatch):
    script = ROOT / "workflow/scripts/prepare_data.py"
    command = [sys.executable, script, "--rule", "prepare_data_digits"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.chdir(tmp_path)
    pack = Path("results/digits/data/digits/test.npz")
    assert fault(pack) is None
    pack.write_bytes(pack.read_bytes() + b"more")
    assert "is not what rule prepare_data_digits wrote" in fault(pack)
