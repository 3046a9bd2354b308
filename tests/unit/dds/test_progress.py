"""How far work has come is said rightly, from its first unit to its last line."""

import itertools
import logging

import pytest

from dds import progress
from dds.progress import Progress, current


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


def test_rate_and_time_left_leave_out_what_precedes_the_first_unit(clock):
    with Progress(1000, "work", "samples", done=100) as work:
        assert (work.rate, work.seconds_left) == (None, None)
        clock.now = 70  # seconds of compiling
        work.advance(100)
        clock.now = 80
        assert work.rate == pytest.approx(100 / 80)  # the best that is known
        work.advance(100)
        assert work.rate == pytest.approx(10)
        assert work.seconds_left == pytest.approx(70)
    assert current() is work


def test_a_whole_that_is_learnt_on_the_way_ends_at_all(clock, caplog):
    with caplog.at_level(logging.INFO), Progress(None, "work", "samples") as work:
        for total in (None, 400, 300):
            clock.now += 20
            work.advance(100, total=total)
    assert work.seconds_left == 0
    assert caplog.messages[-1].startswith("work: 100%")
    assert " 300/300 " in caplog.messages[-1]


def test_a_line_in_the_log_only_now_and_then(clock, caplog):
    with caplog.at_level(logging.INFO), Progress(100, "work", "images") as work:
        for now in itertools.islice(itertools.count(), 100):
            clock.now = now
            work.advance(1)
    assert len(caplog.messages) == 4  # after 30, 60 and 90 seconds, and at the end
