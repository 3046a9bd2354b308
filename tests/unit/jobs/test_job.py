"""However a rule's script ends, its log and its standard error say why, in one line."""

import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

SCRIPT = """
import sys, signal, types, warnings
from dds.progress import Interrupted
from jobs.job import defer_signals, job

snakemake = types.SimpleNamespace(rule="certify", log=[sys.argv[1]])
with job(globals()):
    {body}
"""


@pytest.fixture
def run(tmp_path):
    def run(body, log=tmp_path / "a.log", **environment):
        answer = subprocess.run(
            [sys.executable, "-c", SCRIPT.format(body=body), log], capture_output=True, text=True,
            check=False, env={"PYTHONPATH": ":".join(sys.path), **environment},
        )  # fmt: skip
        lines = log.read_text().splitlines() if log.exists() else []
        return SimpleNamespace(status=answer.returncode, error=answer.stderr, log=lines)

    return run


def test_success_is_silent(run):
    answer = run("pass", SLURM_JOB_ID="17")
    assert (answer.status, answer.error) == (0, "")
    assert len(answer.log) == 1
    assert "certify on " in answer.log[0]
    assert answer.log[0].endswith("SLURM job 17")


def test_a_failure_ends_with_its_reason(run):
    answer = run("raise ValueError('sigma must be above 0,\\n  not -1')")
    assert answer.status == 1
    assert answer.error.startswith("certify: sigma must be above 0, not -1 (log: ")
    assert answer.error.count("\n") == 1
    assert answer.log[-1].endswith("failed: sigma must be above 0, not -1")
    assert any("Traceback" in line for line in answer.log)


def test_an_error_without_words_is_named(run):
    assert run("raise MemoryError").log[-1].endswith("failed: MemoryError")


def test_an_interruption_has_a_status_of_its_own(run):
    answer = run("raise Interrupted('stopped after 5 samples')")
    assert answer.status == 75
    assert answer.log[-1].endswith("interrupted: stopped after 5 samples")
    assert "Traceback" not in answer.error + "".join(answer.log)


@pytest.mark.parametrize("end", ["pass", "raise ValueError('x')", "raise Interrupted('y')"])
def test_a_record_lies_beside_the_log_while_the_job_runs(run, tmp_path, end):
    record = tmp_path / "a.progress"
    answer = run(f"import os\n    while not os.path.exists({str(record)!r}): pass\n    {end}")
    assert answer.status in (0, 1, 75)
    assert answer.log
    assert not record.exists()


def test_warnings_go_to_the_log(run):
    answer = run("warnings.warn('odd')")
    assert answer.error == ""
    assert any("odd" in line for line in answer.log)


def test_a_read_only_folder_is_one_line(run, tmp_path, read_only):
    folder = tmp_path / "logs"
    folder.mkdir()
    read_only(folder)
    answer = run("pass", log=folder / "a.log")
    assert answer.status == 1
    assert answer.error.startswith("certify: cannot write the log: ")
    assert answer.error.count("\n") == 1


def test_a_full_disk_does_not_hide_the_reason(run, small_disk, fill):
    log = small_disk / "a.log"
    log.touch()
    fill(small_disk)
    answer = run("raise ValueError('no space')", log=log)
    assert answer.status == 1
    assert answer.error == f"certify: no space (log: {log})\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_noted_however_often_they_come(run, number):
    answer = run(
        "should_stop = defer_signals(); before = should_stop();"
        f"signal.raise_signal({int(number)}); signal.raise_signal({int(number)});"
        "raise Interrupted(f'{before} {should_stop()}')"
    )
    assert answer.status == 75
    assert answer.log[-1].endswith("interrupted: False True")
