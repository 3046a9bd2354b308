"""Published numbers are read as printed, and recomputed where a log is at hand."""

from pathlib import Path

import pytest

from dds.files import sha256
from paper.literature import add_recomputed, published_cells, read_published, recompute_published

LITERATURE = Path(__file__).parents[3] / "config" / "literature"
HEADER = ("table,row,off_the_shelf,extra_data,sigma,radius,certified_accuracy,clean_accuracy,"
          "status\n")  # fmt: skip


@pytest.fixture(scope="module")
def published():
    return read_published(LITERATURE / "published.csv")


def test_every_cell_of_every_table_is_there(published):
    sizes = {"1": 10 * 5, "2": 3 * 6, "3": 12 * 4, "4a": 15, "4b": 15, "4c": 15, "4d": 15, "5": 16}
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


def test_no_cell_is_no_answer(published):
    with pytest.raises(ValueError, match="no published cell of table 3, row RS"):
        published_cells(published, "3", "RS")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("3,RS,no,no,,0.5,43.0,75.0,printed", "off_the_shelf must be one of none, half"),
        ("3,RS,none,no,,0.5,43.0,75.0,guessed", "status must be one of printed"),
        ("3,RS,none,no,,0.5,430,75.0,printed", "certified_accuracy must lie between 0 and 100"),
        ("3,RS,none,no,,half,43.0,75.0,printed", "radius must be a number"),
        ("3,RS,none,no,,,43.0,75.0,printed", "radius must be at least 0"),
        ("3,RS,none,no,,0.5,,75.0,printed", "a printed cell needs its number"),
        ("3,RS,none,no,,0.5,43.0,,not_legible", "a cell that was not printed has no number"),
        ("3,RS,none,no,,0.25,61.0,75.0,printed", "the cell comes twice"),
    ],
)
def test_wrong_cells_are_refused_by_line(tmp_path, line, problem):
    path = tmp_path / "published.csv"
    path.write_text(f"{HEADER}3,RS,none,no,,0.25,61.0,75.0,printed\n{line}\n")
    with pytest.raises(ValueError, match=f"line 3: {problem}"):
        read_published(path)


def test_wrong_columns_are_refused(tmp_path):
    (tmp_path / "published.csv").write_text("table,row\n3,RS\n")
    with pytest.raises(ValueError, match="must have the columns table, row, off_the_shelf"):
        read_published(tmp_path / "published.csv")


def test_what_is_no_table_is_refused(tmp_path):
    (tmp_path / "published.csv").write_text("")
    with pytest.raises(ValueError, match="published.csv is not a CSV file: No columns"):
        read_published(tmp_path / "published.csv")


def test_links_lead_to_published_cells(published, tmp_path):
    header, *links = (LITERATURE / "logs.csv").read_text().splitlines()
    assert len(links) == 12
    for link in links:
        table, row, radius, *_ = link.split(",")
        cells = published_cells(published, table, row).set_index("radius")
        assert cells.loc[float(radius), "status"] == "printed"
    assert recompute_published(LITERATURE / "logs.csv", tmp_path / "absent").empty


def test_a_log_at_hand_is_known_by_its_content(tmp_path):
    log = tmp_path / "logs" / "any name.tsv"
    log.parent.mkdir()
    log.write_text(
        "idx\tlabel\tpredict\tradius\tcorrect\ttime\n"
        "0\t1\t1\t0.6\t1\t0\n1\t1\t1\t0.2\t1\t0\n2\t1\t0\t0.9\t0\t0\n3\t1\t1\t0.5\t1\t0\n"
    )
    links = tmp_path / "logs.csv"
    links.write_text(
        "table,row,radius,sigma,repository,commit,path,bytes,sha256\n"
        f"3,RS,0.5,0.25,o/r,c,p,1,{sha256(log)}\n3,RS,0.25,0.25,o/r,c,p,1,{'0' * 64}\n"
    )
    (cell,) = recompute_published(links, tmp_path / "logs").to_dict("records")
    assert cell == {"table": "3", "row": "RS", "sigma": 0.25, "radius": 0.5, "images": 4,
                    "certified_accuracy": 50.0, "clean_accuracy": 75.0}  # fmt: skip
    published = tmp_path / "published.csv"
    published.write_text(
        f"{HEADER}3,RS,none,no,,0.25,61.0,75.0,printed\n3,RS,none,no,,0.5,43.0,75.0,printed\n"
    )
    cells = add_recomputed(read_published(published), links, tmp_path / "logs")
    assert cells["recomputed_accuracy"].fillna(-1).tolist() == [-1, 50.0]
    assert cells["recomputed_clean_accuracy"].fillna(-1).tolist() == [-1, 75.0]
