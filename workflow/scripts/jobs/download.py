"""Files from the network: resumed when cut, checked, and whole before they get their name."""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dds.files import write_json
from dds.progress import Progress
from jobs.lock import hold

logger = logging.getLogger(__name__)

#: Where downloaded files are kept, once for all studies.
DOWNLOADS = Path("downloads")

_BLOCK = 1 << 20
#: Answers after which asking again is worth while.
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


class DownloadError(RuntimeError):
    """A file that could not be had, or is not what it should be."""


class _Cut(Exception):
    """The connection failed; another attempt may go on where it ended."""


def fetch(source: Mapping[str, Any], overrides: Mapping[str, str]) -> Path:
    """Download what an entry of the study names, unless it is there; return where it lies.

    Parameters
    ----------
    source : mapping
        ``url`` and, optionally, ``mirrors``, ``bytes``, ``sha256`` and ``md5``.
    overrides : mapping of str to str
        Beginnings of addresses, and what to ask instead of them.

    Returns
    -------
    Path
        ``downloads/HOST/PATH``, by the address that `source` names: another revision
        is another file, and a mirror's copy is the same one.
    """
    path = DOWNLOADS / urlsplit(source["url"]).netloc / urlsplit(source["url"]).path.lstrip("/")
    addresses = [_override(url, overrides) for url in (source["url"], *source.get("mirrors", ()))]
    checks = {name: source.get(name) for name in ("bytes", "sha256", "md5")}
    download(addresses[0], path, mirrors=addresses[1:], **checks)
    return path


def download(
    url: str,
    path: str | Path,
    *,
    mirrors: Sequence[str] = (),
    bytes: int | None = None,
    sha256: str | None = None,
    md5: str | None = None,
    attempts: int = 6,
    pause: float = 2.0,
    timeout: float = 60.0,
) -> None:
    """Download a file, or check the one that is there.

    What has arrived is kept in ``.NAME.part`` beside `path`, so that a later attempt,
    or a later call, goes on from there if the server still has the same file. `path`
    appears when the file is whole and has been checked.

    A file that nobody publishes a hash of is trusted on first use: its SHA-256 is
    recorded in ``NAME.sha256`` beside it (in the format of ``sha256sum``), and
    checked at every later call, also after `path` was deleted.

    Parameters
    ----------
    url : str
        Address: http, https or file.
    path : str or Path
        Where the file goes.
    mirrors : sequence of str, optional
        Addresses of the same file, tried in order when `url` fails.
    bytes : int, optional
        Published size.
    sha256, md5 : str, optional
        Published hashes, in hexadecimal.
    attempts : int, optional
        How often in a row an address may fail without getting any farther.
    pause : float, optional
        Seconds before the second attempt; doubled before each further one.
    timeout : float, optional
        Seconds without any data after which a connection counts as cut.

    Raises
    ------
    DownloadError
        If no address gave the right file, in one line: what went wrong at each, and
        what to do.
    """
    path = Path(path)
    wanted = {"bytes": bytes, "sha256": sha256, "md5": md5}
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold(path.with_name(f".{path.name}.lock")):
        if path.exists():
            try:
                _check(path, path, wanted)
            except DownloadError as error:
                raise DownloadError(f"{path}: {error}; delete it to download it again") from error
            return
        problems = []
        for address in (url, *mirrors):
            try:
                _download_from(address, path, wanted, attempts, pause, timeout)
                return
            except DownloadError as error:
                logger.warning("%s: %s", address, error)
                problems.append(f"{address}: {error}")
        raise DownloadError(
            f"cannot download {path.name}: {'; '.join(problems)}. Run again to go on, or put "
            f"the file at {path} yourself"
        )


def link(target: str | Path, path: str | Path) -> None:
    """Make a relative symbolic link, atomically.

    Parameters
    ----------
    target : str or Path
        The file it leads to.
    path : str or Path
        The link; one that is there is replaced.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.symlink_to(os.path.relpath(target, path.parent))
    os.replace(temporary, path)


def _override(url: str, overrides: Mapping[str, str]) -> str:
    for beginning, replacement in overrides.items():
        if url.startswith(beginning):
            return replacement + url.removeprefix(beginning)
    return url


def _download_from(
    url: str, path: Path, wanted: Mapping[str, Any], attempts: int, pause: float, timeout: float
) -> None:
    """Download from one address, check, and give the file its name."""
    partial = _Partial(path, url)
    failures, farthest, resumed = 0, partial.size, partial.size > 0
    while True:
        try:
            partial.receive(wanted["bytes"], timeout)
            _check(partial.path, path, wanted)
            break
        except _Cut as cut:
            resumed = resumed or partial.size > 0
            failures = 1 if partial.size > farthest else failures + 1
            farthest = max(farthest, partial.size)
            if failures >= attempts:
                raise DownloadError(f"{cut}, {failures} times in a row") from cut
            delay = pause * 2 ** (failures - 1)
            logger.warning("%s: %s; trying again in %.0f s", url, cut, delay)
            time.sleep(delay)
        except DownloadError as error:
            partial.discard()
            if not resumed:
                raise
            logger.warning("%s: %s; starting over", url, error)
            resumed = False  # pieces of two files may have met; whole, it gets one more try
    partial.finish(path)


class _Partial:
    """The part of a file that has arrived, and which version of the file it is part of."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path.with_name(f".{path.name}.part")
        self._notes = path.with_name(f".{path.name}.part.json")
        self._url = url

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self._version() else 0

    def receive(self, wanted_size: int | None, timeout: float) -> None:
        """Append what is missing, or start over when the server's file is another."""
        start, version = self.size, self._version()
        headers = {"User-Agent": "dds", "Accept-Encoding": "identity"}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": version}
        with self._open(headers, timeout) as response:
            self._receive(response, start, version, wanted_size)

    def _open(self, headers: Mapping[str, str], timeout: float) -> http.client.HTTPResponse:
        try:
            request = urllib.request.Request(self._url, headers=headers)
            return urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing lies beyond what is here
                self.discard()
                raise _Cut("the server's file is shorter than what had arrived") from error
            problem = f"the server answers {error.code} {error.reason}"
            raise (_Cut if error.code in _TRANSIENT else DownloadError)(problem) from error
        except (OSError, http.client.HTTPException) as error:
            raise _Cut(f"no answer ({getattr(error, 'reason', error)})") from error
        except ValueError as error:
            raise DownloadError(str(error)) from error

    def _receive(
        self, response: http.client.HTTPResponse, start: int, version: str, wanted: int | None
    ) -> None:
        found = _version_of(response)
        if start and (response.status != 206 or found != version or _first(response) != start):
            if response.status == 206:
                self.discard()
                raise _Cut("the server's file has changed")
            start = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        if None not in (total, wanted) and total != wanted:
            raise DownloadError(f"the file has {total} bytes, {wanted} are published")
        if not start:
            self.discard()
            write_json(self._notes, {"url": self._url, "version": found})
        progress = Progress(total, self._label, "bytes", done=start, scaled=True)
        with open(self.path, "ab") as file, progress:
            while block := _read(response):
                file.write(block)
                progress.advance(len(block))
        if total is not None and progress.done < total:
            raise _Cut(f"the connection was cut after {progress.done} of {total} bytes")

    @property
    def _label(self) -> str:
        return f"download {self.path.name[1:].removesuffix('.part')}"

    def _version(self) -> str | None:
        """Return the server's mark of the version that the part is of, if it can be resumed."""
        if not self.path.exists() or not self._notes.exists():
            return None
        notes = json.loads(self._notes.read_text(encoding="utf-8"))
        return notes["version"] if notes["url"] == self._url else None

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def finish(self, path: Path) -> None:
        with open(self.path, "rb") as written:
            os.fsync(written.fileno())
        os.replace(self.path, path)
        self._notes.unlink()


def _version_of(response: http.client.HTTPResponse) -> str | None:
    """Return what tells versions of a file apart; weak marks do not (RFC 9110, 13.1.5)."""
    tag = response.headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return tag
    return response.headers.get("Last-Modified")


def _first(response: http.client.HTTPResponse) -> int | None:
    """Return the position of the first byte that a partial answer holds."""
    unit, _, positions = response.headers.get("Content-Range", "").partition(" ")
    first = positions.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdigit() else None


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK)
    except TimeoutError as error:
        raise _Cut("no data for too long") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(f"the connection was cut ({error})") from error


def _check(file: Path, path: Path, wanted: Mapping[str, Any]) -> None:
    """Compare a file, to be known as `path`, with what is published or recorded of it."""
    found = _digests(file)
    record = path.with_name(f"{path.name}.sha256")
    for name in ("bytes", "sha256", "md5"):
        if wanted[name] is not None and found[name] != wanted[name]:
            raise DownloadError(
                f"wrong file: its {name} is {found[name]}, published is {wanted[name]}"
            )
    if wanted["sha256"] is not None or wanted["md5"] is not None:
        logger.info("%s: as published (sha256 %s)", path, found["sha256"])
    elif not record.exists():
        logger.info(
            "%s: trust on first use: no hash is published; its sha256 %s is recorded in %s",
            path,
            found["sha256"],
            record,
        )
        record.write_text(f"{found['sha256']}  {path.name}\n", encoding="utf-8")
    elif (recorded := record.read_text(encoding="utf-8").split()[0]) != found["sha256"]:
        raise DownloadError(
            f"wrong file: its sha256 is {found['sha256']}, recorded on first use was {recorded} "
            f"(in {record}; delete that if the change is meant)"
        )
    else:
        logger.info("%s: as on first use (sha256 %s)", path, recorded)


def _digests(path: Path) -> dict[str, Any]:
    """Return the size and the hashes of a file."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            sha256.update(block)
            md5.update(block)
    return {"bytes": path.stat().st_size, "sha256": sha256.hexdigest(), "md5": md5.hexdigest()}
