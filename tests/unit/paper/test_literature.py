"""Published numbers are read as printed, and recomputed where a log is at hand."""

from pathlib import Path

import pytest
import yaml

from dds.files import sha256
from paper.linked_logs import find_linked_logs
from paper.literature import (
    add_logged,
    add_recomputed,
    published_cells,
    read_published,
    recompute_published,
)

ROOT = Path(__file__).parents[3]
LITERATURE = ROOT / "config" / "literature"
HEADER = ("table,row,off_the_shelf,extra_data,sigma,radius,certified_accuracy,clean_accuracy,"
          "images,status,source\n")  # fmt: skip
LINKS = ("table,row,extra_data,radius,sigma,repository,commit,path,bytes,sha256,images,"
         "certified_accuracy,clean_accuracy\n")  # fmt: skip
LOG = (
    "idx\tlabel\tpredict\tradius\tcorrect\ttime\n"
    "0\t1\t1\t0.6\t1\t0\n1\t1\t1\t0.2\t1\t0\n2\t1\t0\t0.9\t0\t0\n3\t1\t1\t0.5\t1\t0\n"
)


@pytest.fixture(scope="module")
def published():
    return read_published(LITERATURE / "published.csv")


def test_every_cell_of_every_table_is_there(published):
    sizes = {"1": 10 * 5, "2": 3 * 6, "3": 12 * 4, "4a": 15, "4b": 15, "4c": 15, "4d": 15, "5": 16,
             "cifar10": 4 * 4, "imagenet": 4 * 5}  # fmt: skip
    assert published["table"].value_counts().to_dict() == sizes


def test_rows_of_one_name_differ_by_extra_data(published):
    cells = published_cells(published, "3", "SmoothAdv [19]")
    accuracy = cells[cells["radius"] == 0.25].set_index("extra_data")["certified_accuracy"]
    assert accuracy.to_dict() == {"no": 68.0, "yes": 74.8}


def test_tables_that_share_numbers_agree(published):
    """Tables 1, 3 and 5 print, for each radius, the best of Tables 2 and 4."""
    for best, row, per_sigma in [("1", "Ours", "2"), ("5", "Wide-ResNet", "4a"),
                                 ("3", "Ours", "4c"), ("3", "Ours (+finetuning)", "4d"),
                                 ("5", "Wide-ResNet +finetune", "4b")]:  # fmt: skip
        for cell in published_cells(published, best, row).itertuples():
            cells = published_cells(published, per_sigma)
            cells = cells[cells["radius"] == cell.radius]
            if (cells["status"] == "printed").all():
                assert cells["certified_accuracy"].max() == cell.certified_accuracy
            else:
                assert not cells["certified_accuracy"].max() > cell.certified_accuracy


def test_certified_accuracy_falls_with_the_radius(published):
    printed = published[published["status"] == "printed"]
    for _, cells in printed.groupby(["table", "row", "extra_data"]):
        accuracy = cells.sort_values("radius")["certified_accuracy"]
        assert accuracy.is_monotonic_decreasing


def test_a_dash_is_not_a_lost_cell(published):
    cells = published_cells(published, "1", "Denoised [20]").set_index("radius")["status"]
    assert cells[2.0] == "not_reported"
    assert cells[3.0] == "not_legible"


def test_what_came_after_the_paper_says_where_it_was_read_and_on_how_many_images(published):
    later = published[published["table"].isin(["cifar10", "imagenet"])]
    printed = later[later["status"] == "printed"].set_index(["table", "row", "radius"])
    assert printed[["source", "images"]].notna().all(axis=None)
    assert set(later["status"]) == {"printed", "not_legible"}
    shown = printed[["certified_accuracy", "images"]]
    assert shown.loc["imagenet", "DMAE ViT-L", 3.0].tolist() == [27.5, 1000]
    assert shown.loc["cifar10", "Noised diffusion classifier", 0.5].tolist() == [70.7, 512]


def test_no_cell_is_no_answer(published):
    with pytest.raises(ValueError, match="no published cell of table 3, row RS"):
        published_cells(published, "3", "RS")


def test_how_many_images_a_published_value_rests_on(published):
    """In the paper's words: the whole test set of CIFAR-10, and 1,000 images of ImageNet."""
    ours = published[published["row"].str.startswith(("Ours", "sigma", "ViT", "Wide"))]
    printed = ours[ours["status"] == "printed"]
    imagenet = printed["table"].isin(["1", "2"])
    assert set(printed.loc[imagenet, "images"]) == {1000}
    assert set(printed.loc[~imagenet, "images"]) == {10000}
    assert published.loc[published["status"] != "printed", "images"].isna().all()


def test_rows_in_whole_percents_are_rounded_to_them(published):
    for table, row, rounding in [("3", "RS [5]", 0.5), ("3", "Ours", 0.05), ("1", "Lee [15]", 0.5),
                                 ("2", "sigma = 1.0", 0.05)]:  # fmt: skip
        assert set(published_cells(published, table, row)["rounding"]) == {rounding}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "3,RS,no,no,,0.5,43.0,75.0,500,printed,a paper",
            "off_the_shelf must be one of none, half",
        ),
        ("3,RS,none,no,,0.5,43.0,75.0,500,guessed,a paper", "status must be one of printed"),
        (
            "3,RS,none,no,,0.5,430,75.0,500,printed,a paper",
            "certified_accuracy must lie between 0 and 100",
        ),
        ("3,RS,none,no,,half,43.0,75.0,500,printed,a paper", "radius must be a number"),
        ("3,RS,none,no,,,43.0,75.0,500,printed,a paper", "radius must be at least 0"),
        ("3,RS,none,no,,0.5,,75.0,500,printed,a paper", "a printed cell needs its number"),
        (
            "3,RS,none,no,,0.5,43.0,,500,not_legible,a paper",
            "a cell that was not printed has no number",
        ),
        (
            "3,RS,none,no,,0.5,43.0,75.0,0.5,printed,a paper",
            "images must be a whole number of at least 1",
        ),
        ("3,RS,none,no,,0.25,61.0,75.0,500,printed,a paper", "the cell comes twice"),
        ("3,RS,none,no,,0.5,43.0,75.0,500,printed,", "a printed cell needs its source"),
    ],
)
def test_wrong_cells_are_refused_by_line(tmp_path, line, problem):
    path = tmp_path / "published.csv"
    path.write_text(f"{HEADER}3,RS,none,no,,0.25,61.0,75.0,500,printed,a paper\n{line}\n")
    with pytest.raises(ValueError, match=f"line 3: {problem}"):
        read_published(path)


def test_wrong_columns_are_refused(tmp_path):
    (tmp_path / "published.csv").write_text("table,row\n3,RS\n")
    with pytest.raises(ValueError, match="must have the columns table, row, off_the_shelf"):
        read_published(tmp_path / "published.csv")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "published.csv is not a CSV file: No columns"),
        (HEADER.encode("utf-16"), "published.csv is no text in UTF-8"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, problem):
    (tmp_path / "published.csv").write_bytes(content)
    with pytest.raises(ValueError, match=problem):
        read_published(tmp_path / "published.csv")


def test_tables_saved_by_a_spreadsheet_are_read(tmp_path, published):
    text = (LITERATURE / "published.csv").read_text()
    (tmp_path / "published.csv").write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert read_published(tmp_path / "published.csv").equals(published)


def test_links_lead_to_published_cells(published):
    cells = add_logged(published, LITERATURE / "logs.csv")
    assert len(cells) == len(published)
    linked = cells[cells["logged_accuracy"].notna()]
    assert len(linked) == 36
    assert set(linked["status"]) == {"printed"}
    otherwise = linked[linked["logged_otherwise"]]
    columns = ["table", "row", "radius", "logged_clean_accuracy", "logged_accuracy"]
    assert otherwise[columns].to_numpy().tolist() == [
        ["1", "Consistency [13]", 1.5, 55.0, 34.8],
        ["1", "Consistency [13]", 3.0, 41.6, 17.4],
        ["3", "RS [5]", 0.25, 74.8, 60.0],
        ["3", "SmoothMix [12]", 1.0, 63.5, 36.71],
    ]


def test_rows_of_one_name_have_links_of_their_own(published):
    cells = add_logged(published, LITERATURE / "logs.csv")
    rows = published_cells(cells, "3", "SmoothAdv [19]").set_index("extra_data")
    assert rows.loc["yes", "logged_accuracy"].tolist() == [74.8, 60.8, 47.0, 37.8]
    assert rows.loc["no", "logged_accuracy"].isna().all()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("3,RS [5],yes,0.25,0.25,o/r,c,p,1,s,500,60.0,74.8", "line 2: leads to no cell"),
        ("3,RS [5],no,0.25,0.25,o/r,c,p,1,s,500,sixty,74.8", "line 2: certified_accuracy must be"),
        ("3,RS [5],no,0.25,0.25,o/r,c,p,1,s,500,60.0,74.8\n" * 2, "line 3: the cell comes twice"),
    ],
)
def test_wrong_links_are_refused_by_line(tmp_path, published, line, problem):
    (tmp_path / "logs.csv").write_text(f"{LINKS}{line}\n")
    with pytest.raises(ValueError, match=problem):
        add_logged(published, tmp_path / "logs.csv")


@pytest.fixture
def linked(tmp_path):
    """A log, and links to it: of two rows of one name, one is linked."""
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "any name"
    log.write_text(LOG)
    links = tmp_path / "logs.csv"
    cell = f"o/r,c,p,{log.stat().st_size}"
    links.write_text(
        f"{LINKS}3,RS,yes,0.5,0.25,{cell},{sha256(log)},4,50.0,75.0\n"
        f"3,RS,no,0.25,0.25,{cell},{'0' * 64},4,50.0,75.0\n"
    )
    published = tmp_path / "published.csv"
    published.write_text(
        f"{HEADER}3,RS,none,no,,0.25,61.0,75.0,500,printed,a paper\n"
        "3,RS,none,no,,0.5,43.0,75.0,500,printed,a paper\n"
        "3,RS,none,yes,,0.5,53.0,75.0,500,printed,a paper\n"
    )
    return links, log, read_published(published)


@pytest.mark.parametrize(
    "content",
    [LOG.encode(), LOG.replace("\n", "\r\n").encode("utf-8-sig")],
    ids=["as published", "after Windows"],
)
def test_a_log_at_hand_is_known_by_its_content(linked, content):
    links, log, published = linked
    log.write_bytes(content)
    (log.parent / "README").write_text("Other files are passed over.")
    (cell,) = recompute_published(links, log.parent).drop(columns="log").to_dict("records")
    assert cell == {"table": "3", "row": "RS", "extra_data": "yes", "sigma": 0.25, "radius": 0.5,
                    "images": 4, "certified_accuracy": 50.0, "clean_accuracy": 75.0}  # fmt: skip
    cells = add_recomputed(published, links, log.parent)
    assert cells["recomputed_accuracy"].fillna(-1).tolist() == [-1, -1, 50.0]
    assert cells["recomputed_clean_accuracy"].fillna(-1).tolist() == [-1, -1, 75.0]
    assert [log is not None for log in cells["log"]] == [False, False, True]


def test_a_folder_without_a_linked_log_is_refused(linked):
    links, log, _ = linked
    log.write_text(LOG.replace("0.6", "0.7"))
    for folder, problem in [("absent", "there is no folder .*absent"), (".", "holds none of the")]:
        with pytest.raises(ValueError, match=problem):
            find_linked_logs(links, log.parent / folder)


def test_the_paper_is_cited_with_its_six_authors():
    names = ["Carlini, Nicholas", "Tramèr, Florian", "Dvijotham, Krishnamurthy Dj",
             "Rice, Leslie", "Sun, Mingjie", "Kolter, J. Zico"]  # fmt: skip
    references = yaml.safe_load((ROOT / "workflow/report/references.yaml").read_text("utf-8"))
    assert references["carlini"]["author"] == names
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["references"][0]
    written = [f"{author['family-names']}, {author['given-names']}" for author in
               citation["authors"]]  # fmt: skip
    assert written == names
