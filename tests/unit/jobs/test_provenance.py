"""Where a result comes from is summed up over its parts."""

from jobs.provenance import summarize


def record(**changes):
    return {
        "images": "images_00000-00009", "sigma": 0.25, "device": "A", "samples": 10,
        "seconds": 1.5, "started": "2026-01-02T00:00:00", "finished": "2026-01-02T01:00:00",
    } | changes  # fmt: skip


def test_records_that_are_read_one_by_one_are_summed_up():
    summary = summarize(iter([
        record(),
        record(started="2026-01-01T00:00:00"),
        record(sigma=0.5, device="B", samples=5, finished="2026-01-03T00:00:00"),
    ]))  # fmt: skip
    assert summary == {
        "parts": 3, "samples": 25, "seconds": 4.5, "device": ["A", "B"],
        "seconds_by_sigma": {"0.25": 3.0, "0.5": 1.5},
        "started": "2026-01-01T00:00:00", "finished": "2026-01-03T00:00:00",
    }  # fmt: skip
