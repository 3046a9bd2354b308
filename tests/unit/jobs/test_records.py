"""Results are known by their records: altered, foreign and outdated ones are found."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from dds.differences import fingerprint
from dds.files import sha256
from jobs import records
from jobs.records import (
    _is_out_of_date,
    check_inputs,
    contents,
    fault,
    input_faults,
    record_path,
    sources,
    write_records,
)

COUNTS, TABLE = "results/s/counts/e.parquet", "results/s/tables/t.csv"
MERGED = {"n": 100, "code": "1"}


def a_job(rule, inputs, outputs, depends, **params):
    params = SimpleNamespace(depends=depends, **params)
    return SimpleNamespace(rule=rule, input=inputs, output=outputs, params=params)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def put(path, text):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def replace(path, text):
    """Replace a file by one of the same size that is older."""
    before = os.stat(path)
    put(path, text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns - 10**9))


@pytest.fixture
def counting():
    """The job that made the counts, of votes and of a file of the user's own."""
    put("results/s/counts/e/votes.parquet", "votes")
    put("mine.pt", "weights")
    put(COUNTS, "counts")
    inputs = ["results/s/counts/e/votes.parquet", "mine.pt"]
    job = a_job("merge_counts", inputs, [COUNTS], MERGED)
    write_records(job)
    return job


@pytest.fixture
def rendering(counting):
    """The job that made a table of the counts."""
    for suffix in (".csv", ".md"):
        put(Path(TABLE).with_suffix(suffix), f"table{suffix}")
    outputs = [TABLE, TABLE.replace(".csv", ".md")]
    depends = {"made_from": {"counts/e": fingerprint(MERGED)}, "code": "2"}
    job = a_job("render_table", [COUNTS], outputs, depends)
    write_records(job)
    return job


def test_what_was_made_for_this_study_of_what_is_there_has_no_fault(counting, rendering):
    check_inputs(rendering)
    assert list(input_faults(rendering, thorough=True)) == []
    assert fault(COUNTS, MERGED) is None
    assert [fault(path, rendering.params.depends) for path in rendering.output] == [None, None]
    assert sources(COUNTS) == [Path("mine.pt")]
    assert sources(TABLE) == []


def test_a_result_edited_by_hand_is_found(rendering):
    replace(COUNTS, "STNUOC")
    problem = f"{COUNTS} is not what rule merge_counts wrote; remove it and run "
    with pytest.raises(ValueError, match=f"{problem}again"):
        check_inputs(rendering)
    assert fault(COUNTS) == f"{problem}snakemake {COUNTS}"
    assert fault(TABLE) == f"{TABLE} was made from another {COUNTS}; run the study again"


def test_each_form_of_a_table_is_known(rendering):
    replace(TABLE.replace(".csv", ".md"), "elbat.md")
    assert fault(TABLE) is None
    assert "is not what rule render_table wrote" in fault(TABLE.replace(".csv", ".md"))


def test_a_result_of_other_settings_is_found(counting, rendering):
    write_records(a_job("merge_counts", counting.input, [COUNTS], MERGED | {"n": 1000}))
    with pytest.raises(ValueError, match=f"{COUNTS} was made for other settings than the study"):
        check_inputs(rendering)
    assert fault(COUNTS, MERGED) == (
        f"{COUNTS} was made with another n: 1000, not 100; run the study again"
    )


def test_results_that_are_missing_or_say_nothing_are_found(rendering):
    record_path(COUNTS).unlink()
    check_inputs(rendering)  # as an earlier version made it; what reads it compares
    assert fault(COUNTS) == (
        f"{COUNTS} has no record of what it was made from; remove it and run snakemake {COUNTS}"
    )
    assert fault(COUNTS, {"protocol": 1}) is None  # dear, and says itself what it is
    assert "has no record" in next(input_faults(rendering, thorough=True))
    Path(COUNTS).unlink()
    assert fault(COUNTS) == f"there is no {COUNTS}; run the study to its end, or snakemake {COUNTS}"


def never(job):
    return False


def always(job):
    return True


def test_what_fits_its_record_is_not_made_again(counting, rendering):
    assert not _is_out_of_date(counting, never)
    assert not _is_out_of_date(rendering, never)


@pytest.mark.parametrize("depends", [MERGED | {"n": 1000}, MERGED | {"seed": 7}, {"code": "1"}])
def test_what_was_made_for_other_settings_is_made_again(counting, depends):
    job = a_job("merge_counts", counting.input, counting.output, depends)
    assert _is_out_of_date(job, always)


def test_of_what_is_not_there_only_what_is_cheap_is_made_again(counting):
    Path(COUNTS).unlink()
    assert not _is_out_of_date(a_job("merge_counts", [], [COUNTS], {}), never)
    assert not _is_out_of_date(
        a_job("certify", counting.input, [COUNTS], {"protocol": 1, "code": "1"}), never
    )
    assert _is_out_of_date(counting, always)
    put(COUNTS, "counts")
    beside = COUNTS.replace(".parquet", ".json")  # of a dear result, one of two files
    for n, again in ((100, False), (1000, True)):
        partly = a_job("merge_counts", counting.input, [COUNTS, beside], MERGED | {"n": n})
        partly.params.depends |= {"protocol": 1}
        record_path(COUNTS).write_text(
            json.dumps(
                json.loads(record_path(COUNTS).read_text()) | {"depends": MERGED | {"protocol": 1}}
            )
        )
        assert _is_out_of_date(partly, never) == again
    Path(COUNTS).unlink()
    Path(counting.input[0]).unlink()  # as where the votes have been removed
    assert not _is_out_of_date(counting, always)


def test_other_files_under_other_names_are_other_inputs(counting):
    def reading(*inputs):
        return a_job("merge_counts", list(inputs), [COUNTS], MERGED)

    votes, mine = counting.input
    put("moved.pt", "weights")
    assert not _is_out_of_date(reading(votes, "moved.pt"), never)
    put("other.pt", "sthgiew")
    os.utime("other.pt", ns=(1, 1))
    assert _is_out_of_date(reading(votes, "other.pt"), always)
    assert _is_out_of_date(reading(votes, "absent.pt"), always)
    put("results/s/counts/f/votes.parquet", "votes")
    assert _is_out_of_date(reading("results/s/counts/f/votes.parquet", mine), always)
    assert not _is_out_of_date(reading(votes), never)  # one's own file may be missing
    taking = a_job("take_counts", ["deposit.tar.gz"], [COUNTS], MERGED)  # what a deposit brought
    assert not _is_out_of_date(taking, never)


def test_a_file_that_is_replaced_while_a_job_reads_it_leaves_no_result(counting):
    before = contents(counting)
    os.utime("mine.pt", ns=(1, 1))
    write_records(counting, before)
    record = record_path(COUNTS).read_text()
    replace("mine.pt", "sthgiew")
    with pytest.raises(ValueError, match="^mine.pt was replaced while this job read it; run again"):
        write_records(counting, before)
    assert not Path(COUNTS).exists()
    assert record_path(COUNTS).read_text() == record


@pytest.mark.parametrize("record", ["", "{", "[]", '{"rule": "x"}', None])
@pytest.mark.parametrize(
    ("depends", "remembered", "again"),
    [(MERGED, never, True), (MERGED, always, False), ({"protocol": 1, "code": "1"}, never, False)],
)
def test_without_a_record_only_what_is_cheap_and_not_remembered_is_made_again(
    counting, record, depends, remembered, again
):
    if record is None:
        record_path(COUNTS).unlink()
    else:
        record_path(COUNTS).write_text(record)
    assert _is_out_of_date(a_job("m", counting.input, [COUNTS], depends), remembered) == again


def test_a_file_of_the_user_s_own_is_known_by_its_content(counting):
    os.utime("mine.pt", ns=(1, 1))
    assert not _is_out_of_date(counting, never)
    known = json.loads(record_path(COUNTS).read_text())["sources"]["mine.pt"]
    assert known["state"][1] == 1  # not read again the next time
    assert fault(COUNTS) is None
    replace("mine.pt", "sthgiew")
    assert _is_out_of_date(counting, always)
    assert fault(COUNTS) == f"{COUNTS} was made from another mine.pt; run the study again"
    Path("mine.pt").unlink()  # the results stay where the data are not
    assert not _is_out_of_date(counting, never)
    assert fault(COUNTS) is None


def plan_while(job, happens, monkeypatch):
    """Tell whether a job is planned where something happens just after its own file was read."""
    todo = [happens]

    def read(path):
        content = sha256(path)
        while todo:
            todo.pop()()
        return content

    os.utime("mine.pt", ns=(1, 1))  # so that it is read
    monkeypatch.setattr(records, "sha256", read)
    planned = _is_out_of_date(job, never)
    assert todo == []
    return planned


def test_the_record_of_a_job_that_ends_while_another_run_is_planned_stays(counting, monkeypatch):
    def end():
        put(COUNTS, "other counts")
        write_records(counting)

    assert not plan_while(counting, end, monkeypatch)
    assert fault(COUNTS) is None


def test_a_file_that_is_replaced_while_a_run_is_planned_is_noticed_by_the_next(
    counting, monkeypatch
):
    assert not plan_while(counting, lambda: put("mine.pt", "sthgiew"), monkeypatch)
    assert _is_out_of_date(counting, never)


def test_a_folder_of_the_user_s_own_is_known_by_what_is_in_it(counting):
    put("images/a/1.png", "one")
    put("images/b/2.png", "two")
    files = {"images": "images"}
    job = a_job("prepare_data_own", [], ["results/s/data/own/test.npz"], {"protocol": 1},
                files=files)  # fmt: skip
    put(job.output[0], "pack")
    write_records(job)
    assert not _is_out_of_date(job, never)
    os.utime("images/a/1.png", ns=(1, 1))
    assert not _is_out_of_date(job, never)
    put("images/a/1.png", "eno")
    assert _is_out_of_date(job, never)
    put("images/a/1.png", "one")
    assert not _is_out_of_date(job, never)
    put("images/b/3.png", "")
    assert _is_out_of_date(job, never)


def test_a_script_that_does_not_say_what_its_result_depends_on_has_no_record():
    job = SimpleNamespace(rule="r", input=[], output=[COUNTS], params=SimpleNamespace())
    check_inputs(job)
    write_records(job)
    assert not record_path(COUNTS).exists()
