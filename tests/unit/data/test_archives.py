"""Folders, zip and tar archives, as other systems and broken copies leave them."""

import gzip
import io
import os
import socket
import tarfile
import warnings
import zipfile

import pytest

from dds.data.archives import open_archive

FILES = {
    f"train/{name}/{index}.txt": f"{name}{index}".encode() * 999
    for name in ("cat", "dog")
    for index in range(4)
}


def write_tar(path, files=FILES, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_zip(path, files=FILES):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_folder(path, files=FILES):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def content_of(path):
    with open_archive(path) as archive:
        return {name: archive.read(name) for name in archive.names}


@pytest.mark.parametrize(
    "write",
    [
        write_folder,
        write_zip,
        write_tar,
        lambda path: write_tar(path, mode="w:gz"),
        lambda path: write_tar(path, mode="w:bz2"),
        lambda path: write_tar(path, mode="w:xz"),
    ],
    ids=["folder", "zip", "tar", "gz", "bz2", "xz"],
)
def test_all_forms_are_read_alike(write, tmp_path):
    assert content_of(write(tmp_path / "files")) == FILES


def end_of_a_member(path, number):
    with tarfile.open(path) as archive:
        return archive.getmembers()[number].offset


@pytest.mark.parametrize("beyond", [0, 100, 512, 700])
def test_a_tar_that_is_cut_off_is_refused(tmp_path, beyond):
    path = write_tar(tmp_path / "files.tar")
    path.write_bytes(path.read_bytes()[: end_of_a_member(path, 6) + beyond])
    with pytest.raises(ValueError, match=r"files.tar is damaged: "):
        content_of(path)


def test_a_tar_cut_off_after_a_whole_file_says_what_to_do(tmp_path):
    path = write_tar(tmp_path / "files.tar")
    cut = path.read_bytes()[: end_of_a_member(path, 6)]
    path.write_bytes(cut)
    with pytest.raises(ValueError, match=r"its end is missing; copy or download it again"):
        content_of(path)
    (tmp_path / "files.tar.gz").write_bytes(gzip.compress(cut))
    with pytest.raises(ValueError, match=r"files.tar.gz is damaged: its end is missing"):
        content_of(tmp_path / "files.tar.gz")


def test_a_tar_followed_by_something_else_than_its_end_is_refused(tmp_path):
    path = write_tar(tmp_path / "files.tar")
    path.write_bytes(path.read_bytes()[: end_of_a_member(path, 6)] + b"x" * 2048)
    with pytest.raises(ValueError, match=r"files.tar is damaged: its end is missing"):
        content_of(path)


#: So little data are one block of bz2, which is whole or nothing.
UNREADABLE = "files is (damaged: |neither a folder nor a zip or tar archive)"


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("missing", [1, 9, 60, 200])
def test_a_compressed_tar_that_is_cut_off_is_refused(tmp_path, mode, missing):
    files = {name: os.urandom(len(content)) for name, content in FILES.items()}
    path = write_tar(tmp_path / "files", files, mode)
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(ValueError, match=UNREADABLE):
        content_of(path)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_tar_with_other_bytes_is_refused(tmp_path, mode):
    files = {name: os.urandom(len(content)) for name, content in FILES.items()}
    path = write_tar(tmp_path / "files", files, mode)
    damaged = bytearray(path.read_bytes())
    for position in range(len(damaged) // 2, len(damaged) // 2 + 50):
        damaged[position] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=UNREADABLE):
        content_of(path)


def test_a_compressed_tar_with_another_checksum_is_refused(tmp_path):
    path = write_tar(tmp_path / "files.tar.gz", mode="w:gz")
    damaged = bytearray(path.read_bytes())
    damaged[-6] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"files.tar.gz is damaged: CRC check failed"):
        content_of(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "neither a folder nor a zip or tar archive, but an empty file"),
        (b"<!DOCTYPE html>", "neither a folder nor a zip or tar archive, but an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "neither .*, but a Git LFS pointer"),
        (b"7z\xbc\xaf" + bytes(99), "neither a folder nor a zip or tar archive$"),
        (b"PK\3\4" + bytes(99), "damaged: the end of a zip archive is missing"),
    ],
)
def test_what_came_in_the_place_of_an_archive_is_named(tmp_path, content, reason):
    (tmp_path / "files.zip").write_bytes(content)
    with pytest.raises(ValueError, match=f"files.zip is {reason}"):
        content_of(tmp_path / "files.zip")


def test_a_damaged_file_in_a_zip_is_named(tmp_path):
    path = write_zip(tmp_path / "files.zip")
    damaged = path.read_bytes().replace(b"cat2cat2", b"cat2cat3", 1)
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"files.zip: train/cat/2.txt cannot be read: Bad CRC"):
        content_of(path)


def test_an_encrypted_zip_is_refused(tmp_path):
    path = write_zip(tmp_path / "files.zip", {"a/1.txt": b"secret"})
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + at] |= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"files.zip: a/1.txt cannot be read: .*password"):
        content_of(path)


def test_names_from_windows_and_macos_are_those_that_were_meant(tmp_path):
    path = write_zip(
        tmp_path / "files.zip",
        {
            "train\\cat\\1.txt": b"1",
            "train\\cat\\": b"",
            "./train/cafe\u0301/2.txt": b"2",
            "train/XXXXXX/3.txt": b"3",
            "__MACOSX/train/cat/._1.txt": b"",
            "train/cat/.DS_Store": b"",
        },
    )
    # macOS writes UTF-8 without saying so.
    path.write_bytes(path.read_bytes().replace(b"XXXXXX", "cafe\u0301".encode()))
    assert content_of(path) == {
        "train/cat/1.txt": b"1",
        "train/caf\u00e9/2.txt": b"2",
        "train/caf\u00e9/3.txt": b"3",
    }


def test_letters_are_composed_in_folders_and_tars_too(tmp_path):
    files = {"cafe\u0301/1.txt": b"1"}
    for path in (write_folder(tmp_path / "files", files), write_tar(tmp_path / "f.tar", files)):
        assert content_of(path) == {"caf\u00e9/1.txt": b"1"}


def test_two_files_of_one_name_are_refused_unless_one_replaces_the_other(tmp_path):
    folder = write_folder(tmp_path / "files", {"cafe\u0301.txt": b"1", "caf\u00e9.txt": b"2"})
    with pytest.raises(ValueError, match="files holds two files caf\u00e9.txt"):
        content_of(folder)
    path = write_tar(tmp_path / "files.tar", {"a.txt": b"old"})
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("a.txt")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"new"))
    assert content_of(path) == {"a.txt": b"new"}
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "files.zip", "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("a.txt", b"old")
        archive.writestr("a.txt", b"new")
    assert content_of(tmp_path / "files.zip") == {"a.txt": b"new"}


@pytest.fixture
def oddities(tmp_path):
    """A folder with a pipe, a socket and a link to nowhere beside a file."""
    folder = write_folder(tmp_path / "files", {"a/1.txt": b"1"})
    os.mkfifo(folder / "a" / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(folder / "a" / "socket.txt"))  # long paths are refused
        (folder / "a" / "nowhere.txt").symlink_to("missing.txt")
        (folder / "a" / "itself.txt").symlink_to("itself.txt")
        yield folder


@pytest.mark.parametrize("name", ["pipe", "socket", "nowhere", "itself"])
def test_what_is_no_file_is_refused_when_it_is_read(oddities, name):
    with open_archive(oddities) as archive:
        assert archive.read("a/1.txt") == b"1"
        with pytest.raises(
            ValueError, match=rf"a/{name}.txt cannot be read: .*no regular file|loop"
        ):
            archive.read(f"a/{name}.txt")


def test_what_is_no_file_is_no_archive(oddities):
    for name in ("pipe", "socket"):
        with pytest.raises(ValueError, match=rf"{name}.txt is neither a folder nor a zip or tar"):
            content_of(oddities / "a" / f"{name}.txt")


def test_pipes_and_devices_in_a_tar_are_left_out(tmp_path):
    path = write_tar(tmp_path / "files.tar", {"a/1.txt": b"1"})
    with tarfile.open(path, "a") as archive:
        for kind in (tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE):
            member = tarfile.TarInfo(f"a/{kind.decode()}.txt")
            member.type = kind
            archive.addfile(member)
    assert content_of(path) == {"a/1.txt": b"1"}


def test_links_in_a_tar_are_followed(tmp_path):
    path = write_tar(tmp_path / "files.tar", {"a/1.txt": b"1"})
    links = {
        "b/hard.txt": (tarfile.LNKTYPE, "a/1.txt"),
        "b/soft.txt": (tarfile.SYMTYPE, "../a/1.txt"),
        "c/nowhere.txt": (tarfile.SYMTYPE, "missing.txt"),
        "c/itself.txt": (tarfile.SYMTYPE, "itself.txt"),
        "c/folder.txt": (tarfile.SYMTYPE, "folder"),
    }
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("c/folder")
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
        for name, (kind, target) in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    with open_archive(path) as archive:
        assert archive.read("b/hard.txt") == archive.read("b/soft.txt") == b"1"
        for name in ("nowhere", "itself", "folder"):
            with pytest.raises(ValueError, match=rf"files.tar: c/{name}.txt cannot be read: "):
                archive.read(f"c/{name}.txt")


def test_folders_in_a_loop_are_read_once(tmp_path):
    folder = write_folder(tmp_path / "files", {"a/1.txt": b"1", "b/2.txt": b"2"})
    (folder / "a" / "here").symlink_to(".")
    (folder / "a" / "up").symlink_to("..")
    (folder / "b" / "beyond").symlink_to(tmp_path)
    (folder / "again").symlink_to("a")
    assert content_of(folder) == {"a/1.txt": b"1", "again/1.txt": b"1", "b/2.txt": b"2"}
    (tmp_path / "link").symlink_to(folder)
    assert content_of(tmp_path / "link") == content_of(folder)


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "files")
    list_folder = os.scandir

    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return list_folder(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="dog"):
        content_of(folder)


def test_a_file_is_found_by_the_end_of_its_path(tmp_path):
    with open_archive(write_folder(tmp_path / "files")) as archive:
        assert archive.find("cat/1.txt") == "train/cat/1.txt"
        with pytest.raises(ValueError, match=r"files holds 2 files 1.txt, there must be one"):
            archive.find("1.txt")
