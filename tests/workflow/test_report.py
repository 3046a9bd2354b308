"""The HTML report, as its reader meets it: unpacked, in a browser, without a network."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import matplotlib.image
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(project, tmp_path_factory):
    """The unpacked report of the small study."""
    project.snakemake("all", "--report", "results/small/report.zip")
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(project.results / "report.zip") as archive:
        archive.extractall(folder)
    return folder / "report"


@pytest.fixture(scope="module")
def seen(report, tmp_path_factory):
    """What a reader sees who opens every result: {category: {label: what visit_report.js says}}."""
    return visit(report, tmp_path_factory.mktemp("browser"))


def visit(report: Path, profile: Path) -> dict:
    """Open a report in a browser, and every result in it."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs the browser chromium; on Debian, make browser installs it")
    page, script = report / "report.html", Path(__file__).with_name("visit_report.js")
    visited = page.with_name("visited.html")
    visited.write_text(f"{page.read_text()}<script>{script.read_text()}</script>")
    result = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--allow-file-access-from-files",
         "--virtual-time-budget=120000", "--dump-dom", visited.as_uri()],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    (notes,) = re.findall(r'<script type="application/json" id="seen">(.*?)</script>',
                          result.stdout, re.DOTALL)  # fmt: skip
    seen = json.loads(notes)
    assert "error" not in seen, seen["error"]
    return seen


def text_of(page: str) -> str:
    """Return the text of the body of an HTML page, without spaces."""
    body = re.search(r"<body.*?>(.*)</body>", page, re.DOTALL)[1]
    return "".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_the_page_asks_the_network_for_nothing(report):
    page = (report / "report.html").read_text()
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="https?:', page)


def test_every_table_and_figure_is_listed_with_its_caption(project, seen):
    for category in ("tables", "figures"):
        listed = seen.get(category.title(), {})
        captions = {name: entry["description"].split() for name, entry in listed.items()}
        assert captions == {
            name: entry["caption"].split() for name, entry in project.study[category].items()
        }


def test_every_table_shows_its_text(project, seen):
    for name in project.study["tables"]:
        page = (project.results / "tables" / f"{name}.html").read_text()
        assert "".join(seen["Tables"][name]["text"].split()) == text_of(page)


def test_every_figure_shows_its_pixels(project, seen):
    for name in project.study["figures"]:
        image = matplotlib.image.imread(project.results / "figures" / f"{name}.png")
        assert seen["Figures"][name]["width"] == image.shape[1]


def test_every_result_opens_the_file_it_is_named_after(project, report, seen):
    sources = [entry["source"] for entries in seen.values() for entry in entries.values()]
    names = {Path(source).name for source in sources}
    assert {"paper.pdf", "checks.json"} <= names
    for source in sources:
        (original,) = project.results.rglob(Path(source).name)
        assert (report / source).read_bytes() == original.read_bytes()
