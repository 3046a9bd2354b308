"""Where files come from: an address and what is published of it, or a path of the user's own."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from dds.keys import Keys, Whole, key, refuse

#: What only a file with an address can have.
_OF_AN_ADDRESS = ("mirrors", "bytes", "sha256", "md5")

Address = Annotated[str, Field(pattern=r"^(https?|file)://[^/]*/.*[^/]$")]
SHA256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
#: A size of a file; none of a thousand terabytes is meant.
Bytes = Annotated[Whole, Field(ge=1, le=10**15)]
MD5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class Download(Keys):
    """A published file."""

    url: Address = key("Address of the file.", allowed="https, http or file")
    mirrors: list[str] = key("Other addresses of the same file, to try in turn.", [])
    bytes: Bytes | None = key("Size that the file must have.", None)
    sha256: SHA256 | None = key(
        "Checksum that the file must have.", None, allowed="64 hexadecimal digits"
    )
    md5: MD5 | None = key(
        "Checksum that the file must have, where no SHA-256 is published.",
        None,
        allowed="32 hexadecimal digits",
    )


class DataFile(Keys):
    """A file that a dataset is made from: one of the user's own, or one with an address."""

    file: str | None = key(
        "A folder or archive of your own, or a link to one.", None, allowed="path"
    )
    obtain: str | None = key("With `file`: how to get it, for the error when there is none.", None)
    url: Address | None = key("Address of the file.", None, allowed="https, http or file")
    mirrors: list[str] = key("Other addresses of the same file, to try in turn.", [])
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
