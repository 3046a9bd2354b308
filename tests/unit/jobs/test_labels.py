"""Published labels are those of the model, in its order, or one line says what is wrong."""

import json

import pytest

from jobs.labels import check_labels

CLASSES = ["cat", "dog", "café"]
PUBLISHED = {"architectures": ["ViT"], "id2label": {"1": "dog", "0": "cat", "2": "cafe\u0301"}}
TIMM = {"architecture": "beit_large", "num_classes": 1000, "pretrained_cfg": {"mean": [0.5]}}


@pytest.fixture
def published(tmp_path):
    """A function that writes a published file."""

    def write(content):
        path = tmp_path / "config.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return write


def test_labels_are_compared_in_the_order_of_their_numbers(published):
    check_labels(published(PUBLISHED), CLASSES)
    check_labels(published(b"\xef\xbb\xbf" + json.dumps(PUBLISHED).encode()), CLASSES)
    with pytest.raises(ValueError, match=r"class 0 of .*config.json is 'cat', .* entry 'dog'"):
        check_labels(published(PUBLISHED), ["dog", "cat", "café"])
    with pytest.raises(ValueError, match=r"config.json has 3 classes, the model's entry has 2"):
        check_labels(published(PUBLISHED), CLASSES[:2])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (TIMM, "a configuration of timm, which has no id2label, .*; leave labels out, or give"),
        ({"a": 1}, "it has no id2label, a mapping of the classes' numbers to their names"),
        ({"id2label": ["cat", "dog", "café"]}, "it has no id2label, a mapping"),
        ([PUBLISHED], "it has no id2label, a mapping"),
        ({"id2label": {"a": "cat", "b": "dog", "c": "café"}}, "id2label must map the numbers 0 to"),
        ({"id2label": {"0": "cat", "1": "dog", "3": "café"}}, "id2label must map the numbers 0 to"),
        ({"id2label": {"0": "cat", "1": "dog", "2": 3}}, "id2label must map the numbers 0 to 2 to"),
        (b"<!DOCTYPE html>\n<html>Log in</html>", "is an HTML page, not a JSON file of labels"),
        (b"", "is an empty file, not a JSON file of labels"),
        (b"Not found", "is no JSON file of labels: Expecting value"),
        (b"caf\xe9", "is no JSON file of labels: 'utf-8' codec"),
        (b"[" * 100_000, "is no JSON file of labels: "),
    ],
)
def test_a_file_without_labels_is_said_in_one_line(published, content, reason):
    with pytest.raises(ValueError, match=f"^[^\n]*config.json: [^\n]*{reason}"):
        check_labels(published(content), CLASSES)
