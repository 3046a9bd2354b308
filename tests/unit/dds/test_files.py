"""Files are whole or absent, and whoever the umask lets may read them."""

import os

import pytest

from dds.files import atomic_path, remove_leftovers


@pytest.fixture
def umask():
    """The umask of this process, as it was found after the test."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def write(path):
    with atomic_path(path) as temporary:
        temporary.write_text("counts")


def test_whom_the_umask_lets_read_may_read(tmp_path, umask):
    for mask, mode in ((0o022, 0o644), (0o027, 0o640), (0o002, 0o664)):
        os.umask(mask)
        write(tmp_path / "counts.txt")
        assert (tmp_path / "counts.txt").stat().st_mode & 0o777 == mode


def test_the_umask_is_never_another_meanwhile(tmp_path, umask, monkeypatch):
    """Threads have one umask between them: what one sets, another may take for the user's."""
    asked = []
    monkeypatch.setattr(os, "umask", lambda mask: asked.append(mask) or 0o022)
    write(tmp_path / "counts.txt")
    assert asked == []


def test_what_killed_processes_have_left_is_removed(tmp_path):
    path = tmp_path / "counts.txt"
    begun = atomic_path(path)
    left = begun.__enter__()
    earlier = tmp_path / ".counts.k3_x90ab.txt"  # as versions before named it
    others = [tmp_path / name for name in ("counts.txt", ".counts.txt", ".other.0123abcd.txt")]
    for file in (earlier, *others):
        file.touch()
    remove_leftovers(path)
    assert not left.exists()
    assert set(tmp_path.iterdir()) == set(others)
