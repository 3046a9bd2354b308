"""What is deposited holds no secret, and no weights or images of anybody's."""

import json
import os
from pathlib import Path

from archive import asked_addresses, files_of, left_out, without_queries
from project import open_study
from study.study import Study


def test_queries_of_addresses_stay_out():
    model = {
        "citation": "https://forum.example/?id=1",
        "weights": {
            "download": {
                "url": "https://hub.example/a.pt?token=first",
                "mirrors": ["https://hub.example/a.pt?token=first&b=2", "https://hub.example/b"],
                "labels": {"url": "https://hub.example/c?key=third"},
            }
        },
    }
    addresses = list(asked_addresses({"models": [{"mine": model}]}))
    assert len(addresses) == 4
    content = " ".join([*addresses, model["citation"]]).encode()
    assert without_queries(content, addresses).decode().split() == [
        "https://hub.example/a.pt?...",
        "https://hub.example/a.pt?...",
        "https://hub.example/b",
        "https://hub.example/c?...",
        "https://forum.example/?id=1",
    ]


def test_code_of_ones_own_is_packed_with_what_it_imports_and_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = {"network": "packed.py:build", "arguments": {"config": "packed.json"}}
    (tmp_path / "mine.yaml").write_text(json.dumps({"models": {"mine": model}}))
    (tmp_path / "packed.py").write_text("import packed_too, dds.files\n")
    for name in ("packed.json", "packed_too.py", "another.py"):
        (tmp_path / name).write_text("")
    packed = {str(path) for path in files_of("mine.yaml")}
    assert packed == {"mine.yaml", "packed.py", "packed.json", "packed_too.py"}


def test_weights_images_and_deposits_stay_out_whatever_they_are_called():
    study = open_study("digits").to_json()
    study["models"]["digits_cnn"]["weights"] = {"file": "config/checkpoint.pth.tar"}
    study["models"]["digits_cnn_gaussian"]["weights"] = {"file": "./{sigma}.ckpt"}
    study["experiments"]["plan_fixed"]["votes"] = {"file": "./digits.tar.gz"}
    study["datasets"]["digits"] = {
        "source": "image_folder",
        "files": {"images": {"file": "../digits.zip"}},
        "splits": {"test": 500},
    }
    study |= {"tables": {}, "figures": {}, "notebooks": [], "checks": []}
    files = "config/checkpoint.pth.tar", "0.25.ckpt", "0.5.ckpt", "digits.tar.gz", "../digits.zip"
    assert left_out(Study.from_json(study)) >= {Path(os.path.abspath(file)) for file in files}
