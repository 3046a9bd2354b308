"""What a person sees while Snakemake works."""

import io
import json
import logging
import re

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from jobs import terminal
from jobs.processes import this_process
from jobs.running import Running, progress_path
from jobs.terminal import Terminal, clock, joined, progress, shortened


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self):
        return True


@pytest.fixture
def logger():
    logger = logging.Logger("snakemake")
    logger.stream = Screen()
    logger.addHandler(logging.StreamHandler(logger.stream))
    logger.terminal = Terminal(logger.stream)
    logger.addFilter(logger.terminal)
    return logger


def begin(logger, number, log="missing.log", reason="Missing output files"):
    logger.info(
        "Rule: certify_shard, Jobid: 1",
        extra={
            "event": LogEvent.JOB_INFO, "jobid": number, "rule_name": "certify_shard",
            "wildcards": {"experiment": "plain", "sigma": 0.25, "shard": "images_00000-00049"},
            "log": [log],
            "reason": reason,
        },
    )  # fmt: skip


def test_the_line_names_what_runs_and_how_many_steps_are_done(logger):
    begin(logger, 1)
    begin(logger, 2)
    logger.info("Finished", extra={"event": LogEvent.JOB_FINISHED, "job_id": 1})
    logger.info(None, extra={"event": LogEvent.PROGRESS, "done": 1, "total": 65})
    line = logger.terminal.line(200)
    assert line.startswith("1/65 | 0:0")
    assert line.endswith(" certify_shard plain/0.25/images_00000-00049")
    assert line.count("certify_shard") == 1


def test_a_job_that_compiles_says_so_and_since_when(logger, monkeypatch):
    record = Running("certify_shard", "certify", "plain", "host", 1, None, None, 0.0,
                     preparing="compiling 2 networks", unit="samples", done=0, total=9)  # fmt: skip
    monkeypatch.setattr(terminal, "read_record", lambda path: record)
    begin(logger, 1)
    assert logger.terminal.line(200).startswith("0:00 compiling 2 networks, certify_shard plain/")


@pytest.mark.parametrize(("facts", "line"), [
    ({"device": "NVIDIA H100", "gpu": "GPU 3"}, "GPU 3: TIME {}"),
    ({"waits_for": "a free GPU"}, "TIME {}, waiting for a free GPU"),
    ({"gpu": "GPU 3", "waits_for": "process 5"}, "TIME {}, waiting for process 5"),
    ({"device": "x86_64 CPU"}, "TIME {}"),
])  # fmt: skip
def test_the_line_says_which_gpu_a_job_has_or_what_it_waits_for(logger, tmp_path, facts, line):
    log = tmp_path / "images_00000-00049.log"
    fixed = {"rule": "certify_shard", "kind": "certify", "name": "plain", "started": 1.0}
    progress_path(log).write_text(json.dumps(fixed | this_process() | facts))
    begin(logger, 1, log=str(log))
    shown = re.sub(r"\d+:\d\d", "TIME", logger.terminal.line(200))
    assert shown == line.format("certify_shard plain/0.25/images_00000-00049")


def test_a_job_that_failed_runs_no_more(logger):
    begin(logger, 1)
    logger.error("Error", extra={"event": LogEvent.JOB_ERROR, "jobid": 1})
    assert logger.terminal.line(200) == ""


def test_the_end_of_a_run_that_was_interrupted_says_how_to_go_on(logger):
    logger.info("Terminating processes on user request, this might take some time.")
    logger.terminal.stop()
    assert logger.stream.getvalue().endswith("interrupted; run the same again to go on\n")


def test_the_end_of_any_other_run_says_nothing(logger):
    logger.terminal.stop()
    assert logger.stream.getvalue() == ""


def test_nothing_is_drawn_where_there_is_no_terminal(logger):
    logger.terminal._stream = io.StringIO()
    logger.terminal.start(logger, 65)
    logger.terminal.stop()
    assert logger.terminal._stream.getvalue() == ""


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (17, "one | two | three"),
        (16, "one | 2 more"),
        (12, "one | 2 more"),
        (11, "on | 2 more"),
    ],
)
def test_a_line_holds_what_fits(width, line):
    assert joined(["one", "two", "three"], width) == line


def test_a_reason_is_short_enough_to_read():
    assert shortened("Code has changed") == "Code has changed"
    assert len(shortened("Params have changed: " + "x" * 13_000)) < 300


@pytest.mark.parametrize(
    ("parts", "share"), [({}, "45%"), ({"parts": 16, "parts_done": 7, "part_unit": "images"},
                                       "7 of 16 images")]
)  # fmt: skip
def test_a_job_is_as_far_as_its_samples_or_its_images(parts, share):
    job = Running(
        "certify_shard", "certify", "e", "host", 1, None, None, 0.0, unit="samples", done=900,
        total=2000, rate=5400.0, seconds_left=130.0, **parts,
    )  # fmt: skip
    assert progress(job) == f"{share} 5,400 samples/s 2:10 left,"


def test_times_are_written_short():
    assert [clock(s) for s in (4, 130, 3730, 3 * 86_400 + 3730)] == [
        "0:04", "2:10", "1:02:10", "3 days, 1:02:10",
    ]  # fmt: skip
