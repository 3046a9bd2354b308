"""Pages of the report say what was asserted, and where results come from."""

from paper.checks import Check
from paper.pages import checks_page, provenance_page

EVIL = "<script>alert(1)</script> & {x}"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt; &amp; {x}"


def test_checks_are_a_table_with_a_row_each():
    checks = [Check("radii fall", True, "20 numbers"), Check(EVIL, False, "at 0.5")]
    page = checks_page(checks)
    assert "1 of 2 checks passed" in page
    assert "<td>radii fall</td><td>✓</td><td>20 numbers</td>" in page
    assert f"<td>{ESCAPED}</td><td>failed</td><td>at 0.5</td>" in page


def test_provenance_is_tables_of_experiments_artefacts_and_facts():
    data = {
        "experiments": [["experiment", "n", "α"], ["denoised", "1,000", "0.001"]],
        "provenance": [("code", "4fc9009"), ("seed", "2023", ["a third"]), ("cnn", EVIL)],
    }
    page = provenance_page(data, {"table_1": ["denoised", "undefended"]})
    assert "<th>experiment</th><th>n</th><th>α</th>" in page
    assert "<td>denoised</td><td>1,000</td><td>0.001</td>" in page
    assert "<td>table_1</td><td>denoised, undefended</td>" in page
    assert "<td>seed</td><td>2023</td></tr>" in page
    assert f"<td>cnn</td><td>{ESCAPED}</td>" in page
    assert "<script" not in page
