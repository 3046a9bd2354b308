"""Where files come from: an address and what is published of it, or a path of the user's own."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from dds.keys import Keys, Text, Whole, key, refuse

#: What only a file with an address can have.
_OF_AN_ADDRESS = ("mirrors", "bytes", "sha256", "md5")

_FORM = r"^(https?|file)://[^/?#]*/"
_ADDRESS = re.compile(
    r"(https?://(\[[0-9A-Fa-f:.]+\]|[^][:@/?#]+)(:(?P<port>[0-9]{1,5}))?|file://[^/?#]*)"
    r"(?P<path>/[^?#]*)(\?(?P<query>[^#]*))?(?P<fragment>#.*)?"
)
_HIGHEST_PORT = 65535
#: The characters that addresses are made of (RFC 3986, 2).
_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*")
_LONGEST_NAME = 100

#: What diffusers calls the weights of a network.
HUB_WEIGHTS = "diffusion_pytorch_model.safetensors"

#: First bytes of a file that tell what it is.
_BEGINNING = 1024
#: How files begin that come in the place of others.
_POINTER = b"version https://git-lfs.github.com/spec/"
_PAGE = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(!doctype\s+html|html)",
    re.IGNORECASE | re.DOTALL,
)


def check_no_login(url: str) -> str:
    """Return an address, or refuse one with a login, which is published with a study."""
    if "@" in re.split("[/?#]", url.partition("//")[2], maxsplit=1)[0]:
        raise refuse(
            "has a login in it, which would be published with the study; leave it out, and write "
            "machine HOST login NAME password PASSWORD into ~/.netrc"
        )
    return url


def check_address(url: str) -> str:
    """Return the address of a file, or refuse what no server can be asked for.

    What may be a password is never shown.
    """
    check_no_login(url)
    address = _ADDRESS.fullmatch(url)
    reason = None
    if not address or not 1 <= int(address["port"] or 1) <= _HIGHEST_PORT:
        reason = "is no address of a file; write https://HOST/PATH"
    elif not _CHARACTERS.fullmatch(url):
        reason = "has a character that addresses do not have; write it as %XX"
    elif address["fragment"]:
        reason = "has a fragment, which no server is told; leave out # and what follows"
    elif {".", ".."} & set(address["path"].split("/")):
        reason = "has . or .. in its path; write where they lead to"
    elif address["path"].endswith("/") and not address["query"]:
        reason = "is the address of a folder; write that of a file"
    if reason:
        raise refuse(f"{'it' if '@' in url else public(url)} {reason}")
    return url


def public(url: str) -> str:
    """Return an address without what may be secret: its login and its query.

    Examples
    --------
    >>> public("https://me:secret@host/weights.pt?token=secret")
    'https://host/weights.pt?...'
    """
    address, *rest = re.split("[?#]", url, maxsplit=1)
    return re.sub("//[^/]*@", "//", address) + ("?..." if rest else "")


def identity(url: str) -> str:
    """Return what an address is told from others by, without what may be secret in it.

    Examples
    --------
    >>> identity("https://host/weights.pt")
    'https://host/weights.pt'
    >>> identity("https://host/get?file=a")
    'https://host/get?... (1c9f48fa7f9ab4ed)'
    """
    shown = public(url)
    return url if shown == url else f"{shown} ({digest(url)})"


def digest(url: str) -> str:
    """Return 16 hexadecimal digits that stand for an address."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def hub_address(hub: str, revision: str = "main", file: str = HUB_WEIGHTS) -> str:
    """Return the address of a file in a repository on the Hugging Face hub.

    Examples
    --------
    >>> hub_address("google/ddpm-cifar10-32", file="config.json")
    'https://huggingface.co/google/ddpm-cifar10-32/resolve/main/config.json'
    """
    return f"https://huggingface.co/{hub}/resolve/{revision}/{file}"


def file_name(url: str) -> str:
    """Return what the file at an address is called, in characters that any disk takes.

    Examples
    --------
    >>> file_name("https://host/a/weights.pt?download=true")
    'weights.pt'
    """
    name = re.split("[?#]", url.partition("//")[2], maxsplit=1)[0].rpartition("/")[2]
    return re.sub("[^A-Za-z0-9_+.-]", "_", name).lstrip(".")[-_LONGEST_NAME:] or "file"


def beginning_of(path: str | Path) -> bytes:
    """Return the first bytes of a file, which tell what it is, whatever it is called."""
    with open(path, "rb") as file:
        return file.read(_BEGINNING)


def came_instead(beginning: bytes) -> str | None:
    """Tell what came in the place of a file, by its first bytes; None where it may be right.

    Examples
    --------
    >>> came_instead(b"<!DOCTYPE html><title>Log in</title>")
    'an HTML page'
    """
    if not beginning:
        return "an empty file"
    if beginning.startswith(_POINTER):
        return "a Git LFS pointer, in whose place `git lfs pull` puts the file"
    return "an HTML page" if _PAGE.match(beginning) else None


#: The address of a file: http, https or file.
Address = Annotated[
    str,
    AfterValidator(check_address),
    WithJsonSchema({"type": "string", "pattern": _FORM}),
]
SHA256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
#: A size of a file; none of a thousand terabytes is meant.
Bytes = Annotated[Whole, Field(ge=1, le=10**15)]
MD5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class Download(Keys):
    """A published file."""

    url: Address = key("Address of the file.", allowed="https, http or file")
    mirrors: list[Address] = key("Other addresses of the same file, to try in turn.", [])
    bytes: Bytes | None = key("Size that the file must have.", None)
    sha256: SHA256 | None = key(
        "Checksum that the file must have.", None, allowed="64 hexadecimal digits"
    )
    md5: MD5 | None = key(
        "Checksum that the file must have, where no SHA-256 is published.",
        None,
        allowed="32 hexadecimal digits",
    )


class HubDownload(Download):
    """A published checkpoint of a denoiser."""

    url: Address | None = key(
        "Address of the file; follows from `hub` where that is given.",
        None,
        allowed="https, http or file",
    )
    hub: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = key(
        "Denoisers: in place of `url`, a repository in diffusers' format on the Hugging Face hub. "
        "Its `config.json` and `scheduler_config.json` are compared with the entry when the "
        "weights are fetched.",
        None,
        allowed="OWNER/NAME",
    )
    revision: Annotated[str, Field(pattern=r"^[\w./-]+$")] = key(
        "With `hub`: the commit, tag or branch.", "main", allowed="text"
    )
    file: Text = key("With `hub`: the weights in the repository.", HUB_WEIGHTS, allowed="path")

    @model_validator(mode="before")
    @classmethod
    def _address_of_the_hub(cls, download: Any) -> Any:
        if not isinstance(download, dict) or not isinstance(download.get("hub"), str):
            return download
        place = {key: str(download[key]) for key in ("hub", "revision", "file") if key in download}
        url = hub_address(**place)
        if download.get("url", url) not in (url, None):
            raise refuse("url does not go with hub; leave one of them out")
        return download | {"url": url}

    @model_validator(mode="after")
    def _has_an_address(self) -> Self:
        if self.url is None:
            raise refuse("needs url, or hub")
        for name in ("revision", "file"):
            default = type(self).model_fields[name].default
            if self.hub is None and getattr(self, name) != default:
                raise refuse(f"{name} is for hub alone; leave it out")
        return self


class Checkpoint(Keys):
    """A file of weights of one's own, and where in it, or in a published one, they lie."""

    file: Text | None = key(
        "A checkpoint of your own. A classifier that has one for each sigma has `{sigma}` in its "
        "path, which stands for the noise level, such as 0.25 or 1.",
        None,
        allowed="path",
    )
    obtain: Text | None = key("With `file`: how to get it, for the error when there is none.", None)
    strip_prefix: str | None = key(
        "With `file` or `download`: removed from the start of every name in the state dict; where "
        "the names that start with it are the network's, others are passed over. `module.` and "
        "`_orig_mod.` are removed anyhow.",
        None,
        allowed="text, such as `model.`",
    )
    key: str | None = key(  # the last, as from here on it is no function
        "With `file` or `download`: where in the checkpoint the state dict lies, if several of its "
        "entries fit the network.",
        None,
        allowed="text, such as `ema`, or `ema.model` for an entry inside an entry",
    )


class DataFile(Keys):
    """A file that a dataset is made from: one of the user's own, or one with an address."""

    file: str | None = key(
        "A folder or archive of your own, or a link to one.", None, allowed="path"
    )
    obtain: str | None = key("With `file`: how to get it, for the error when there is none.", None)
    url: Address | None = key("Address of the file.", None, allowed="https, http or file")
    mirrors: list[Address] = key("Other addresses of the same file, to try in turn.", [])
    bytes: Bytes | None = key("Size that the file must have.", None)
    sha256: SHA256 | None = key(
        "Checksum that the file must have.", None, allowed="64 hexadecimal digits"
    )
    md5: MD5 | None = key(
        "Checksum that the file must have, where no SHA-256 is published.",
        None,
        allowed="32 hexadecimal digits",
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.file is None) == (self.url is None):
            raise refuse("needs exactly one of file, url")
        for name in _OF_AN_ADDRESS:
            if self.file is not None and getattr(self, name):
                raise refuse(f"{name} is for url alone; leave it out")
        return self

    @property
    def download(self) -> Download | None:
        """What to fetch, or None for a file of the user's own."""
        if self.url is None:
            return None
        return Download(**{name: getattr(self, name) for name in ("url", *_OF_AN_ADDRESS)})
