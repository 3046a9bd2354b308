"""The examples in the documentation of functions are true."""

import doctest

import pytest

from paper import costs, parts, sheets


@pytest.mark.parametrize("module", [costs, parts, sheets], ids=lambda module: module.__name__)
def test_examples(module):
    results = doctest.testmod(module)
    assert results.failed == 0
    assert results.attempted > 0
