"""A checkpoint is either what was saved or refused; what cannot be written harms nothing."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.checkpoints import UnusableCheckpoint, load_checkpoint, read_progress, save_checkpoint

STATE = random.Random(1).randbytes(400) + b"\n" + bytes(10)
IDENTITY = {"seed": 7, "models": {"c": {"mean": [0.5], "sha256": "abc"}}, "sigma": 0.25}
PROGRESS = {"samples": 15, "starts": 2}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "a.checkpoint"
    save_checkpoint(path, STATE, IDENTITY, PROGRESS)
    return path.read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "a.checkpoint"
    save_checkpoint(path, STATE, IDENTITY, PROGRESS)
    assert load_checkpoint(path, IDENTITY) == (STATE, PROGRESS)
    assert read_progress(path) == PROGRESS


def test_no_checkpoint_is_no_error(tmp_path):
    assert load_checkpoint(tmp_path / "none", IDENTITY) is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 8}, "seed: 7, not 8"),
        ({"sigma": 0.5}, "sigma: 0.25, not 0.5"),
        ({"extra": 1}, "extra: None, not 1"),
        (
            {"models": {"c": {"mean": [0.4], "sha256": "abc"}}},
            r"models\.c\.mean: \[0\.5\], not \[0\.4\]",
        ),
    ],
)
def test_other_work_is_refused_by_name(tmp_path, change, named):
    save_checkpoint(tmp_path / "a", STATE, IDENTITY, PROGRESS)
    with pytest.raises(UnusableCheckpoint, match=named):
        load_checkpoint(tmp_path / "a", IDENTITY | change)


@given(data=st.data())
def test_a_torn_file_is_refused(content, folder, data):
    path = folder / "torn"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(UnusableCheckpoint):
        load_checkpoint(path, IDENTITY)


@given(data=st.data())
def test_changed_bytes_are_noticed(content, folder, data):
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "changed"
    path.write_bytes(changed)
    try:
        found = load_checkpoint(path, IDENTITY)
    except UnusableCheckpoint:
        return
    assert found == (STATE, PROGRESS)


@given(foreign=st.one_of(st.binary(max_size=300), st.text(max_size=100).map(str.encode)))
def test_a_foreign_file_is_refused(folder, foreign):
    path = folder / "foreign"
    path.write_bytes(foreign)
    for read in (lambda: load_checkpoint(path, IDENTITY), lambda: read_progress(path)):
        with pytest.raises(UnusableCheckpoint):
            read()


def test_a_full_disk_leaves_the_last_checkpoint(small_disk):
    path = small_disk / "a"
    save_checkpoint(path, STATE, IDENTITY, PROGRESS)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, bytes(800_000), IDENTITY, PROGRESS)
    assert load_checkpoint(path, IDENTITY)[1] == PROGRESS
    assert [file.name for file in small_disk.iterdir()] == ["a"]
