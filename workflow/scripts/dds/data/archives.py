"""Files in a folder, a zip or a tar archive, all read in the same way."""

from __future__ import annotations

import lzma
import os
import posixpath
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

from dds.origins import beginning_of, came_instead

Stored = TypeVar("Stored")

#: What is raised on damaged archives; of the OSErrors, those without a number.
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)


class Archive(Generic[Stored]):
    """Files by their paths inside a folder or archive.

    Parameters
    ----------
    path : Path
        The folder or archive.
    files : iterable of (str, object)
        The name of each file inside it, and what `read` wants to read that file.
    read : callable
        Returns the content of a file.

    Attributes
    ----------
    path : Path
        The folder or archive.
    names : list of str
        Paths of the files inside it, as `plain_name` writes them, sorted; hidden files and
        macOS's notes on files are left out.

    Raises
    ------
    ValueError
        If the plain names of two files are the same.
    """

    def __init__(
        self, path: Path, files: Iterable[tuple[str, Stored]], read: Callable[[Stored], bytes]
    ) -> None:
        self.path = path
        self._read = read
        self._files: dict[str, Stored] = {}
        written: dict[str, str] = {}
        for name, file in files:
            plain = plain_name(name)
            if _is_hidden(plain):
                continue
            if written.setdefault(plain, name) != name:
                raise ValueError(f"{path} holds two files {plain}")
            self._files[plain] = file  # as when unpacked, the last of one name wins
        self.names = sorted(self._files)

    def read(self, name: str) -> bytes:
        """Return the content of one of the files.

        Raises
        ------
        ValueError
            If it is damaged, or no regular file.
        """
        file = self._files[name]
        try:
            return self._read(file)
        except Exception as error:  # every format has its own ways to be damaged
            raise ValueError(f"{self.path}: {name} cannot be read: {error}") from error

    def find(self, file: str) -> str:
        """Return the one name that ends in `file`.

        Raises
        ------
        ValueError
            If there is none, or more than one.
        """
        ending = PurePosixPath(file).parts
        found = [name for name in self.names if PurePosixPath(name).parts[-len(ending) :] == ending]
        if len(found) != 1:
            raise ValueError(f"{self.path} holds {len(found)} files {file}, there must be one")
        return found[0]


@contextmanager
def open_archive(path: str | Path) -> Iterator[Archive]:
    """Open a folder, a zip or a tar archive, compressed or not.

    Links are followed, but for those that lead back to a folder above them. Of a tar archive,
    devices and pipes are left out.

    Parameters
    ----------
    path : str or Path
        What it is, is told from its content.

    Yields
    ------
    Archive
        To be read within the block.

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    ValueError
        If it is something else, damaged, or cut off.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(_opener(path)(path))
        except _DAMAGE as error:
            if getattr(error, "errno", None) is not None:  # the disk's, and it names the file
                raise
            raise ValueError(f"{path} is damaged: {error}") from error
        yield archive


def plain_name(name: str) -> str:
    r"""Return a path inside an archive as it is compared: relative, with its letters composed.

    macOS writes é as the letter e and an accent, which is another text for the same name.

    Examples
    --------
    >>> plain_name("./train//cat/1.png")
    'train/cat/1.png'
    >>> plain_name("cafe\u0301") == "caf\u00e9"
    True
    """
    plain = posixpath.normpath(unicodedata.normalize("NFC", name)).lstrip("/")
    return "" if plain == "." else plain


def _opener(path: Path) -> Callable[[Path], AbstractContextManager[Archive]]:
    """Return what opens a path, by what it is; opening a pipe would wait for ever."""
    if path.is_dir():
        return _folder
    if path.is_file() and zipfile.is_zipfile(path):
        return _zip
    if path.is_file() and tarfile.is_tarfile(path):
        return _tar
    if path.is_file():
        beginning = beginning_of(path)
        if what := came_instead(beginning):
            raise ValueError(f"{path} is neither a folder nor a zip or tar archive, but {what}")
        if beginning.startswith(b"PK\3\4"):
            raise ValueError(f"{path} is damaged: the end of a zip archive is missing")
    raise ValueError(f"{path} is neither a folder nor a zip or tar archive")


@contextmanager
def _folder(path: Path) -> Iterator[Archive]:
    yield Archive(path, files_below(path.resolve()), _read_file)


@contextmanager
def _zip(path: Path) -> Iterator[Archive]:
    with zipfile.ZipFile(path) as file:
        yield Archive(path, _zipped_files(file), file.read)


@contextmanager
def _tar(path: Path) -> Iterator[Archive]:
    with tarfile.open(path) as file:
        yield Archive(path, _tarred_files(file), lambda member: _read_member(file, member))


def files_below(top: Path) -> Iterator[tuple[str, Path]]:
    """Yield every file below a folder, with its name from there; links are followed, not back."""
    for folder, folders, files in os.walk(top, followlinks=True, onerror=_raise):
        here = Path(folder)
        folders[:] = [name for name in folders if not _leads_back(here / name)]
        for name in files:
            yield (here / name).relative_to(top).as_posix(), here / name


def _raise(error: OSError) -> None:
    raise error


def _leads_back(folder: Path) -> bool:
    return any(folder.samefile(above) for above in folder.parents)


def _read_file(path: Path) -> bytes:
    if not path.is_file():  # reading a pipe would wait for ever
        raise ValueError("it is no regular file, nor a link to one")
    return path.read_bytes()


def _zipped_files(file: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    for info in file.infolist():
        name = _zipped_name(info)
        if not name.endswith("/"):
            yield name, info


def _zipped_name(info: zipfile.ZipInfo) -> str:
    """Return a name in a zip archive as it was meant.

    Without the flag for UTF-8 a name is in code page 437; but macOS writes UTF-8 without it.
    Some programs for Windows write backslashes, which the format does not allow.
    """
    name = info.filename
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _tarred_files(file: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo]]:
    for member in file:
        if member.isfile() or member.islnk() or member.issym():
            yield member.name, member
    _check_end(file)


def _check_end(file: tarfile.TarFile) -> None:
    """Refuse a tar archive that is cut off between two files, which tarfile takes for its end."""
    file.fileobj.seek(file.offset)
    if file.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("its end is missing; copy or download it again")
    while file.fileobj.read(2**20):  # a compressed stream is checked when it is read to its end
        pass


def _read_member(file: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = file.extractfile(member)
    if content is None:
        raise ValueError("it is a link to no regular file")
    return content.read()


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
