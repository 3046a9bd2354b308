"""A download is the right file or one clear line, whatever the server does."""

import hashlib
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jobs.download import DownloadError, download, fetch, link

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = {"attempts": 4, "pause": 0.01, "timeout": 0.5}


class Server(ThreadingHTTPServer):
    """Serves `content` at every path; `behave(handler, number)` may misbehave first."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.ranges = CONTENT, '"one"', True
        self.behave = lambda handler, number: False
        self.requests = []

    def url(self, name="file.bin"):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        if not server.behave(self, len(server.requests)):
            self.answer()

    def answer(self, upto=None, length=None):
        content, start = self.server.content, 0
        wanted = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, self.server.etag)
        if wanted and same and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        self.send_header("Content-Length", str(length or len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:upto])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def only_file(folder):
    """Return the one visible file of a folder, or None."""
    (found,) = [path for path in folder.iterdir() if not path.name.startswith(".")] or [None]
    return found


def cut_at(*positions):
    """Cut the first connections after so many bytes of the file."""

    def behave(handler, number):
        if number > len(positions):
            return False
        handler.answer(upto=positions[number - 1])
        handler.close_connection = True
        return True

    return behave


def test_downloads_and_checks(server, tmp_path):
    path = tmp_path / "deep" / "file.bin"
    download(server.url(), path, bytes=len(CONTENT), sha256=SHA256, **QUICK)
    assert path.read_bytes() == CONTENT
    assert only_file(path.parent) == path
    download(server.url(), path, sha256=SHA256, **QUICK)
    assert len(server.requests) == 1  # it was there


def test_goes_on_where_the_connection_was_cut(server, tmp_path):
    server.behave = cut_at(300_000, 700_000)
    download(server.url(), tmp_path / "f", sha256=SHA256, **QUICK)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, "bytes=300000-", "bytes=700000-"]


def test_goes_on_in_a_later_process(server, tmp_path):
    server.behave = lambda handler, number: cut_at(400_000)(handler, 1) if number == 1 else (
        handler.send_error(503) or True
    )  # fmt: skip
    with pytest.raises(DownloadError, match=r"file.bin: the server answers 503 .* Run again"):
        download(server.url(), tmp_path / "f", sha256=SHA256, **QUICK)
    assert only_file(tmp_path) is None
    server.behave = lambda handler, number: False
    download(server.url(), tmp_path / "f", sha256=SHA256, **QUICK)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.requests[-1][1] == "bytes=400000-"


def test_server_that_ignores_ranges(server, tmp_path):
    server.ranges = False
    server.behave = cut_at(300_000)
    download(server.url(), tmp_path / "f", sha256=SHA256, **QUICK)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_server_without_marks_of_versions(server, tmp_path):
    server.etag = None
    server.behave = cut_at(300_000)
    download(server.url(), tmp_path / "f", **QUICK)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, None]


@pytest.mark.parametrize("honours_if_range", [True, False])
def test_file_that_changes_half_way(server, tmp_path, honours_if_range):
    new = CONTENT[::-1]

    def behave(handler, number):
        if number == 1:
            cut_at(300_000)(handler, 1)
            server.content, server.etag = new, '"two"'
            return True
        if not honours_if_range:
            del handler.headers["If-Range"]
        return False

    server.behave = behave
    download(server.url(), tmp_path / "f", **QUICK)
    assert (tmp_path / "f").read_bytes() == new


def test_pieces_of_two_files_under_one_mark_are_noticed(server, tmp_path):
    server.content = b"\1" + CONTENT[1:]

    def behave(handler, number):
        if number == 1:
            cut_at(300_000)(handler, 1)
            server.content = CONTENT
            return True
        return False

    server.behave = behave
    download(server.url(), tmp_path / "f", sha256=SHA256, **QUICK)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, "bytes=300000-", None]


def test_server_whose_file_shrank(server, tmp_path):
    def behave(handler, number):
        if number == 1:
            cut_at(300_000)(handler, 1)
            server.content = CONTENT[:1000]
            return True
        return False

    server.behave = behave
    download(server.url(), tmp_path / "f", **QUICK)
    assert (tmp_path / "f").read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize("checks", [{"sha256": SHA256}, {"md5": hashlib.md5(CONTENT).hexdigest()}])
def test_wrong_bytes_are_refused(server, tmp_path, checks):
    server.content = CONTENT[:-1] + b"x"
    (name,) = checks
    with pytest.raises(DownloadError, match=rf"{server.url()}: wrong file: its {name} is"):
        download(server.url(), tmp_path / "f", **checks, **QUICK)
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == 1  # a wrong file is not asked for again


def test_wrong_size_is_refused_before_the_transfer(server, tmp_path):
    with pytest.raises(DownloadError, match="has 1048576 bytes, 7 are published"):
        download(server.url(), tmp_path / "f", bytes=7, **QUICK)
    assert only_file(tmp_path) is None


def test_length_that_is_a_lie(server, tmp_path):
    server.behave = lambda handler, number: (
        handler.answer(length=len(CONTENT) + 10), setattr(handler, "close_connection", True)
    )  # fmt: skip
    with pytest.raises(DownloadError, match="shorter than what had arrived|cut after"):
        download(server.url(), tmp_path / "f", **QUICK)
    assert only_file(tmp_path) is None


def test_missing_file_is_not_asked_for_twice(server, tmp_path):
    server.behave = lambda handler, number: handler.send_error(404) or True
    with pytest.raises(DownloadError, match=rf"^cannot download f: {server.url()}: .* 404 .*$"):
        download(server.url(), tmp_path / "f", **QUICK)
    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


def test_mirror_steps_in(server, tmp_path):
    server.behave = lambda handler, number: (
        "mirror" not in handler.path and (handler.send_error(404) or True)
    )
    mirrors = [server.url("also_missing"), server.url("mirror")]
    download(server.url(), tmp_path / "f", mirrors=mirrors, sha256=SHA256, **QUICK)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_silent_server_times_out(server, tmp_path):
    ended = threading.Event()
    server.behave = lambda handler, number: ended.wait(10) if number == 1 else False
    download(server.url(), tmp_path / "f", sha256=SHA256, attempts=4, pause=0.01, timeout=0.1)
    ended.set()
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_no_server(tmp_path):
    with pytest.raises(DownloadError, match="no answer .*4 times in a row"):
        download("http://127.0.0.1:9/f", tmp_path / "f", **QUICK)


@pytest.mark.parametrize("url", ["nonsense", "gopher://host/f"])
def test_address_that_is_none(url, tmp_path):
    with pytest.raises(DownloadError, match="unknown url type|no answer"):
        download(url, tmp_path / "f", **QUICK)


def test_trust_on_first_use(server, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    path = tmp_path / "f"
    download(server.url(), path, **QUICK)
    assert "trust on first use" in caplog.text
    assert (tmp_path / "f.sha256").read_text() == f"{SHA256}  f\n"
    path.unlink()
    download(server.url(), path, **QUICK)  # the same again
    path.unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(DownloadError, match=f"recorded on first use was {SHA256}"):
        download(server.url(), path, **QUICK)
    assert not path.exists()


def test_damaged_file_is_noticed_at_the_next_use(server, tmp_path):
    path = tmp_path / "f"
    download(server.url(), path, **QUICK)
    path.write_bytes(b"damaged")
    with pytest.raises(DownloadError, match="delete it to download it again"):
        download(server.url(), path, **QUICK)


def test_fetch_keeps_files_by_address_and_asks_the_override(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = {"url": "https://hub.example/a/resolve/1f/model.bin?download=true", "sha256": SHA256}
    path = fetch(source, {"https://hub.example/": server.url("copy/")})
    assert path.as_posix() == "downloads/hub.example/a/resolve/1f/model.bin"
    assert server.requests[0][0] == "/copy/a/resolve/1f/model.bin?download=true"
    link(path, tmp_path / "link.bin")
    link(path, tmp_path / "link.bin")
    assert (tmp_path / "link.bin").read_bytes() == CONTENT
