"""Check every link of a built site, without a network. Run by `make docs`.

A link within the site has to lead to a file, and to a place in it that exists; a page may load
nothing from elsewhere. Addresses elsewhere are listed, for whoever wants to follow them.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

#: What a style sheet loads.
LOADED = re.compile(r"""(?:url\(|@import\s)\s*["']?([^"')\s;]+)""")


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that links may lead to."""

    def __init__(self, text: str):
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag's addresses and its name."""
        values = dict(attrs)
        if values.get("id"):
            self.places.add(values["id"])
        if values.get("href"):
            (self.loads if tag == "link" else self.links).add(values["href"])
        if values.get("src"):
            self.loads.add(values["src"])


class Checked(NamedTuple):
    """What a site's links are.

    Attributes
    ----------
    internal : int
        How many links lead to the site itself.
    broken : list of str
        A line for each link that leads nowhere, and for each address that a page loads from
        elsewhere.
    external : dict of str to list of str
        The pages that link to each address elsewhere.
    """

    internal: int
    broken: list[str]
    external: dict[str, list[str]]


def check(site: Path) -> Checked:
    """Follow the links of all pages and style sheets below a folder."""
    pages = {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    internal, broken, external = 0, [], defaultdict(list)
    for path, page in pages.items():
        name = path.relative_to(site).as_posix()
        for address in sorted(page.links | page.loads):
            parts = urlsplit(address)
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc:
                if address in page.loads:
                    broken.append(f"{name}: loads {address} from elsewhere")
                else:
                    external[address].append(name)
                continue
            internal += 1
            if fault := _fault(path, unquote(parts.path), unquote(parts.fragment), pages):
                broken.append(f"{name}: {address}: {fault}")
    for path in sorted(site.rglob("*.css")):
        for address in LOADED.findall(path.read_text()):
            if urlsplit(address).netloc:
                broken.append(f"{path.relative_to(site)}: loads {address} from elsewhere")
    return Checked(internal, broken, dict(external))


def _fault(page: Path, path: str, fragment: str, pages: dict[Path, Page]) -> str:
    """Return what is wrong with a link within the site, or nothing."""
    target = (page.parent / path).resolve() if path else page
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "no such file"
    if fragment and target in pages and fragment not in pages[target].places:
        return "no such place in the page"
    return ""


def main() -> int:
    """Print what is wrong, and what leads elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path, help="folder of the built site")
    site = parser.parse_args().site.resolve()
    checked = check(site)
    for address, names in sorted(checked.external.items()):
        more = f" and {len(names) - 1} more" if names[1:] else ""
        print(f"not followed: {address} (in {names[0]}{more})")
    for line in checked.broken:
        print(f"broken: {line}", file=sys.stderr)
    print(f"links: {checked.internal} within the site, {len(checked.broken)} broken")
    return bool(checked.broken)


if __name__ == "__main__":
    sys.exit(main())
