"""Files from the network: resumed when cut, checked, and whole before they get their name."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import logging
import netrc
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from os.path import isfile  # whatever the name: Path's raises where it is too long
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urlsplit

from dds.files import atomic_path, write_json
from dds.origins import beginning_of, came_instead, digest, file_name, public
from dds.progress import Progress
from jobs.lock import hold

logger = logging.getLogger(__name__)

#: Where downloaded files are kept, once for all studies.
DOWNLOADS = Path("downloads")

_BLOCK = 1 << 20
#: Bytes after which what has arrived is made sure of, so that a killed job loses no more.
_SURE = 64 << 20
#: Answers after which asking again is worth while.
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
#: What to do after other answers.
_CURES = {
    401: "it wants a login: set HF_TOKEN for the Hugging Face hub, or write it into ~/.netrc",
    403: "your login may not have it: accept its terms on its page, or check your token",
    404: "no such file: check the address, and the revision in it",
    410: "no such file any more: check the address",
}


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
        ``downloads/HOST@DIGEST/NAME``, by the whole address that `source` names: each
        address has a file of its own, and a mirror's copy is the same one. A file that lies
        at ``downloads/HOST/PATH``, where earlier versions kept it, stays there.

    Raises
    ------
    DownloadError
        As in `download`.
    """
    if DOWNLOADS.is_symlink() and not DOWNLOADS.exists():
        raise DownloadError(
            f"{DOWNLOADS} is a link to {os.readlink(DOWNLOADS)}, where there is nothing; make that "
            "folder, or remove the link"
        )
    checks = {name: source.get(name) for name in ("bytes", "sha256", "md5")}
    path = _place(source["url"], checks)
    addresses = [_override(url, overrides) for url in (source["url"], *source.get("mirrors", ()))]
    download(addresses[0], path, mirrors=addresses[1:], **checks)
    return path


def _place(url: str, published: Mapping[str, Any]) -> Path:
    """Return where the file of an address lies.

    No host has an @ in it, so no place of earlier versions is one of these.
    """
    parts = urlsplit(url)
    host = re.sub("[^A-Za-z0-9_.-]", "_", parts.hostname or parts.scheme)
    path = DOWNLOADS / f"{host}@{digest(url)}" / file_name(url)
    earlier = _earlier_place(url)
    if earlier is None or path.exists() or _record_of(path).exists():
        return path
    if parts.query:  # addresses that differ in it shared a place, so the content must tell
        is_there = isfile(earlier) and _is_hashed(published) and _is_right(earlier, published)
    else:
        is_there = isfile(earlier) or isfile(_record_of(earlier))
    return earlier if is_there else path


def _earlier_place(url: str) -> Path | None:
    """Return where earlier versions kept the file of an address, if that was a place of its own."""
    parts = urlsplit(url)
    names = parts.path.split("/")[1:]
    is_own = (
        parts.scheme in ("http", "https")
        and "@" not in parts.netloc
        and all(not name.startswith(".") for name in (parts.netloc, *names))
        and not parts.path.endswith(("/", ".sha256"))
    )
    return DOWNLOADS.joinpath(parts.netloc, *names) if is_own and parts.netloc else None


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

    What has arrived is kept in ``.NAME.part`` beside `path`, with its SHA-256, so that a
    later attempt, or a later call, goes on from there if it is undamaged and the server
    still has the same file. `path` appears when the file is whole and has been checked.

    A file that nobody publishes a hash of is trusted on first use: its SHA-256 is
    recorded in ``NAME.sha256`` beside it (in the format of ``sha256sum``), and
    checked at every later call, also after `path` was deleted. Nothing that is empty, a
    page of HTML or a pointer to a file is trusted.

    Logins are those of ``~/.netrc``, or of the file that the environment variable NETRC
    names; the Hugging Face hub is told HF_TOKEN. Queries of addresses, which may hold
    secrets, are in no message.

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
        if path.exists() and not _remove_stand_in(path, wanted):
            try:
                _trust(path, _check(path, path, wanted), wanted)
            except DownloadError as error:
                raise DownloadError(f"{path}: {error}; delete it to download it again") from error
            return
        problems = []
        for address in (url, *mirrors):
            try:
                _download_from(address, path, wanted, attempts, pause, timeout)
                return
            except DownloadError as error:
                logger.warning("%s: %s", public(address), error)
                problems.append(f"{public(address)}: {error}")
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
        The link; one that is there is replaced. Its folder may lie behind a link.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.symlink_to(os.path.relpath(Path(target).absolute(), path.parent.resolve()))
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
    part = _Part(path, url)
    failures, farthest, resumed = 0, part.size, part.size > 0
    while True:
        try:
            part.receive(wanted["bytes"], _is_hashed(wanted), timeout)
            sha256 = _check(part.path, path, wanted)
            break
        except _Cut as cut:
            resumed = resumed or part.size > 0
            failures = 1 if part.size > farthest else failures + 1
            farthest = max(farthest, part.size)
            if failures >= attempts:
                raise DownloadError(f"{cut}, {failures} times in a row") from cut
            delay = pause * 2 ** (failures - 1)
            logger.warning("%s: %s; trying again in %.0f s", public(url), cut, delay)
            time.sleep(delay)
        except DownloadError as error:
            part.discard()
            if not resumed:
                raise
            logger.warning("%s: %s; starting over", public(url), error)
            resumed = False  # pieces of two files may have met; whole, it gets one more try
    part.finish(path)
    _trust(path, sha256, wanted)


class _Part:
    """The part of a file that has arrived, and notes on what it is the part of.

    The notes say how many bytes are surely on the disk, and their SHA-256: whatever a crash
    has made of the part, no more than these bytes are gone on from, and only if they are
    still the same.

    Attributes
    ----------
    size : int
        Bytes that have arrived and can be gone on from.
    """

    def __init__(self, path: Path, url: str) -> None:
        self.path = path.with_name(f".{path.name}.part")
        self._notes = path.with_name(f".{path.name}.part.json")
        self._url = url
        self._forget()
        self._recall()

    def receive(self, published: int | None, is_hashed: bool, timeout: float) -> None:
        """Append what is missing, or start over when the server's file is another."""
        if self.size and self.size == self._total:
            return
        with self._open(timeout) as response:
            self._agree(response)
            total = self._total
            if None not in (total, published) and total != published:
                raise DownloadError(f"the file has {total} bytes, {published} are published")
            most = published if total is None else total
            if most is None and not is_hashed and not _is_chunked(response):
                raise _Cut(
                    "the server does not say how long the file is, so that a cut would go "
                    "unnoticed; give bytes or sha256 in its entry"
                )
            try:
                self._append(response, most)
                if total is not None and self.size < total:
                    raise _Cut(f"the connection was cut after {self.size} of {total} bytes")
            except _Cut:
                if self._version is None:
                    self.discard()
                raise

    def discard(self) -> None:
        """Remove what has arrived."""
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)
        self._forget()

    def finish(self, path: Path) -> None:
        """Give the whole file its name."""
        with open(self.path, "rb") as written:
            os.fsync(written.fileno())
        os.replace(self.path, path)
        self._notes.unlink(missing_ok=True)

    def _forget(self) -> None:
        self.size, self._version, self._total = 0, None, None
        self._sha256 = hashlib.sha256()

    def _recall(self) -> None:
        """Take up what an earlier job has left, if it can be gone on from and is undamaged."""
        try:
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
            size, version, wanted = notes["bytes"], notes["version"], notes["sha256"]
            is_of_it = notes["address"] == digest(self._url)
            if not (is_of_it and isinstance(size, int) and isinstance(version, str)):
                return
            found = hashlib.sha256()
            with open(self.path, "rb") as file:
                for block in _blocks(file, size):
                    found.update(block)
        # Whatever a crash has left in place of the notes, there is nothing to go on from.
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return
        if found.hexdigest() == wanted:
            self.size, self._sha256 = size, found
            self._version, self._total = version, notes.get("total")

    def _save(self, file: BinaryIO) -> None:
        file.flush()
        os.fsync(file.fileno())
        notes = {"address": digest(self._url), "version": self._version, "total": self._total}
        write_json(self._notes, notes | {"bytes": self.size, "sha256": self._sha256.hexdigest()})

    def _open(self, timeout: float) -> http.client.HTTPResponse:
        headers = {"User-Agent": "dds", "Accept-Encoding": "identity"}
        if self.size:  # which is gone on from where there is a mark of its version
            headers |= {"Range": f"bytes={self.size}-", "If-Range": self._version}
        _check_local(self._url)
        try:
            request = urllib.request.Request(self._url, headers=headers)
            return urllib.request.build_opener(_Logins).open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing lies beyond what is here
                self.discard()
                raise _Cut("the server's file is shorter than what had arrived") from error
            raise (_Cut if error.code in _TRANSIENT else DownloadError)(_answer(error)) from error
        except (http.client.InvalidURL, UnicodeError) as error:  # their text may hold the query
            raise DownloadError("the address, or one that it leads to, is none") from error
        except (OSError, OverflowError, http.client.HTTPException) as error:
            raise _Cut(f"no answer ({getattr(error, 'reason', error)})") from error
        except ValueError as error:
            raise DownloadError(str(error).replace(self._url, "it")) from error

    def _agree(self, response: http.client.HTTPResponse) -> None:
        """Make sure that the answer goes on with what has arrived, or start over."""
        version, (first, total) = _version_of(response), _extent(response)
        if response.status == 206:
            is_same = not self.size or (version == self._version and total == self._total)
            if first != self.size or not is_same:
                self.discard()
                raise _Cut("the server's file has changed")
        else:
            self.discard()
        self._version, self._total = version, total

    def _append(self, response: http.client.HTTPResponse, most: int | None) -> None:
        label = f"download {self.path.name[1:].removesuffix('.part')}"
        progress = Progress(self._total, label, "bytes", done=self.size, scaled=True)
        try:
            with open(self.path, "r+b" if self.size else "wb") as file, progress:
                file.truncate(self.size)
                file.seek(self.size)
                try:
                    self._fill(file, response, most, progress)
                finally:
                    self._save(file)
        except OSError as error:  # the disk's; writing does not name the file
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def _fill(
        self,
        file: BinaryIO,
        response: http.client.HTTPResponse,
        most: int | None,
        progress: Progress,
    ) -> None:
        saved = self.size
        while block := _read(response):
            if most is not None and self.size + len(block) > most:
                raise DownloadError(f"the server does not stop at the {most} bytes of the file")
            file.write(block)
            self._sha256.update(block)
            self.size += len(block)
            progress.advance(len(block))
            if self.size - saved >= _SURE:
                self._save(file)
                saved = self.size


class _Logins(urllib.request.BaseHandler):
    """Tells each host, also one that an address leads to, its own login and nobody else's."""

    def http_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Add a login to a request, which is not taken along to where it leads."""
        parts = urlsplit(request.full_url)
        if login := _login(parts.hostname or "", is_secure=parts.scheme == "https"):
            request.add_unredirected_header("Authorization", login)
        return request

    https_request = http_request


def _login(host: str, *, is_secure: bool) -> str | None:
    """Return how the user of this machine introduces himself to a host, if at all."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if token and host == "huggingface.co" and is_secure:
        return f"Bearer {token}"
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(host)
    except FileNotFoundError:
        return None
    except (OSError, netrc.NetrcParseError, UnicodeError) as error:
        raise DownloadError(f"~/.netrc cannot be read: {error}") from error
    if found is None:
        return None
    name, account, password = found
    return "Basic " + base64.b64encode(f"{name or account}:{password}".encode()).decode()


def _check_local(url: str) -> None:
    """Refuse a file of this machine that is none; a pipe would never end, nor a device."""
    if urlsplit(url).scheme == "file":
        path = Path(urllib.request.url2pathname(urlsplit(url).path))
        if not path.is_file():
            raise DownloadError(f"there is no file {path}")


def _answer(error: urllib.error.HTTPError) -> str:
    """Say what a server answers, in one line, and what to do."""
    # The Hugging Face hub says in a header what is wrong: no such revision, a gated model.
    words = f"{error.reason} {error.headers.get('X-Error-Message', '') if error.headers else ''}"
    words = " ".join("".join(c if c.isprintable() else " " for c in words).split())[:300]
    cure = _CURES.get(error.code)
    return f"the server answers {error.code} {words}" + (f" ({cure})" if cure else "")


def _version_of(response: http.client.HTTPResponse) -> str | None:
    """Return what tells versions of a file apart; weak marks do not (RFC 9110, 13.1.5)."""
    tag = response.headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return tag
    return response.headers.get("Last-Modified")


def _is_chunked(response: http.client.HTTPResponse) -> bool:
    """Tell whether the end of an answer is marked, whatever its length."""
    return bool(getattr(response, "chunked", False))


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Return the position of an answer's first byte, and how long the whole file is, if told."""
    length = response.headers.get("Content-Length", "").strip()
    length = int(length) if re.fullmatch("[0-9]{1,18}", length) else None
    if response.status != 206:
        return 0, None if _is_chunked(response) else length
    told = response.headers.get("Content-Range", "")
    part = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)", told.strip())
    if part is None:
        return -1, None
    first, total = part.groups()
    if total != "*":
        return int(first), int(total)
    return int(first), None if length is None else int(first) + length


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK)
    except TimeoutError as error:
        raise _Cut("no data for too long") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _Cut(f"the connection was cut ({error})") from error


def _is_hashed(published: Mapping[str, Any]) -> bool:
    return published["sha256"] is not None or published["md5"] is not None


def _remove_stand_in(path: Path, published: Mapping[str, Any]) -> bool:
    """Remove what was trusted and is surely not the file; tell whether it was such."""
    what = None if _is_hashed(published) else came_instead(beginning_of(path))
    if what is None:
        return False
    logger.warning("%s: it is %s; downloading it again", path, what)
    path.unlink()
    _record_of(path).unlink(missing_ok=True)
    return True


def _is_right(file: Path, published: Mapping[str, Any]) -> bool:
    try:
        _check(file, file, published)
    except DownloadError:
        return False
    return True


def _check(file: Path, path: Path, published: Mapping[str, Any]) -> str:
    """Compare a file, to be known as `path`, with what is published or recorded of it.

    Returns
    -------
    str
        Its SHA-256.
    """
    found, what = _inspect(file), came_instead(beginning_of(file))
    for name in ("bytes", "sha256", "md5"):
        if published[name] is not None and getattr(found, name) != published[name]:
            nature = "" if what is None else f"it is {what}, "
            raise DownloadError(
                f"wrong file: {nature}its {name} is {getattr(found, name)}, "
                f"published is {published[name]}"
            )
    if _is_hashed(published):
        return found.sha256
    if what is not None:
        raise DownloadError(
            f"wrong file: it is {what}; is the address that of a page, or does it want a login?"
        )
    recorded = _read_record(path)
    if recorded not in (None, found.sha256):
        raise DownloadError(
            f"wrong file: its sha256 is {found.sha256}, recorded on first use was {recorded} "
            f"(in {_record_of(path)}; delete that if the change is meant)"
        )
    return found.sha256


def _trust(path: Path, sha256: str, published: Mapping[str, Any]) -> None:
    """Say why a file is trusted; record its hash where nothing else tells it from others."""
    if _is_hashed(published):
        logger.info("%s: as published (sha256 %s)", path, sha256)
    elif _read_record(path) is not None:
        logger.info("%s: as on first use (sha256 %s)", path, sha256)
    else:
        record = _record_of(path)
        logger.info(
            "%s: trust on first use: no hash is published; its sha256 %s is recorded in %s",
            path,
            sha256,
            record,
        )
        with atomic_path(record) as temporary:
            temporary.write_text(f"{sha256}  {path.name}\n", encoding="utf-8")


def _record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _read_record(path: Path) -> str | None:
    """Return the SHA-256 that was recorded of a file; None if there is none, or it was torn."""
    try:
        words = _record_of(path).read_text(encoding="utf-8").split()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return words[0].lower() if words and re.fullmatch("[0-9a-fA-F]{64}", words[0]) else None


class _Found(NamedTuple):
    """The size of a file and its hashes."""

    bytes: int
    sha256: str
    md5: str


def _inspect(path: Path) -> _Found:
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    size = 0
    with open(path, "rb") as file:
        for block in _blocks(file):
            size += len(block)
            sha256.update(block)
            md5.update(block)
    return _Found(size, sha256.hexdigest(), md5.hexdigest())


def _blocks(file: BinaryIO, size: int | None = None) -> Iterator[bytes]:
    """Yield the content of a file in pieces, or so many bytes of it."""
    while block := file.read(_BLOCK if size is None else min(size, _BLOCK)):
        size = None if size is None else size - len(block)
        yield block
