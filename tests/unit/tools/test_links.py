"""Links of a built site are followed, and nothing is loaded from elsewhere."""

from __future__ import annotations

import pytest

from links import check

PAGE = '<html><body id="top"><h1 id="one-two">One</h1>{}</body></html>'


@pytest.fixture
def site(tmp_path):
    """A site with a page to link to, in a folder with a page of its own."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.html").write_text(PAGE.format(""))
    (tmp_path / "a picture.png").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    "tag",
    [
        '<a href="#one-two">',
        '<a href="">',
        '<a href="docs/">',
        '<a href="docs/index.html?q=1#one-two">',
        '<img src="a%20picture.png">',
        '<img src="data:image/png;base64,AAAA">',
    ],
)
def test_a_link_to_what_is_there_holds(site, tag):
    (site / "page.html").write_text(PAGE.format(tag))
    assert check(site).broken == []


@pytest.mark.parametrize(
    ("tag", "fault"),
    [
        ('<a href="#one">', "page.html: #one: no such place in the page"),
        ('<a href="docs/#two">', "page.html: docs/#two: no such place in the page"),
        ('<a href="docs/other.html">', "page.html: docs/other.html: no such file"),
        ('<img src="figure.png">', "page.html: figure.png: no such file"),
        ('<link href="style.css">', "page.html: style.css: no such file"),
        (
            '<script src="https://cdn.example/katex.js"></script>',
            "page.html: loads https://cdn.example/katex.js from elsewhere",
        ),
        ('<img src="//cdn.example/a.png">', "page.html: loads //cdn.example/a.png from elsewhere"),
        (
            '<link href="https://fonts.example/a.css">',
            "page.html: loads https://fonts.example/a.css from elsewhere",
        ),
    ],
)
def test_what_is_broken_is_named_with_its_page(site, tag, fault):
    (site / "page.html").write_text(PAGE.format(tag))
    assert check(site).broken == [fault]


@pytest.mark.parametrize(
    "rule", ['@import "{}";', "a {{ background: url({}) }}", "b {{src:url('{}')}}"]
)
def test_style_sheets_load_nothing_from_elsewhere(site, rule):
    address = "https://fonts.example/a.woff2"
    (site / "style.css").write_text(rule.format(address))
    assert check(site).broken == [f"style.css: loads {address} from elsewhere"]
    (site / "style.css").write_text(rule.format("a.woff2"))
    assert check(site).broken == []


def test_addresses_elsewhere_are_listed_with_their_pages(site):
    address = "https://arxiv.org/abs/2206.10550"
    for name in ("one.html", "two.html"):
        (site / name).write_text(PAGE.format(f'<a href="{address}">'))
    assert check(site).external == {address: ["one.html", "two.html"]}
    assert check(site).broken == []
