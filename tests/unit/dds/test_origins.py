"""Addresses of files: which are some, what is told of them, and what came in a file's place."""

import pytest
from pydantic import TypeAdapter, ValidationError

from dds.origins import Address, Download, file_name, identity, public

ADDRESS = TypeAdapter(Address)


@pytest.mark.parametrize(
    "url",
    [
        "https://host/f",
        "http://host:8080/a/f.tar.gz",
        "https://host/get?file=a/",
        "https://host/?f",
        "https://host/a/@scope/f@1.2",
        "https://[::1]/f",
        "file:///data/f",
        "https://host/f%20g?X-Amz-Signature=0123&user=me@here",
    ],
)
def test_addresses_of_files_are_taken_as_they_are(url):
    assert ADDRESS.validate_python(url) == url
    assert Download(url=url, mirrors=[url]).mirrors == [url]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://host/f", "ftp://host/f is no address of a file; write https://HOST/PATH"),
        ("nonsense", "nonsense is no address of a file"),
        ("", "is no address of a file"),
        ("https://host:65536/f", "https://host:65536/f is no address of a file"),
        ("https://host:0/f", "https://host:0/f is no address of a file"),
        ("https://host", "https://host is no address of a file"),
        ("https://host/folder/", "https://host/folder/ is the address of a folder"),
        ("https:///f", "https:///f is no address of a file"),
        ("https://host:port/f", "https://host:port/f is no address of a file"),
        ("https://[::1/f", "https://[::1/f is no address of a file"),
        ("https://host/../f", "https://host/../f has . or .. in its path"),
        ("https://host/a/./f", "https://host/a/./f has . or .. in its path"),
        ("https://host/f g", "https://host/f g has a character that addresses do not have"),
        ("https://host/{f}", "https://host/{f} has a character that addresses do not have"),
        ("https://host/é?token=SECRET", "https://host/é?... has a character that addresses do not"),
        ("https://host/f#SECRET", "https://host/f?... has a fragment"),
        ("https://me:SECRET@host/f", "has a login in it, which would be published with the study"),
        ("https://SECRET@host/f", "has a login in it, which would be published with the study"),
        ("https://me:SEC/RET@host/f", "it is no address of a file"),
        ("me:SECRET@host/f", "it is no address of a file"),
    ],
)
def test_what_is_no_address_of_a_file_is_refused(url, reason):
    with pytest.raises(ValidationError) as caught:
        ADDRESS.validate_python(url)
    (error,) = caught.value.errors()
    assert reason in error["msg"]
    assert "SEC" not in error["msg"]


def test_what_may_be_secret_is_not_told():
    url = "https://me:SECRET@host/f@1?token=SECRET#SECRET"
    assert public(url) == "https://host/f@1?..."
    assert public("https://host/f") == identity("https://host/f") == "https://host/f"
    one, other = (identity(f"https://host/f?token=SECRET{number}") for number in range(2))
    assert one != other
    assert "SECRET" not in one + other


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/a/w.safetensors?download=true", "w.safetensors"),
        ("https://host/get?file=a/../b", "get"),
        ("https://host/?f", "file"),
        ("https://host/a/..", "file"),
        ("https://host/.f.part", "f.part"),
        ("https://host/a%2Fb", "a_2Fb"),
        ("https://host/" + 200 * "a" + ".pt", 97 * "a" + ".pt"),
    ],
)
def test_names_of_files_are_plain(url, name):
    assert file_name(url) == name
