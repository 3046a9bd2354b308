"""Files in a folder, a zip or a tar archive, all read in the same way."""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath


class Archive:
    """Files by their paths inside a folder or archive.

    Attributes
    ----------
    path : Path
        The folder or archive.
    names : list of str
        Paths of the files inside it, with ``/``, sorted; hidden ones are left out.
    """

    def __init__(self, path: Path, names: Iterable[str], read: Callable[[str], bytes]) -> None:
        self.path = path
        self.names = sorted(name for name in names if not _is_hidden(name))
        self._read = read

    def read(self, name: str) -> bytes:
        """Return the content of one of the files."""
        return self._read(name)

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

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`.
    ValueError
        If it is something else, or found to be damaged while it is open.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    try:
        if path.is_dir():
            yield Archive(path, _files_below(path), lambda name: (path / name).read_bytes())
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                names = [info.filename for info in file.infolist() if not info.is_dir()]
                yield Archive(path, names, file.read)
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as file:
                members = {
                    os.path.normpath(member.name): member for member in file if member.isfile()
                }
                yield Archive(path, members, lambda name: file.extractfile(members[name]).read())
        else:
            raise ValueError(f"{path} is neither a folder nor a zip or tar archive")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _files_below(path: Path) -> Iterator[str]:
    for folder, _, files in os.walk(path, followlinks=True):
        for file in files:
            yield (Path(folder) / file).relative_to(path).as_posix()


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
