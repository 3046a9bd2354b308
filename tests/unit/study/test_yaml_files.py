"""Any YAML file is read or refused in one line, soon."""

from __future__ import annotations

import time

import pytest

from study.errors import StudyError
from study.yaml_files import read_yaml

LAUGHS = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MERGED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)
)
LADDER = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 200))


def read(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path, "study.yaml")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("a: [1", "is not valid YAML: line 2, column 1: "),
        (b"a: \xff", "is not valid YAML: "),
        ("a: 1\nb: {c: 1, c: 2}", "line 2: key c comes twice"),
        ("1: a", "line 1: key 1 is not text; put it in quotes"),
        ("? [a, b]\n: 1", "line 1: key of several values is not text; put it in quotes"),
        ('"a\\nb": 1', "line 1: key a b is not text of one line"),
        ('"a\\u2028b": 1', "line 1: key a b is not text of one line"),
        ("a: !!int abc", "line 1: tag !!int is not allowed; write values without tags"),
        ("a: !!timestamp 99", "line 1: tag !!timestamp is not allowed"),
        ("a: !!python/object:os.system {}", "line 1: tag !!python/object:os.system is not allowed"),
        ("a: !mine [1]", "line 1: tag !mine is not allowed"),
        ("a: *b", "is not valid YAML: line 1, column 4: found undefined alias"),
        ("a: &a [*a]", "line 1: *a stands inside of what it stands for"),
        ("a: &a\n  b: {c: *a}", "line 2: *a stands inside of what it stands for"),
        ("[" * 100_000, "line 1: has more than 100 levels"),
        ("{a: " * 100_000, "line 1: has more than 100 levels"),
        ("- " * 5000 + "a", "line 1: has more than 100 levels"),
        (LADDER, "line 100: has more than 100 levels"),
        (LAUGHS, "line 6: has more than 100,000 values"),
        (MERGED, "line 6: has more than 100,000 values"),
        ("[" + "1, " * 200_000 + "]", "line 1: has more than 100,000 values"),
        ("a: 9223372036854775808", "is not valid YAML: line 1, column 4: a whole number is too la"),
        ("a: -" + "9" * 10_000, "is not valid YAML: line 1, column 4: a whole number is too large"),
        ("a: 0x" + "f" * 10_000, "is not valid YAML: line 1, column 4: a whole number is too larg"),
    ],
    ids=range(25),
)
def test_what_no_configuration_holds_is_refused(tmp_path, text, reason):
    start = time.monotonic()
    with pytest.raises(StudyError) as refused:
        read(tmp_path, text)
    message = str(refused.value)
    assert message.startswith(f"study.yaml: {reason}")
    assert len(message.splitlines()) == 1
    assert time.monotonic() - start < 10


def test_values_are_read_as_yaml_1_2_does(tmp_path):
    text = "a: 1e3\nb: 1e-3\nc: 2022-13-45\nd: .inf\ne: {f: null, g: [true, 'x\ny']}"
    expected = {"a": 1e3, "b": 1e-3, "c": "2022-13-45", "d": float("inf")}
    assert read(tmp_path, text) == expected | {"e": {"f": None, "g": [True, "x y"]}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0400", 400), ("-012", -12), ("0o400", 256), ("0x1F", 31), ("100_000", 100_000),
        ("3:20", "3:20"), ("-1:30", "-1:30"), ("3:20.5", "3:20.5"), ("0b11", "0b11"),
        ("0", 0), ("+5", 5), ("08", 8), ("1.5", 1.5), ("-.5", -0.5), (".5e1", 5.0), ("1_0.5", 10.5),
        ("1.", 1.0), ("-.inf", float("-inf")), ("1.2.3", "1.2.3"), (".", "."), ("-", [None]),
        ("0x", "0x"), ("1e", "1e"), ("_1", "_1"), ("\u0664", "\u0664"),
    ],
)  # fmt: skip
def test_numbers_are_those_of_yaml_1_2(tmp_path, text, value):
    found = read(tmp_path, f"a: {text}" if value != [None] else f"a:\n  {text}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_aliases_and_merged_keys_are_read(tmp_path):
    text = "a: &a {b: 1, c: &c [1, 2]}\nd: {<<: *a, b: 2}\ne: *c\nf: [*c, *c]"
    values = {"a": {"b": 1, "c": [1, 2]}, "d": {"b": 2, "c": [1, 2]}}
    assert read(tmp_path, text) == values | {"e": [1, 2], "f": [[1, 2], [1, 2]]}
