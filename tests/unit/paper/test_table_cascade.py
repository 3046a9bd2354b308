"""Every sigma, the best over them, and the cascade of them, one row each."""

import pytest
from paper_samples import CASCADE, CERTIFICATES, RECORDS, table, texts
from pydantic import ValidationError

from dds.statistics.accuracy import certified_accuracy
from dds.statistics.cascade import certify_cascade, compute_cascade
from paper.tables import build_table, lay_out

#: The class is the right one where a radius is certified, else another.
ANSWERS = CERTIFICATES["e"]["correct"].astype(int)
ROWS = CERTIFICATES | {"e": CERTIFICATES["e"].assign(selected=ANSWERS, top=ANSWERS)}
HEADS = ["σ = 0.25", "σ = 0.5", "best over σ", "cascade"]


def numbers_of(**changes):
    return build_table(table(CASCADE, **changes), ROWS, None, RECORDS)


def test_the_cascade_stands_below_its_sigmas_and_the_best_of_them():
    cnn, vit = lay_out("cascade", numbers_of())
    assert (cnn.title, vit.title) == ("CNN", "ViT")
    assert [row[0] for row in texts(cnn)] == HEADS
    # Three of the four images are certified at 0.25; one of them at 0.5, too.
    assert [row[1:] for row in texts(cnn)] == [
        ["75.0", "50.0"], ["25.0", "25.0"], ["75.0", "50.0"], ["75.0", "25.0"],
    ]  # fmt: skip
    assert all(cell.raised == "" for row in cnn.rows for cell in row)


def test_its_numbers_are_those_of_the_cascade():
    numbers = numbers_of(p0=0.6).query("method == 'cascade' and classifier == 'vit'")
    rows = ROWS["e"].query("classifier == 'vit'")
    expected = certified_accuracy(compute_cascade(rows, p0=0.6), [0.0, 0.25])
    assert numbers["certified"].tolist() == expected["certified"].tolist()
    assert (numbers["p0"] == 0.6).all()
    assert numbers["sigma"].isna().all()
    assert numbers["most_frequent_share"].notna().all()


def test_the_threshold_and_what_the_cascade_is_are_said():
    (note,) = [note for note in lay_out("cascade", numbers_of(p0=0.6))[0].notes if "p₀" in note]
    assert "more than p₀ = 0.6 of the votes" in note
    assert "The cascade is one classifier" in note
    assert "The best over σ is no classifier" in note


@pytest.mark.parametrize(("radii", "told"), [([0.0, 0.25], 1), ([0.25], 0)])
def test_where_it_shows_clean_accuracy_that_is_said_to_be_a_lower_bound(radii, told):
    notes = lay_out("cascade", numbers_of(radii=radii))[0].notes
    assert sum("a lower bound on that of the smoothed classifier" in note for note in notes) == told


def test_a_radius_that_no_votes_certify_is_out_of_reach():
    votes = [[[100]], [[100]]]
    (reached,) = certify_cascade(votes, votes, [0.25, 0.5], 0.001)["radius"]
    sheet = lay_out("cascade", numbers_of(radii=[reached - 1e-6, reached + 1e-6]))[0]
    assert texts(sheet)[-1][1:] == ["25.0", "n/a"]


def test_a_nearly_constant_cascade_is_marked():
    constant = {"e": ROWS["e"].assign(selected=3, top=3)}
    sheet = lay_out("cascade", build_table(table(CASCADE), constant, None, RECORDS))[0]
    assert [row[0].mark for row in sheet.rows] == ["†"] * 4


@pytest.mark.parametrize("p0", [0.49, 1.0])
def test_a_threshold_out_of_range_is_refused(p0):
    with pytest.raises(ValidationError):
        table(CASCADE, p0=p0)
