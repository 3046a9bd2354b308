"""Whatever config/config.yaml holds, every tool says in one line what is wrong with it."""

import subprocess
import sys

import pytest

import archive
import costs
import decisions
import demo
import project
import report
import status

TOOLS = [status, costs, archive, report, demo, decisions]
BROKEN = {
    "": "is empty",
    "[]": "a list is not a mapping of keys to values",
    "- study": "a list is not a mapping of keys to values",
    "digits": "digits is not a mapping of keys to values",
    "3": "3 is not a mapping of keys to values",
    "null": "nothing is not a mapping of keys to values",
    "study:": "study: nothing is not text",
    "study: [digits]": "study: a list is not text",
    "study: digts": "study: there is no config/studies/digts.yaml; did you mean digits?",
    f"study: {'x' * 5000}.yaml": "study: there is no file xxxx",
    "study: digits\nstudy: paper": "line 2: key study comes twice",
    "devise: cpu": "devise: unknown key; did you mean device?",
    "checkpoint_seconds: .inf": "checkpoint_seconds: inf is not a finite number",
    "url_overrides: {https://a/: 1}": "url_overrides.https://a/: 1 is not text",
    "study: [": "is not valid YAML: line ",
    "1: digits": "line 1: key 1 is not text",
    "study: !!int 3": "line 1: tag !!int is not allowed",
    "study: &a [*a]": "line 1: *a stands inside",
    "\x00": "is not valid YAML: unacceptable character",
}


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """A function that has the tools read a configuration with some text."""
    (tmp_path / "config").mkdir()
    monkeypatch.setattr(project, "ROOT", tmp_path)
    (tmp_path / "config/studies").symlink_to(project.Path(__file__).parents[3] / "config/studies")

    def configure(text):
        (tmp_path / "config/config.yaml").write_text(text)

    return configure


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_configuration_is_one_line(configured, monkeypatch, capsys, tool, text):
    configured(text)
    monkeypatch.setattr(sys, "argv", [tool.__name__])
    with pytest.raises(SystemExit) as ended:
        tool.main()
    message = str(ended.value)
    assert message.startswith("error: config/config.yaml")
    assert f": {BROKEN[text]}" in message
    assert len(message.splitlines()) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("text", ["[]", "digits", "null"])
def test_a_study_that_is_named_does_not_hide_a_broken_configuration(configured, text):
    configured(text)
    with pytest.raises(SystemExit, match="is not a mapping of keys to values$"):
        project.open_study("digits")


def told(tool, monkeypatch, capsys, *arguments):
    """Return what a tool prints when it is given arguments."""
    monkeypatch.setattr(sys, "argv", [tool.__name__, *arguments])
    tool.main()
    return capsys.readouterr().out


def test_a_study_that_is_rebuilt_from_a_deposit_is_shown_as_that(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    counts = tmp_path / "results/digits/counts"
    counts.mkdir(parents=True)
    (counts / "denoised.json").write_text("{}")
    (tmp_path / "digits.tar.gz").touch()
    shown = told(status, monkeypatch, capsys, "digits", "--deposit", "digits.tar.gz")
    assert "votes from deposits:\n" in shown
    assert "  denoised: taken\n" in shown
    assert "  undefended: not taken yet\n" in shown
    assert "sigma" not in shown  # no shard is waited for
    shown = told(costs, monkeypatch, capsys, "--study", "digits", "--deposit", "digits.tar.gz")
    assert shown.startswith("votes from deposits, without a GPU: ")
    assert shown.endswith("costs: digits takes minutes of a CPU, for none of its votes is drawn\n")


@pytest.mark.parametrize("tool", [status, costs, archive, report], ids=lambda tool: tool.__name__)
def test_a_deposit_that_is_not_there_is_one_line(tool, monkeypatch, capsys):
    study = ["--study"] * (tool is costs) + ["digits"]
    line = r"^error: study digits: experiments\.\w+\.votes\.file: there is no nope.tar.gz$"
    with pytest.raises(SystemExit, match=line):
        told(tool, monkeypatch, capsys, *study, "--deposit", "nope.tar.gz")


@pytest.mark.parametrize("configured_one", [True, False])
def test_a_report_lies_in_its_studys_folder(configured, monkeypatch, capsys, configured_one):
    monkeypatch.chdir(project.Path(__file__).parents[3])
    shown, asked = "config/studies/sigmas.yaml", []
    configured(f"study: {shown if configured_one else 'digits'}")
    for file in ("config/models.yaml", "workflow", "notebooks", "config/classes"):
        (project.ROOT / file).symlink_to(project.Path(file).resolve())
    whole, status = project.ROOT / "results/sigmas/report.zip", 0

    def run(command, **options):
        asked.extend(command)
        project.Path(command[-1]).write_text(f"{status}")
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr(report.subprocess, "run", run)
    arguments = [] if configured_one else [shown]
    shown = told(report, monkeypatch, capsys, *arguments)
    assert ("study=config/studies/sigmas.yaml" in asked) != configured_one
    assert shown == "report: results/sigmas/report.zip\n"
    status = 1  # what is left of one that fails does not take its place
    with pytest.raises(SystemExit, match="report: there is no new one of sigmas"):
        told(report, monkeypatch, capsys, *arguments)
    assert (whole.read_text(), list(whole.parent.iterdir())) == ("0", [whole])


def test_what_a_deposit_holds_costs_nothing(monkeypatch):
    study = project.open_study("digits")
    taken = study.experiments["denoised"].model_copy(update={"votes": {"file": "digits.tar.gz"}})
    mixed = study.model_copy(update={"experiments": study.experiments | {"denoised": taken}})
    part = costs.sampled_part(mixed)
    assert list(part.experiments) == mixed.sampled
    assert study.attacks["denoised"].experiment not in part.experiments
    assert costs.beside([(part, [])], costs.GPUS["h100"], []).count("\n") == 1
    assert part.models.keys() < study.models.keys()


def test_costs_without_torch_are_one_line(monkeypatch, capsys):
    def estimate(*arguments):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(costs, "estimate", estimate)
    with pytest.raises(SystemExit, match="^error: torch is needed to .*; make clean, then make"):
        told(costs, monkeypatch, capsys, "--study", "digits")


def test_the_starts_of_shards_count_on_a_gpu_and_on_a_cpu(monkeypatch, capsys):
    monkeypatch.setattr(costs, "CPU_CORE", 1e30)
    shown = told(costs, monkeypatch, capsys, "--study", "digits", "--tflops", "1e18")
    assert " takes about 4.43 min of one that GPU, or 4.43 min of one CPU core, starts inc" in shown


def test_columns_of_studies_stand_below_their_heads():
    digits = project.open_study("digits")  # has more plans than fit a short column
    heads, row = costs.beside([(digits, [])], costs.GPUS["h100"], []).splitlines()
    assert row[heads.index("precision") :].startswith("float32 ")
