"""What is deposited holds no secret."""

from archive import asked_addresses, without_queries


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
