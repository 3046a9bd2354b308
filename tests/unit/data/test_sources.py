"""What holds of all sources of images, and of a user's own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dds.keys
from dds.data.packs import read_pack
from dds.data.sources import SOURCES, Images
from dds.keys import combined, key

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts"

FILES = {"images": {"file": "images.zip"}}
ENTRIES = {
    "sklearn_digits": {"splits": {"train": 1e3, "test": 797}},
    "cifar10": {"splits": {"test": 10}, "files": FILES},
    "imagenet": {"splits": {"test": {"every": 50}}, "files": FILES, "resize": 256, "crop": 224},
    "image_folder": {"splits": {"test": {"from": "test", "images": 5}}, "files": FILES},
}


class Entry(dds.keys.Keys):
    """A dataset."""

    source: str = key("Where the images come from.")


def test_every_source_is_a_module_of_the_package():
    assert SOURCES.names == tuple(sorted(ENTRIES))


@pytest.mark.parametrize("source", SOURCES.names)
def test_keys_come_back_from_their_json(source):
    kind = combined(Entry, SOURCES[source].Keys)
    entry = {"source": source, **ENTRIES[source]}
    keys = kind.model_validate(entry)
    written = json.loads(json.dumps(keys.model_dump(mode="json", by_alias=True)))
    assert kind.model_validate(written) == keys
    assert "splits" in kind.model_json_schema()["required"]


@pytest.mark.parametrize("source", SOURCES.names)
def test_every_key_is_described(source):
    assert SOURCES[source].Keys.__doc__
    for field in SOURCES[source].Keys.model_fields.values():
        assert field.description.endswith(".")


def test_what_is_known_before_any_image_is_read():
    known = {}
    for source, entry in ENTRIES.items():
        kind = SOURCES[source]
        known[source] = kind.images(kind.Keys.model_validate(entry))
    assert known == {
        "sklearn_digits": Images(10, 1, (8, 8), total=1797),
        "cifar10": Images(10, 3, (32, 32)),
        "imagenet": Images(1000, 3, (224, 224), total=50_000),
        "image_folder": Images(None, 3, None),
    }
    kind = SOURCES["image_folder"]
    entry = ENTRIES["image_folder"] | {"classes": ["cat", "dog"], "channels": 1, "crop": 7}
    assert kind.images(kind.Keys.model_validate(entry)) == Images(2, 1, (7, 7))


@pytest.mark.parametrize("source", ["cifar10", "image_folder", "imagenet"])
def test_the_files_are_those_that_the_source_takes(refusal, source):
    allowed = "images, devkit" if source == "imagenet" else "images"
    entry = ENTRIES[source] | {"files": {**FILES, "kit": {"file": "kit.tar"}}}
    wanted = f"kit is no file of this source; allowed: {allowed}"
    assert refusal(source, entry) == ("files", wanted)
    assert refusal(source, entry | {"files": {}}) == ("files.images", "Field required")
    assert refusal(source, entry | {"files": {"images": {}}}) == (
        "files.images",
        "needs exactly one of file, url",
    )


OWN = '''
"""One colour after the other."""

import dds.keys
from dds.data.sources import Images
from dds.data.splits import Splits
from dds.keys import Count, key


class Keys(dds.keys.Keys):
    """Images of one colour each."""

    splits: Splits[Count] = key("How many images each split gets, by the split's name.")
    side: Count = key("Height and width in pixels.", 4)


def images(keys):
    return Images(classes=2, channels=1, size=(keys.side, keys.side))


def prepare(keys, files, *, seed):
    import numpy as np

    from dds.data.packs import Pack

    return {
        name: Pack(
            np.full((number, 1, keys.side, keys.side), seed, np.uint8),
            np.arange(number) % 2,
            np.array([f"{name}/{index}" for index in range(number)]),
            np.array(["even", "odd"]),
        )
        for name, number in keys.splits.items()
    }
'''


RULE = """
import json, runpy, sys
from types import SimpleNamespace

params, output = json.loads(sys.argv[1])
snakemake = SimpleNamespace(
    rule="prepare_data", log=["log"], params=SimpleNamespace(**params), output=output
)
runpy.run_path(sys.argv[2], {"snakemake": snakemake})
"""


def run_rule(folder, entry, splits, seed=1):
    """Run the rule's script as Snakemake does."""
    given = json.dumps([{"depends": {"entry": entry, "seed": seed}, "files": {}}, splits])
    return subprocess.run(
        [sys.executable, "-c", RULE, given, str(SCRIPTS / "prepare_data.py")],
        cwd=folder,
        env={"PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_source_of_the_users_own_is_a_file(tmp_path):
    path = tmp_path / "colours.py"
    path.write_text(OWN)
    kind = SOURCES[str(path)]
    entry = {"splits": {"train": 3, "test": 2}}
    assert kind.images(kind.Keys.model_validate(entry)) == Images(2, 1, (4, 4))
    entry |= {"source": str(path), "side": 5}
    assert run_rule(tmp_path, entry, ["train.npz", "test.npz"], seed=7).returncode == 0
    train, test = (read_pack(tmp_path / f"{name}.npz") for name in ("train", "test"))
    assert train.images.shape == (3, 1, 5, 5)
    assert test.ids.tolist() == ["test/0", "test/1"]
    assert np.unique(test.images).tolist() == [7]


def test_the_script_writes_the_packs_of_an_entry(tmp_path, prepare):
    splits = {"train": 100, "test": 50}
    entry = {"source": "sklearn_digits", "splits": splits}
    assert run_rule(tmp_path, entry, ["data/train.npz", "data/test.npz"], seed=3).returncode == 0
    for name, wanted in prepare("sklearn_digits", splits, seed=3).items():
        pack = read_pack(tmp_path / "data" / f"{name}.npz")
        assert np.array_equal(pack.ids, wanted.ids)
        assert np.array_equal(pack.images, wanted.images)


def test_the_script_refuses_an_unknown_source_in_one_line(tmp_path):
    run = run_rule(tmp_path, {"source": "mnist", "splits": {"test": 1}}, [])
    assert (run.returncode, run.stderr) == (
        1,
        "prepare_data: mnist is not allowed; allowed: cifar10, image_folder, imagenet, "
        "sklearn_digits, or FILE.py (log: log)\n",
    )
