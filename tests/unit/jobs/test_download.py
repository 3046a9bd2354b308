"""A download is the right file or one clear line, whatever the server does."""

import contextlib
import hashlib
import json
import logging
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jobs import download as module
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
        self.requests, self.logins = [], []

    def url(self, name="file.bin"):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        server.logins.append(self.headers.get("Authorization"))
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
        if length != "":
            self.send_header("Content-Length", str(length or len(content) - start))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a client may have seen enough
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


def mapped(server, *hosts):
    """Return overrides that ask the server for what other hosts have."""
    return {host: server.url(f"{number}/") for number, host in enumerate(hosts)}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory without downloads."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_fetch_keeps_files_by_address_and_asks_the_override(server, here):
    source = {"url": "https://hub.example/a/resolve/1f/model.bin?download=true", "sha256": SHA256}
    path = fetch(source, {"https://hub.example/": server.url("copy/")})
    assert path.as_posix() == "downloads/hub.example@f6c9678ad6135fc6/model.bin"
    assert server.requests[0][0] == "/copy/a/resolve/1f/model.bin?download=true"
    link(path, here / "link.bin")
    link(path, here / "link.bin")
    assert (here / "link.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("results", ["results", "scratch/deep/results"])
def test_links_lead_to_their_files_behind_links_to_folders(here, results):
    (here / "downloads" / "a").mkdir(parents=True)
    (here / "downloads" / "a" / "f").write_bytes(CONTENT)
    (here / results).mkdir(parents=True)
    if not (here / "results").exists():
        (here / "results").symlink_to(results)
    link("downloads/a/f", "results/f")
    assert (here / "results" / "f").read_bytes() == CONTENT


def test_a_folder_of_downloads_that_is_gone_is_named(server, here):
    (here / "downloads").symlink_to("scratch")
    with pytest.raises(DownloadError, match="downloads is a link to scratch, where there is noth"):
        fetch({"url": server.url()}, {})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://hub.example/get?file=a", "https://hub.example/get?file=b"),
        ("https://hub.example/get?file=a", "https://hub.example/get"),
        ("https://hub.example/f", "https://hub.example/f.sha256"),
        ("https://hub.example/f", "https://hub.example/.f.part"),
        ("https://hub.example/f", "https://hub.example/f/f"),
        ("https://hub.example/f", "https://hub.example/F"),
        ("https://hub.example/f", "http://hub.example/f"),
        ("https://hub.example/f", "https://hub.example:8443/f"),
        ("https://hub.example/a%2Fb", "https://hub.example/a_2Fb"),
    ],
)
def test_two_addresses_never_share_a_file(server, here, one, other):
    hosts = ("https://hub.example:8443/", "https://hub.example/", "http://hub.example/")
    server.behave = lambda handler, number: setattr(server, "content", handler.path.encode())
    contents = set()
    for _ in range(2):
        for url in (one, other):
            content = fetch({"url": url}, mapped(server, *hosts)).read_bytes()
            assert content.decode().endswith(f"/{url.split('/', 3)[3]}")
            contents.add(content)
    assert len(contents) == len(server.requests) == 2


@pytest.mark.parametrize(
    "url",
    [
        "https://hub.example/a/../../../../f",
        "https://hub.example/..",
        "https://hub.example//etc/f",
        "https://../f",
        "https://hub.example/a\\..\\f",
        "https://hub.example/" + 300 * "a",
        "https://hub.example/?a=/../../f",
    ],
)
def test_nothing_is_written_outside_the_folder_of_downloads(server, here, url):
    path = fetch({"url": url}, mapped(server, "https://hub.example/", "https://../"))
    assert path.resolve().parents[1] == here / "downloads"
    assert [file.name for file in here.iterdir()] == ["downloads"]


def test_files_stay_where_earlier_versions_kept_them(server, here):
    earlier = here / "downloads/hub.example/a/model.bin"
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(CONTENT)
    url, overrides = "https://hub.example/a/model.bin", mapped(server, "https://hub.example/")
    assert fetch({"url": url}, overrides).resolve() == earlier
    assert fetch({"url": url, "sha256": SHA256}, overrides).resolve() == earlier
    # Addresses with different queries had one place: only a published hash tells whose it is.
    asked = {"url": f"{url}?download=true", "sha256": SHA256}
    assert fetch(asked, overrides).resolve() == earlier
    assert server.requests == []
    assert fetch(asked | {"sha256": None}, overrides).resolve() != earlier
    # What was recorded of a file is held against it when it comes again.
    earlier.unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(DownloadError, match=f"recorded on first use was {SHA256}"):
        fetch({"url": url}, overrides)


@pytest.mark.parametrize("torn", [b"", b"\xff\xfe\0", b"4b7d", b"\n \n", bytes(64)])
def test_a_torn_record_counts_as_none(server, tmp_path, torn):
    (tmp_path / "f.sha256").write_bytes(torn)
    for _ in range(2):
        download(server.url(), tmp_path / "f", **QUICK)
        assert (tmp_path / "f").read_bytes() == CONTENT
        assert (tmp_path / "f.sha256").read_text() == f"{SHA256}  f\n"


NOTES = {"address": "", "version": '"one"', "total": len(CONTENT), "bytes": 5, "sha256": "0"}


@pytest.mark.parametrize(
    "notes",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        json.dumps({"url": "", "version": "one"}).encode(),
        json.dumps(NOTES).encode(),
        json.dumps(NOTES | {"bytes": "5"}).encode(),
        json.dumps(NOTES | {"version": 1}).encode(),
    ],
)
def test_torn_notes_of_a_part_count_as_none(server, tmp_path, notes):
    address = module.digest(server.url())
    notes = notes.replace(b'"address": ""', f'"address": "{address}"'.encode())
    (tmp_path / ".f.part.json").write_bytes(notes)
    (tmp_path / ".f.part").write_bytes(b"damaged")
    download(server.url(), tmp_path / "f", **QUICK)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.requests == [("/file.bin", None)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "f.sha256"]


def left_by_a_killed_job(server, tmp_path):
    """Leave the first 400,000 bytes."""
    server.behave = lambda handler, number: cut_at(400_000)(handler, 1)
    with pytest.raises(DownloadError, match="cut after 400000"):
        download(server.url(), tmp_path / "f", attempts=1)
    server.behave = lambda handler, number: False
    server.requests.clear()
    return tmp_path / ".f.part"


@pytest.mark.parametrize(
    ("damage", "asked"),
    [
        (lambda content: content, "bytes=400000-"),
        (lambda content: content + b"unsure", "bytes=400000-"),
        (lambda content: b"x" + content[1:], None),
        (lambda content: content[:-1] + b"\0", None),
        (lambda content: content[:-1000], None),
        (lambda content: content[:-1000] + bytes(1000), None),
        (lambda content: b"", None),
    ],
)
def test_a_damaged_part_is_not_gone_on_from(server, tmp_path, damage, asked):
    part = left_by_a_killed_job(server, tmp_path)
    part.write_bytes(damage(part.read_bytes()))
    download(server.url(), tmp_path / "f", **QUICK)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.requests == [("/file.bin", asked)]


def test_a_long_transfer_makes_sure_of_what_has_arrived(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 10_000)
    monkeypatch.setattr(module, "_SURE", 100_000)
    sure, save = [], module._Part._save

    def note(part, file):
        save(part, file)
        notes = json.loads((tmp_path / ".f.part.json").read_text())
        assert notes["sha256"] == hashlib.sha256(part.path.read_bytes()).hexdigest()
        sure.append(notes["bytes"])

    monkeypatch.setattr(module._Part, "_save", note)
    download(server.url(), tmp_path / "f", **QUICK)
    assert sure == [*range(100_000, len(CONTENT), 100_000), len(CONTENT)]


def test_a_part_that_is_whole_is_not_asked_for_again(server, tmp_path, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "_check", killed)
        with pytest.raises(KeyboardInterrupt):
            download(server.url(), tmp_path / "f", **QUICK)
    download(server.url(), tmp_path / "f", **QUICK)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert len(server.requests) == 1


@pytest.mark.parametrize("length", ["abc", "-5", "1, 2", "\u00b2", "1" * 30, ""])
def test_a_length_that_is_none(server, tmp_path, length):
    def behave(handler, number):
        if "mirror" in handler.path:
            return False
        handler.answer(length=length.encode("utf-8").decode("latin-1"))
        handler.close_connection = True
        return True

    server.behave = behave
    if length != "1" * 30:  # http.client takes that for the length
        download(server.url(), tmp_path / "checked", sha256=SHA256, **QUICK)
    # Where nothing is published, a cut would go unnoticed.
    with pytest.raises(DownloadError, match="does not say how long .* 4 times|cut"):
        download(server.url(), tmp_path / "f", **QUICK)
    download(server.url(), tmp_path / "f", mirrors=[server.url("mirror")], **QUICK)
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_an_endless_body_is_stopped(server, tmp_path):
    sent = []

    def behave(handler, number):
        handler.send_response(200)
        handler.end_headers()
        try:
            while len(sent) < 1000:
                handler.wfile.write(CONTENT)
                sent.append(1)
        except OSError:
            pass
        handler.close_connection = True
        return True

    server.behave = behave
    with pytest.raises(DownloadError, match="does not stop at the 5000 bytes of the file"):
        download(server.url(), tmp_path / "f", bytes=5000, **QUICK)
    assert list(tmp_path.iterdir()) == []
    assert len(sent) < 1000


STAND_INS = {
    b"": "an empty file",
    b"\n<!DOCTYPE html>\n<html><title>Log in</title>": "an HTML page",
    b"\xef\xbb\xbf<html lang=en>": "an HTML page",
    b'<?xml version="1.0"?><!-- hub --><!doctype HTML>': "an HTML page",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n": "a Git LFS pointer",
}


@pytest.mark.parametrize("content", STAND_INS)
def test_what_comes_in_the_place_of_a_file_is_not_trusted(server, tmp_path, content):
    server.content = content
    with pytest.raises(DownloadError, match=f"f: .*: wrong file: it is {STAND_INS[content]}"):
        download(server.url(), tmp_path / "f", **QUICK)
    with pytest.raises(DownloadError, match=f"it is {STAND_INS[content]}.*, its sha256 is"):
        download(server.url(), tmp_path / "f", sha256=SHA256, **QUICK)
    assert list(tmp_path.iterdir()) == []
    # Where it was trusted once, the file takes its place.
    (tmp_path / "f").write_bytes(content)
    (tmp_path / "f.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  f\n")
    server.behave = lambda handler, number: setattr(server, "content", CONTENT)
    download(server.url(), tmp_path / "f", **QUICK)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert (tmp_path / "f.sha256").read_text() == f"{SHA256}  f\n"


def test_a_page_whose_hash_is_published_is_a_file(server, tmp_path):
    server.content = b"<html></html>"
    download(server.url(), tmp_path / "f", md5=hashlib.md5(server.content).hexdigest(), **QUICK)
    assert (tmp_path / "f").read_bytes() == b"<html></html>"


@pytest.mark.parametrize(
    ("code", "cure"),
    [
        (401, r"it wants a login: .*HF_TOKEN.*~/.netrc"),
        (403, r"your login may not have it: accept its terms"),
        (404, r"no such file: check the address, and the revision in it"),
    ],
)
def test_what_a_hub_refuses_has_a_cure(server, tmp_path, code, cure):
    def behave(handler, number):
        handler.send_response(code)
        handler.send_header("X-Error-Message", "Access to model x is restricted.")
        handler.end_headers()
        return True

    server.behave = behave
    with pytest.raises(DownloadError) as error:
        download(server.url(), tmp_path / "f", **QUICK)
    error.match(rf"the server answers {code} \w+.* Access to model x is restricted. \({cure}")
    assert "\n" not in str(error.value)
    assert len(server.requests) == 1


def test_no_secret_is_told_to_anybody_but_the_server(server, here, caplog):
    caplog.set_level(logging.DEBUG)
    urls = [server.url("f?token=SECRET"), server.url("g?SECRET")]
    for status in (404, 503):
        server.behave = lambda handler, number, status=status: handler.send_error(status) or True
        with pytest.raises(
            DownloadError, match=r"/f\?\.\.\.: the server .* [^ ]*/g\?\.\.\."
        ) as error:
            download(urls[0], here / "f", mirrors=urls[1:], **QUICK)
        assert "SECRET" not in str(error.value)
    server.behave = cut_at(300_000)
    server.requests.clear()
    download(urls[0], here / "f", **QUICK)
    fetch({"url": urls[1]}, {})
    assert server.requests[0][0] == "/f?token=SECRET"
    assert "SECRET" not in caplog.text
    for path in here.rglob("*"):
        assert "SECRET" not in str(path)
        assert path.is_dir() or b"SECRET" not in path.read_bytes()


def test_a_login_is_told_to_its_host_alone(server, tmp_path, monkeypatch):
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(file))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")

    def behave(handler, number):
        leads_to = {1: server.url("there"), 2: f"http://localhost:{server.server_port}/away"}
        if number not in leads_to:
            return False
        handler.send_response(302)
        handler.send_header("Location", leads_to[number])
        handler.end_headers()
        return True

    server.behave = behave
    download(server.url(), tmp_path / "f", **QUICK)
    assert [path for path, _ in server.requests] == ["/file.bin", "/there", "/away"]
    assert server.logins == ["Basic bWU6c2VjcmV0"] * 2 + [None]
    assert module._login("huggingface.co", is_secure=True) == "Bearer hf_secret"
    assert module._login("huggingface.co", is_secure=False) is None
    assert module._login("huggingface.co.example", is_secure=True) is None
    file.write_text("machine")
    with pytest.raises(DownloadError, match="netrc cannot be read: "):
        download(server.url(), tmp_path / "g", **QUICK)


def test_a_file_of_this_machine_is_copied_if_it_is_one(tmp_path):
    (tmp_path / "there").write_bytes(CONTENT)
    download((tmp_path / "there").as_uri(), tmp_path / "f", **QUICK)
    assert (tmp_path / "f").read_bytes() == CONTENT
    os.mkfifo(tmp_path / "pipe")
    for name in (tmp_path / "pipe", tmp_path, "/dev/zero", tmp_path / "absent"):
        with pytest.raises(DownloadError, match="there is no file"):
            download(f"file://{name}", tmp_path / "g", **QUICK)


def test_a_full_disk_is_said_with_the_file(server, small_disk):
    with pytest.raises(OSError, match=r"No space left on device: '.*/disk/.f.part'"):
        download(server.url(), small_disk / "f", **QUICK)
