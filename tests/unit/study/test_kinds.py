"""Kinds of the user's own: a FILE.py wherever a study names a source, a plan or a kind."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import yaml

from study.errors import StudyError
from study.load import load_config, load_study
from study.study import Study

ROOT = Path(__file__).parents[3]

SOURCE = """
    import dds.keys
    from dds.data.splits import Splits
    from dds.keys import Count, key

    class Keys(dds.keys.Keys):
        splits: Splits[Count] = key("How many images each split gets.")
        shade: int = key("How dark the images are.", 3)

    def images(keys):
        return 10, 1, (8, 8)
"""
PLAN = """
    import dds.keys
    from dds.keys import Radii, key

    SPENDS_ALPHA = False

    class Keys(dds.keys.Keys):
        radii: Radii = key("The radii that matter.")
        patience: float = key("How long to wait.", 1.0)

    def check(keys, n):
        if keys.patience > n:
            raise ValueError(f"patience must be at most n, which is {n}")
        if keys.patience == 7:
            raise ValueError("seven is no patience")
"""
TABLE = """
    from paper.parts import Captioned, Shown
    from dds.keys import key

    class Keys(Captioned):
        best: Shown = key("What to show first.")
        others: dict[str, Shown] = key("What else to show.", {})

    def check(entry, study):
        for name in entry.others:
            if name == entry.caption:
                yield ("others", name), "is called like the table"
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a study with kinds of its own, after changes of one entry each."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("source", SOURCE), ("plan", PLAN), ("table", TABLE)):
        Path(f"{name}.py").write_text(textwrap.dedent(text))

    def load(**changes):
        shown = {"experiment": "mine", "classifier": "digits_cnn"}
        entries = {
            "dataset": {"source": "source.py", "splits": {"train": 9, "validation": 9, "test": 50}},
            "experiment": {
                "dataset": "digits", "denoiser": "none", "classifiers": ["digits_cnn"],
                "sigmas": [0.25], "n0": 100, "n": 1000, "alpha": 0.001, "images": 50,
                "images_per_shard": 50, "plan": "plan.py", "radii": [0.25, 0.5],
            },
            "table": {
                "kind": "table.py", "caption": "Mine.", "best": shown, "others": {"too": shown}
            },
        }  # fmt: skip
        entries = {name: entry | changes.get(name, {}) for name, entry in entries.items()}
        study = {
            "seed": 1,
            "datasets": {"digits": entries["dataset"]},
            "experiments": {"mine": entries["experiment"]},
            "tables": {"table_mine": entries["table"]},
        }
        Path("study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
        return load_study(load_config({"study": "study.yaml"}), ROOT)

    return load


def test_their_keys_are_those_of_the_file(load):
    study = load(dataset={"shade": 5})
    assert study.datasets["digits"].shade == 5
    assert study.experiments["mine"].patience == 1.0
    assert study.tables["table_mine"].best.classifier == "digits_cnn"
    assert study.tables["table_mine"].experiments == ["mine"]
    assert Study.from_json(study.to_json()) == study


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dataset": {"shade": "dark"}}, "datasets.digits.shade: dark is not a whole number"),
        (
            {"dataset": {"colour": 1}},
            "datasets.digits.colour: unknown key; allowed: source, splits",
        ),
        ({"dataset": {"source": "no.py"}}, "datasets.digits.source: there is no file no.py"),
        (
            {"experiment": {"patience": 2000.0}},
            "experiments.mine.patience: patience must be at most n, which is 1000",
        ),
        ({"experiment": {"patience": 7}}, "experiments.mine.plan: seven is no patience"),
        ({"experiment": {"looks": [1]}}, "experiments.mine.looks: is for plan union_sequential"),
        (
            {"table": {"best": {"experiment": "mine", "classifier": "digits_vit"}}},
            "tables.table_mine.best.classifier: digits_vit is no classifier of experiment mine",
        ),
        (
            {"table": {"others": {"too": {"experiment": "its", "classifier": "digits_cnn"}}}},
            "tables.table_mine.others.too.experiment: its is no experiment; allowed: mine",
        ),
        (
            {"table": {"caption": "too"}},
            "tables.table_mine.others.too: is called like the table",
        ),
    ],
)
def test_what_their_files_do_not_allow_is_refused(load, changes, reason):
    with pytest.raises(StudyError) as refused:
        load(**changes)
    assert str(refused.value).startswith(f"study.yaml: {reason}")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("def (", "cannot be imported: SyntaxError: "),
        ("raise SystemError('two\\nlines')", "cannot be imported: SystemError: two lines"),
        ("Key = 3", "broken.py has no class Keys"),
    ],
)
def test_a_file_that_is_no_kind_is_refused(load, text, reason):
    Path("broken.py").write_text(text)
    with pytest.raises(StudyError) as refused:
        load(table={"kind": "broken.py"})
    message = str(refused.value)
    assert message.startswith("study.yaml: tables.table_mine.kind: ")
    assert reason in message
    assert len(message.splitlines()) == 1
