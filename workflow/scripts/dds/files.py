"""Files that are either whole or absent."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block succeeds.

    The temporary file lies in the folder of `path`, so that the final rename
    never crosses a file system; it is flushed to disk before the rename. When
    the block raises, the temporary file is removed and `path` is untouched.

    Parameters
    ----------
    path : str or Path
        Where the finished file goes; its folder is made if it is missing.

    Yields
    ------
    Path
        The name to write to, with the same suffix as `path`.

    Raises
    ------
    OSError
        If the folder cannot be made or written to, or the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "counts.txt")
    >>> with atomic_path(path) as temporary:
    ...     _ = temporary.write_text("980 of 1000")
    ...     path.exists()
    False
    >>> path.read_text()
    '980 of 1000'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.stem}.{secrets.token_hex(4)}{path.suffix}"
    # Whom the umask lets read the result, the system decides: mkstemp hides it from the group, and
    # to ask for the umask is to change it for all threads.
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def parquet_path(path: str | Path) -> Path:
    """Return the path of a parquet file that is to be written, if that is what its name says.

    Raises
    ------
    ValueError
        If it does not end in .parquet, or there is a folder.

    Examples
    --------
    >>> parquet_path("votes.csv")
    Traceback (most recent call last):
    ValueError: votes.csv must end in .parquet, the format that is written; take votes.parquet
    """
    try:
        path = Path(path)
    except TypeError:
        raise ValueError(f"{path!r} is no path; name a file that ends in .parquet") from None
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file in it, such as votes.parquet")
    if path.suffix != ".parquet":
        instead = path.with_suffix(".parquet") if path.name else "votes.parquet"
        raise ValueError(f"{path} must end in .parquet, the format that is written; take {instead}")
    return path


def remove_leftovers(path: str | Path) -> None:
    """Remove what `atomic_path` left of a file when processes were killed.

    For whoever alone writes the file: what another process is writing goes, too.

    Parameters
    ----------
    path : str or Path
        The file, as `atomic_path` was given it.
    """
    path = Path(path)
    left = re.compile(rf"\.{re.escape(path.stem)}\.[a-z0-9_]{{8}}{re.escape(path.suffix)}")
    for other in path.parent.iterdir():
        if left.fullmatch(other.name):
            other.unlink(missing_ok=True)


def write_json(path: str | Path, value: object) -> None:
    """Write a value as indented JSON, atomically.

    Parameters
    ----------
    path : str or Path
        The file; see `atomic_path`.
    value : object
        What JSON can hold: mappings, lists, text, numbers.

    Raises
    ------
    TypeError
        If JSON cannot hold the value; the file is then untouched.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file.

    Parameters
    ----------
    path : str or Path
        The file; it is read in pieces, so it may be large.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "empty")
    >>> path.touch()
    >>> sha256(path)[:16]
    'e3b0c44298fc1c14'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
