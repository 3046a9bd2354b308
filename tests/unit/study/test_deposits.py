"""A study whose votes are deposited is the same study, and needs no weights for them."""

from __future__ import annotations

import pytest
import yaml

from project import ROOT, open_study
from study import depends
from study.checks import check_weights_exist
from study.errors import StudyError
from study.load import load_config, load_study
from study.results import results

MIXED = {"like": "digits", "experiments": {"undefended": {"votes": {"file": "votes.tar.gz"}}}}


@pytest.fixture
def load(tmp_path):
    """A function that loads a study of the user's own."""

    def load(written, **config):
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(written))
        return load_study(load_config({"study": str(path), **config}), ROOT)

    return load


def test_results_depend_on_the_same_wherever_votes_come_from(load):
    sampled = load({"like": "digits"})
    deposited = load({"like": "digits"}, deposit="votes.tar.gz")
    ours, theirs = (results(study, ROOT) for study in (deposited, sampled))
    left = {path for path in theirs if "/images_" in path or "/models/" in path}
    assert ours == {path: needs for path, needs in theirs.items() if path not in left}
    assert left


def test_the_deposit_of_the_command_line_is_that_of_experiments_that_name_none(load):
    study = load(MIXED, deposit="https://host.example/all.tar.gz")
    assert study.experiments["undefended"].votes.file == "votes.tar.gz"
    assert study.experiments["denoised"].votes.url == "https://host.example/all.tar.gz"
    assert study.sampled == []
    assert len(study.deposits) == 2
    assert study.deposit_of_costs is None


def test_of_a_mixed_study_weights_are_needed_where_samples_are_drawn(load):
    study = load(MIXED)
    assert list(study.deposited) == ["undefended"]
    assert not study.deposit_of_model("digits_cnn")  # others use it
    assert study.deposit_of_model("digits_cnn_gaussian").file == "votes.tar.gz"
    assert not study.deposit_of_figure("figure_pictures")
    assert study.deposit_of_costs is None
    made = results(study, ROOT)
    assert "results/mine/models/digits_cnn.json" in made
    assert not [path for path in made if "gaussian" in path or "undefended/sigma" in path]
    assert load({"like": "digits"}, deposit="a.tar.gz").deposit_of_figure("figure_pictures")


def test_weights_of_ones_own_need_not_be_there_to_load_a_study(load):
    """They are looked for before a run that reads them; votes of a deposit have none that does."""
    mine = {"like": "digits_cnn", "weights": {"file": "nowhere.pt"}}
    study = MIXED | {"models": {"mine": mine}}
    study["experiments"] = {"mine": {"like": "undefended", "classifiers": ["mine"]}}
    loaded = load(study)
    reason = r"^study mine: models.mine.weights.file: there is no file nowhere.pt$"
    with pytest.raises(StudyError, match=reason):
        check_weights_exist("mine", loaded)
    assert "mine" in load(study, deposit="votes.tar.gz").deposited


@pytest.mark.parametrize(
    ("votes", "line"),
    [
        ({"file": "a", "url": "https://host.example/a"}, "needs exactly one of file, url"),
        ("a.tar.gz", "a.tar.gz is not a mapping of keys to values"),
        ({"url": "https://host.example/a", "sha": "0"}, "unknown key; allowed: file, "),
    ],
)
def test_a_wrong_key_of_a_deposit_is_one_line(load, votes, line):
    with pytest.raises(StudyError, match=rf"mine.yaml: experiments.undefended.votes.*{line}"):
        load({"like": "digits", "experiments": {"undefended": {"votes": votes}}})


@pytest.mark.parametrize("address", ["ftp://host/a", "https://me:hidden@host.example/a"])
def test_a_wrong_address_on_the_command_line_is_one_line(load, address):
    with pytest.raises(StudyError, match=r"config.yaml or --config: deposit\.url: ") as caught:
        load({"like": "digits"}, deposit=address)
    assert "hidden" not in str(caught.value)


def test_what_is_taken_depends_on_the_study_alone_and_on_no_code():
    study = open_study("digits")
    for result in (
        "counts/denoised", "attacks/denoised", "figures/figure_pictures", "costs/a100-paper",
    ):  # fmt: skip
        assert '"code"' not in str(depends.taken(study, result))
