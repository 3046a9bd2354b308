"""The authors' own logs of published cells, known by their content whatever they are called.

Imports nothing heavy: Snakemake asks which logs are at hand whenever it plans.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from pathlib import Path

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
#: What line ends of Windows can add: one byte a line, and no line of a log is shorter than ten.
_GROWTH = 1.1


def find_linked_logs(links: str | Path, folder: str | Path) -> dict[str, Path]:
    """Find the logs in a folder, and those below it, that a file of links names.

    Parameters
    ----------
    links : str or Path
        A CSV file with the columns ``bytes`` and ``sha256``, as config/literature/logs.csv.
    folder : str or Path
        Where logs lie, under any names, among any other files.

    Returns
    -------
    dict of str to Path
        By the SHA-256 in `links`. A log also counts as the one that is named when it has
        gained line ends of Windows or a byte order mark, as a checkout or an editor adds them.

    Raises
    ------
    ValueError
        If `folder` is no folder, or holds no log that is named.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    with open(links, encoding="utf-8-sig", newline="") as file:
        wanted = {row["sha256"]: int(row["bytes"]) for row in csv.DictReader(file)}
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and _may_be_one_of(wanted.values(), path.stat().st_size):
            for name in _hashes(path.read_bytes()) & wanted.keys():
                found.setdefault(name, path)
    if not found:
        raise ValueError(f"{folder} holds none of the logs that {links} links, by their SHA-256")
    return found


def _may_be_one_of(sizes: Iterable[int], size: int) -> bool:
    return any(known <= size <= _GROWTH * known + len(_BYTE_ORDER_MARK) for known in sizes)


def _hashes(content: bytes) -> set[str]:
    """Return the SHA-256 of a log as it is, and as it was before Windows touched it."""
    plain = content.removeprefix(_BYTE_ORDER_MARK).replace(b"\r\n", b"\n")
    return {hashlib.sha256(text).hexdigest() for text in (content, plain)}
