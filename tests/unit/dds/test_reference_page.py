"""docs/api.md lists every public name of the library."""

import re
from pathlib import Path

import dds

PAGE = Path(__file__).parents[3] / "docs" / "api.md"


def test_the_reference_lists_every_public_name_once():
    listed = re.findall(
        r"^\.\. (?:auto|py:)(?:function|class|data):: (?:dds\.)?(\w+)$", PAGE.read_text(), re.M
    )
    assert sorted(listed) == sorted(dds.__all__)
