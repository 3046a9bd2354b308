"""Any work is resumed in one way: alone, where it was, and never on top of something else."""

import logging
import threading
import time

import pytest

from dds.progress import Interrupted
from jobs.lock import Locked
from jobs.work import begun_on, resume

IDENTITY = {"sigma": 0.25, "models": {"unet": {"std": [0.5]}}}


def never():
    return False


@pytest.fixture
def begin(tmp_path):
    """A function that goes on with the work of one result."""

    def begin(identity=IDENTITY, every=3600.0, **options):
        return resume(tmp_path / "result.pt", identity, every=every, stop=never, **options)

    return begin


def test_the_state_of_the_last_job_is_gone_on_from(begin):
    with begin() as work:
        assert work.state is None
        work.save(b"half", iterations=5)
    with begin() as work:
        assert work.state == b"half"
        assert work.earlier("iterations") == 5
        assert work.record()["starts"] == 2


def test_the_device_that_work_was_begun_on_is_known_before_it_goes_on(begin, tmp_path):
    output = tmp_path / "result.pt"
    assert begun_on(output) is None
    with begin(IDENTITY | {"device": "NVIDIA H100"}) as work:
        work.save(b"half")
    assert begun_on(output) == "NVIDIA H100"
    with begin() as work:
        work.save(b"half")
    assert begun_on(output) is None
    output.with_suffix(".checkpoint").write_bytes(b"PK")
    assert begun_on(output) is None


def test_time_adds_up_over_jobs(begin):
    with begin() as work:
        time.sleep(0.01)
        work.save(b"half")
    with begin() as work:
        assert work.record()["seconds"] >= 0.01


def test_other_work_lying_there_is_said_in_one_line_and_not_used(begin, caplog):
    with begin() as work:
        work.save(b"half")
    mended = {"sigma": 0.25, "models": {"unet": {"std": [0.4]}}}
    with caplog.at_level(logging.WARNING), begin(mended) as work:
        assert work.state is None
    (line,) = caplog.messages
    assert line.endswith("has another models.unet.std: [0.5], not [0.4]; the work starts over")


def test_what_is_done_is_forgotten(begin, tmp_path):
    with begin() as work:
        work.save(b"half")
        work.forget()
    assert list(tmp_path.iterdir()) == []


def test_a_second_job_waits_and_then_goes_on(begin, tmp_path):
    order, first = [], begin()
    work = first.__enter__()

    def second():
        with begin() as other:
            order.append(other.state)

    waiting = threading.Thread(target=second)
    waiting.start()
    work.save(b"first")
    order.append("first ends")
    first.__exit__(None, None, None)
    waiting.join()
    assert order == ["first ends", b"first"]


def test_whoever_waits_can_be_stopped(begin, tmp_path):
    waiting = resume(tmp_path / "result.pt", IDENTITY, every=1.0, stop=lambda: True)
    with begin(), pytest.raises(Interrupted):
        waiting.__enter__()


def test_a_job_that_lost_its_lock_writes_nothing(begin, tmp_path):
    with begin() as work:
        (tmp_path / "result.lock").unlink()
        with pytest.raises(Locked):
            work.save(b"half")
    assert not (tmp_path / "result.checkpoint").exists()


def test_a_full_disk_stops_no_work_that_may_save_later(small_disk, fill, caplog):
    with resume(small_disk / "r.pt", IDENTITY, every=1.0, stop=never) as work:
        filling = fill(small_disk)
        with caplog.at_level(logging.WARNING):
            work.save_if_possible(b"half")
        assert "No space left on device; the last one is kept" in caplog.text
        filling.unlink()
        work.save(b"half")


def test_it_is_time_to_save_after_so_many_seconds(begin):
    with begin(every=0.0) as work:
        assert work.due()
    with begin(every=3600.0) as work:
        assert not work.due()


def test_what_killed_jobs_left_half_written_goes(begin, tmp_path):
    with begin() as work:
        work.save(b"half")
    left = [".result.abcd1234.checkpoint", ".result.a_cd1234.pt", ".result.abcd1234.json"]
    others = [".result.2.abcd1234.pt", ".other.abcd1234.pt", ".result.abcd1234.npz", "result.json"]
    for name in left + others:
        (tmp_path / name).touch()
    with begin() as work:
        assert work.state == b"half"
    assert {file.name for file in tmp_path.iterdir()} == {"result.checkpoint", *others}


def test_whoever_is_stopped_while_it_starts_begins_nothing(begin, tmp_path):
    starting = resume(tmp_path / "result.pt", IDENTITY, every=1.0, stop=lambda: True)
    with pytest.raises(Interrupted, match="before the work on .*result.pt began"):
        starting.__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_cannot_be_read_is_named_and_the_work_starts_over(begin, tmp_path, caplog):
    with begin() as work:
        work.save(b"half", iterations=5)
    with caplog.at_level(logging.WARNING), begin() as work:
        assert work.take_up(bytes.decode) == "half"
        assert work.take_up(lambda state: int(state)) is None
        assert work.state is None
        assert work.earlier("iterations") == 0
    (line,) = caplog.messages
    assert line.startswith(f"checkpoint {tmp_path / 'result.checkpoint'} cannot be read (invalid")
    assert line.endswith("; the work starts over")


def test_a_damaged_checkpoint_is_named_and_the_work_starts_over(begin, tmp_path, caplog):
    (tmp_path / "result.checkpoint").write_bytes(b"PK\x03\x04")
    with caplog.at_level(logging.WARNING), begin() as work:
        assert work.state is None
    assert caplog.messages == [
        f"checkpoint {tmp_path / 'result.checkpoint'} is damaged; the work starts over"
    ]
