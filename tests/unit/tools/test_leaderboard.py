"""Logs and deposits of any project stand beside each other; what is damaged is left out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
from hashlib import sha256

import pandas as pd
import pytest

import leaderboard as tool
from dds.logs import read_log, write_certificates
from dds.statistics.bounds import binomial_interval
from paper.leaderboard import Standing, leaderboard, leaderboard_page

HEADER = "idx\tlabel\tpredict\tradius\tcorrect\ttime\n"
#: Images 0 and 2 are certified at 0.6 and 0.3, image 1 is wrong, image 3 abstains.
FLAGS = f"{HEADER}0\t1\t1\t0.6\t1\t0\n1\t1\t2\t0.9\t0\t0\n2\t3\t3\t0.3\t1\t0\n3\t3\t-1\t0.0\t0\t0\n"
COUNTS = (
    f"{HEADER}0\t1\t1\t0.6\t1\t0\n1\t1\t2\t0.9\t1\t0\n2\t3\t3\t0.3\t2\t0\n3\t3\t-1\t0.0\t2\t0\n"
)


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def deposit(folder, radius="0.7", **experiment):
    """Write an unpacked deposit of one experiment, which only says what a leaderboard needs."""
    said = {"dataset": "digits", "denoiser": "unet", "n": 100, "alpha": 0.01} | experiment
    study = {"name": "mine", "experiments": {"main": said}, "of another release": True}
    write(folder, {"study.json": json.dumps(study), "log.tsv": FLAGS.replace("0.6", radius)})
    certificates = folder / "results/mine/certificates/main.parquet"
    certificates.parent.mkdir(parents=True)
    write_certificates(read_log(folder / "log.tsv", "cnn", 0.5), certificates)
    names = ["study.json", "results/mine/certificates/main.parquet"]
    sums = [f"{sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    write(folder, {"SHA256SUMS": "".join(sums)})


def run(folder, monkeypatch, *options):
    """Run the tool on a folder; return the numbers that it wrote, and its page."""
    output = folder.parent / "out"
    monkeypatch.setattr(
        sys, "argv", ["leaderboard", str(folder), "--output", str(output), *options]
    )
    tool.main()
    table = pd.read_csv(output / "leaderboard.csv", keep_default_na=False, na_values=[""])
    return table, (output / "leaderboard.html").read_text()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


def test_both_kinds_of_logs_and_deposits_stand_beside_each_other(folder, monkeypatch, capsys):
    write(folder, {"a/sigma_0.25": FLAGS, "b/noise_0.5.tsv": COUNTS, "notes.txt": "no log"})
    deposit(folder / "deposit")
    with tarfile.open(folder / "packed.tar.gz", "w:gz") as tar:
        tar.add(folder / "deposit", "mine")
    shutil.rmtree(folder / "deposit")
    deposit(folder / "deposit", radius="0.65")
    table, _ = run(folder, monkeypatch)
    assert capsys.readouterr().err == ""
    assert table.groupby("file").size().to_dict() == dict.fromkeys(
        ["a/sigma_0.25", "b/noise_0.5.tsv", "deposit: main", "packed.tar.gz: main"], 3
    )
    half = table[table["radius"] == 0.5].set_index("file")
    assert half["certified"].tolist() == [1] * 4
    low, high = binomial_interval(1, 4)
    assert half["ci_low_percent"].tolist() == pytest.approx([100 * low] * 4)
    assert half["ci_high_percent"].tolist() == pytest.approx([100 * high] * 4)
    assert half.loc["a/sigma_0.25", ["sigma", "images", "accuracy_percent"]].tolist() == [
        0.25,
        4,
        25,
    ]
    assert half.loc["a/sigma_0.25", ["method", "dataset", "n", "alpha", "source"]].isna().all()
    known = ["method", "dataset", "sigma", "n", "alpha"]
    for name in ("deposit: main", "packed.tar.gz: main"):
        assert half.loc[name, known].tolist() == ["cnn behind unet", "digits", 0.5, 100, 0.01]


def test_what_logs_do_not_say_stands_beside_them_and_the_later_line_counts(folder, monkeypatch):
    notes = """
        - {files: "*", dataset: CIFAR-10, n: 1000, method: other}
        - {files: "a/*", method: RS, sigma: 1.0, alpha: 0.001, source: "https://x.example/?a=1&b"}
    """
    write(folder, {"a/sigma_0.25": FLAGS, "b/log.tsv": COUNTS, "leaderboard.yaml": notes})
    table, page = run(folder, monkeypatch, "--radii", "0.5", "0.5", "0")
    known = table[["method", "dataset", "sigma", "n", "alpha", "radius"]].astype(object)
    known = known.where(known.notna(), "").to_numpy()
    assert known.tolist() == [
        ["RS", "CIFAR-10", 1.0, 1000, 0.001, 0.0],
        ["RS", "CIFAR-10", 1.0, 1000, 0.001, 0.5],
        ["other", "CIFAR-10", "", 1000, "", 0.0],
        ["other", "CIFAR-10", "", 1000, "", 0.5],
    ]
    assert '<a href="https://x.example/?a=1&amp;b">' in page


def test_a_note_that_fits_nothing_is_told(folder, monkeypatch, capsys):
    write(
        folder, {"a.tsv": FLAGS, "leaderboard.yaml": "- {files: '*', n: 9}\n- {files: b/*, n: 8}"}
    )
    run(folder, monkeypatch)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("leaderboard.yaml: [1].files: b/* fits no log and no deposit")


def test_what_is_damaged_is_one_line_and_the_rest_goes_on(folder, monkeypatch, capsys):
    deposit(folder / "torn")
    (folder / "torn/results/mine/certificates/main.parquet").write_bytes(b"torn")
    deposit(folder / "whole")
    deposit(folder / "whole again")
    deposit(folder / "odd")
    write(
        folder / "odd",
        {"study.json": "[]", "SHA256SUMS": f"{sha256(b'[]').hexdigest()}  study.json"},
    )
    write(
        folder,
        {
            "good.tsv": FLAGS,
            "same.tsv": FLAGS,
            "bad.tsv": FLAGS.replace("0.6", "0.6a"),
            "empty.tsv": HEADER,
            "cut.zip": "PK\3\4",
        },
    )
    table, _ = run(folder, monkeypatch)
    assert set(table["file"]) == {"good.tsv", "whole: main"}
    lines = capsys.readouterr().err.splitlines()
    for name, reason in [
        ("bad.tsv, line 2", "radius is '0.6a', not a number"),
        ("empty.tsv", "no image"),
        ("same.tsv", "has the content of good.tsv"),
        ("whole again: main", "has the content of whole: main"),
        ("torn", "is damaged"),
        ("odd", "is of no study"),
        ("cut.zip", "is damaged"),
    ]:
        (line,) = [line for line in lines if f"/{name}" in line or f": {name} has" in line]
        assert reason in line
    assert len(lines) == 7


def test_what_is_left_out_stands_for_nothing(folder, monkeypatch, capsys):
    deposit(folder / "b")
    shutil.copytree(folder / "b", folder / "a")
    described = json.loads((folder / "a/study.json").read_text())
    described["experiments"]["missing"] = described["experiments"]["main"]
    write(folder / "a", {"study.json": json.dumps(described)})
    digest = sha256((folder / "a/study.json").read_bytes()).hexdigest()
    sums = (folder / "a/SHA256SUMS").read_text().splitlines(keepends=True)
    write(folder / "a", {"SHA256SUMS": f"{digest}  study.json\n{sums[1]}"})
    table, _ = run(folder, monkeypatch)
    assert set(table["file"]) == {"b: main"}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("a holds no results/mine/certificates/missing.parquet")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "holds no log and no deposit that is whole"),
        ({"a.tsv": HEADER}, "holds no log and no deposit that is whole"),
        ({"a.tsv": FLAGS, "leaderboard.yaml": "- {files: a, sigm: 1}"}, "sigm: unknown key"),
        ({"a.tsv": FLAGS, "leaderboard.yaml": "- {files: a, alpha: 1}"}, "alpha: 1 is out of"),
    ],
)
def test_mistakes_end_in_one_line_and_nothing_is_written(folder, monkeypatch, files, reason):
    write(folder, files)
    with pytest.raises(SystemExit, match=reason) as ended:
        run(folder, monkeypatch)
    assert "\n" not in str(ended.value.code)
    assert not (folder.parent / "out").exists()


def test_an_output_that_is_no_folder_is_told_in_one_line(folder, monkeypatch):
    write(folder, {"a.tsv": FLAGS})
    (folder.parent / "out").write_text("a file")
    with pytest.raises(SystemExit, match="out cannot be written: File exists$"):
        run(folder, monkeypatch)


def test_undecided_radii_are_empty_and_markup_is_text(tmp_path):
    write(tmp_path, {"log.tsv": FLAGS})
    rows = read_log(tmp_path / "log.tsv").assign(lowest_radius=0.25)
    standing = Standing(rows, "a", method="<script>", source="javascript:alert(1)")
    table = leaderboard([standing], [0.0, 0.25])
    assert table["accuracy_percent"].isna().tolist() == [True, False]
    page = leaderboard_page(table)
    assert page.count("<script>") == 1
    assert "<a href" not in page


def test_a_browser_sorts_by_click_with_empty_cells_last(tmp_path):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs the browser chromium; on Debian, make browser installs it")
    write(tmp_path, {"log.tsv": FLAGS})
    rows = read_log(tmp_path / "log.tsv")
    wrong = rows.assign(correct=False)
    standings = [
        Standing(rows, "some", method="b"),
        Standing(wrong, "none", method="a", n=10),
        Standing(rows.assign(lowest_radius=0.5), "undecided", method="c", n=9),
    ]
    page = leaderboard_page(leaderboard(standings, [0.25]))
    clicks = """<script>
      const rows = () => [...document.querySelectorAll("tbody tr")];
      const shown = () => rows().map((row) => row.cells[8].innerText);
      const click = (name) => [...document.querySelectorAll("th button")]
        .find((button) => button.innerText.startsWith(name)).click();
      const seen = ["n", "n", "ε = 0.25", "ε = 0.25", "Method", "Method"].map((name) => {
        click(name);
        return [shown(), document.querySelectorAll("th[aria-sort]").length];
      });
      document.body.append(Object.assign(document.createElement("pre"), {
        id: "seen", textContent: JSON.stringify(seen) }));
    </script>"""
    (tmp_path / "page.html").write_text(page.replace("</body>", f"{clicks}</body>"))
    result = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu",
         f"--user-data-dir={tmp_path / 'browser'}", "--host-resolver-rules=MAP * ~NOTFOUND",
         "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    (seen,) = re.findall(r'<pre id="seen">(.*?)</pre>', result.stdout)
    orders, marks = zip(*json.loads(seen), strict=True)
    assert list(orders) == [
        ["none", "undecided", "some"],
        ["undecided", "none", "some"],
        ["some", "none", "undecided"],
        ["none", "some", "undecided"],
        ["none", "some", "undecided"],
        ["undecided", "some", "none"],
    ]
    assert set(marks) == {1}


def test_its_page_in_the_documentation_names_every_key_and_column(folder, monkeypatch):
    write(folder, {"log.tsv": FLAGS})
    table, _ = run(folder, monkeypatch)
    page = (tool.ROOT / "docs/leaderboard.md").read_text()
    unnamed = [name for name in [*tool.Note.model_fields, *table] if f"`{name}`" not in page]
    assert unnamed == []
