"""What is deposited holds no secret."""

import json

from archive import asked_addresses, files_of, without_queries


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
