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
from projects import ROOT

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
def seen(visited):
    """What a reader sees who opens every result: {category: {label: what visit_report.js says}}."""
    return visited["results"]


@pytest.fixture(scope="module")
def first(visited):
    """What a reader sees first, and what the page is called at the end."""
    return visited["first"]


@pytest.fixture(scope="module")
def visited(report, tmp_path_factory):
    """All that visit_report.js says."""
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


def test_it_opens_on_the_tables_and_figures_of_the_study(project, first):
    places = [first["text"].index(f"\n{name}\n") for name in sorted(project.study["tables"])]
    assert places == sorted(places)
    for name in project.study["tables"]:
        page = (project.results / "tables" / f"{name}.html").read_text()
        assert text_of(page) in "".join(first["text"].split())
    assert first["images"] == {
        name: matplotlib.image.imread(project.results / "figures" / f"{name}.png").shape[1]
        for name in project.study["figures"]
    }
    assert first["graph"] > first["results"] >= 0


def test_no_word_of_a_study_runs_or_reads_a_file(report, first):
    assert first["title"] == "Snakemake Report"
    read = (ROOT / "README.md").read_text()[100:160]
    assert read not in (report / "report.html").read_text()


def test_checks_and_provenance_are_tables(seen):
    (checks,) = seen["Checks"].values()
    assert re.search(r"(\d+) of \1 checks passed", checks["text"])
    (provenance,) = seen["Provenance"].values()
    for fact in ("ablation_one_shot", "0.001", "sha256", "samples/s"):
        assert fact in provenance["text"]


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
    assert {"paper.pdf", "checks.html", "provenance.html"} <= names
    assert not [name for name in names if name.endswith(".json")]
    for source in sources:
        (original,) = project.results.rglob(Path(source).name)
        assert (report / source).read_bytes() == original.read_bytes()
