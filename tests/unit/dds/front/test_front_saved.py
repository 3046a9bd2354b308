"""What is counted lies in a file: a call that is interrupted goes on, another one is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from dds import (
    Certificates,
    Classifier,
    DiffusionDenoiser,
    Predictions,
    certify,
    cosine_schedule,
    predict,
)
from dds.front import counting
from dds.sampling.counts import read_counts

IMAGES = np.random.default_rng(0).uniform(0, 1, (3, 1, 4, 4)).astype(np.float32)
CALL = {"sigma": 0.5, "n0": 100, "n": 1000, "labels": [0, 1, 0]}


class Interruptible(nn.Module):
    """Two logits of an image; it is interrupted in the middle of the work."""

    def __init__(self, batches=None, factor=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([factor, 0.0]))
        self._batches, self._seen = batches, 0

    def __getstate__(self):  # what is counted decides on no answer
        counted = ("_batches", "_seen")
        return {name: value for name, value in vars(self).items() if name not in counted}

    def forward(self, images):
        if len(images) > 4:  # else it is only tried
            if self._batches is not None and self._seen >= 100 * self._batches:
                raise KeyboardInterrupt
            self._seen += len(images)
        return self.weight * (images.mean(dim=(1, 2, 3), keepdim=False)[:, None] - 0.5)


class Noise(nn.Module):
    def forward(self, noisy, time):
        return noisy / 2


@pytest.fixture
def path(tmp_path):
    return tmp_path / "photographs.parquet"


@pytest.mark.parametrize(
    "plan", ["fixed", {"plan": "sequential", "radii": [0.0, 0.25]}, {"plan": "radius"}]
)
def test_an_interrupted_call_goes_on_and_counts_the_same(path, monkeypatch, plan):
    monkeypatch.setattr("dds.front.saved._NOTED", 0)
    wanted = certify(IMAGES, Interruptible(), None, **CALL, plan=plan)
    drawn = int(wanted.selection.sum() + wanted.estimation.sum())
    with pytest.raises(KeyboardInterrupt):
        certify(IMAGES, Interruptible(batches=4), None, **CALL, plan=plan, save_to=path)
    with pytest.raises(ValueError, match="not finished: . of 3 images are; the same call"):
        Certificates.load(path)

    rest = Interruptible()
    found = certify(IMAGES, rest, None, **CALL, plan=plan, save_to=path)
    assert rest._seen == drawn - 400
    np.testing.assert_array_equal(found.estimation, wanted.estimation)

    again = Interruptible(batches=0)  # which could draw nothing
    np.testing.assert_array_equal(
        certify(IMAGES, again, None, **CALL, plan=plan, save_to=path).radius, wanted.radius
    )
    loaded = Certificates.load(path)
    np.testing.assert_array_equal(loaded.radius, wanted.radius)
    assert repr(loaded) == repr(wanted)
    assert loaded.facts == found.facts


def test_predictions_go_on_as_well(path, monkeypatch):
    monkeypatch.setattr("dds.front.saved._NOTED", 0)
    call = {"sigma": 0.5, "n": 300}
    with pytest.raises(KeyboardInterrupt):
        predict(IMAGES, Interruptible(batches=4), None, **call, save_to=path)
    with pytest.raises(ValueError, match="is not finished: 1 of 3 images are"):
        Predictions.load(path)
    rest = Interruptible()
    found = predict(IMAGES, rest, None, **call, save_to=path)
    assert rest._seen == 500
    np.testing.assert_array_equal(Predictions.load(path).counts, found.counts)
    with pytest.raises(ValueError, match="was not written by dds.certify"):
        Certificates.load(path)


NETWORK = Interruptible()
DENOISER = DiffusionDenoiser(Noise(), cosine_schedule(100))
NAMED = Classifier(Interruptible(), classes=("dark", "bright"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"images": 1 - IMAGES}, "images"),
        ({"classifier": Interruptible(factor=2.0)}, "classifier"),
        ({"classifier": NAMED}, "classifier;"),
        ({"denoiser": None}, "denoiser"),
        ({"denoiser": DiffusionDenoiser(Noise(), cosine_schedule(99))}, "denoiser"),
        ({"denoiser": DiffusionDenoiser(Noise(), cosine_schedule(100), steps=2)}, "denoiser"),
        ({"sigma": 0.25}, "sigma: 0.5, not 0.25"),
        ({"seed": 1}, "seed: 0, not 1"),
        ({"n": 2000}, "n: 1000, not 2000"),
        ({"alpha": 0.01}, "alpha: 0.001, not 0.01"),
        ({"plan": "radius"}, "plan: fixed, not radius"),
        ({"ids": [0, 1, 3]}, "ids"),
        ({"labels": [0, 0, 0]}, "labels"),
        ({"precision": "bfloat16"}, "precision: float32, not bfloat16"),
    ],
)
def test_votes_of_another_call_are_refused_and_left(path, change, named):
    call = CALL | {"images": IMAGES, "classifier": NETWORK, "denoiser": DENOISER, "n": 100}
    call |= {"n": 1000} if "n" in change else {}
    certify(**call, save_to=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"photographs.parquet holds votes with other {named}"):
        certify(**call | change, save_to=path)
    assert path.read_bytes() == before


SEEN, SIZES = 0, {}


class Running(Interruptible):
    """Counts and keeps what it likes: in attributes, of its class too, and in global variables."""

    runs = 0

    def __init__(self, shift=0.0):
        super().__init__()
        self.calls, self._kept, self._shift = 0, {}, shift

    def __getstate__(self):  # but for what interrupts it
        return {name: value for name, value in vars(self).items() if name != "_batches"}

    def forward(self, images):
        global SEEN
        SEEN += 1
        Running.runs += 1
        self.calls += 1
        size = len(images)
        self._kept[size] = SIZES[size] = torch.zeros(size)
        return super().forward(images) + self._shift


@pytest.mark.parametrize("batches", [None, 4])
def test_what_running_changes_of_networks_stands_in_nothing_s_way(path, monkeypatch, batches):
    monkeypatch.setattr("dds.front.saved._NOTED", 0)
    network = Running()
    network._batches = batches
    if batches:
        with pytest.raises(KeyboardInterrupt):
            certify(IMAGES, network, None, **CALL, save_to=path)
        network._batches = None
    certify(IMAGES, network, None, **CALL, save_to=path)
    for one in (network, Running()):
        one._batches = 0  # which could draw nothing
        found = certify(IMAGES, one, None, **CALL, save_to=path)
        assert Certificates.load(path).facts == found.facts
    with pytest.raises(
        ValueError, match=r"other code of the networks, \S*\.Running\._shift \(an at"
    ):
        certify(IMAGES, Running(shift=1.0), None, **CALL, save_to=path)


def test_unfinished_votes_of_another_machine_are_refused_and_finished_ones_loaded(
    path, monkeypatch
):
    monkeypatch.setattr("dds.front.saved._NOTED", 0)
    with pytest.raises(KeyboardInterrupt):
        certify(IMAGES, Interruptible(batches=4), None, **CALL, save_to=path)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(torch, "__version__", "9.9")
        with pytest.raises(ValueError, match="other torch: .*, not 9.9; name another file"):
            certify(IMAGES, Interruptible(), None, **CALL, save_to=path)
    certify(IMAGES, Interruptible(), None, **CALL, save_to=path)
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert len(certify(IMAGES, Interruptible(batches=0), None, **CALL, save_to=path)) == 3


def test_votes_of_compiled_networks_go_on_compiled_and_others_without(path, monkeypatch):
    monkeypatch.setattr("dds.front.saved._NOTED", 0)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: None)
    seen = []
    build = counting.SmoothedClassifier

    def built(*arguments, compiled, **options):
        seen.append(compiled)
        smoothed = build(*arguments, compiled=False, **options)
        smoothed.runner.compiled = works and compiled is not False
        smoothed.runner.get_ready = lambda *ready: None
        return smoothed

    monkeypatch.setattr(counting, "SmoothedClassifier", built)
    for works in (False, True):
        with pytest.raises(KeyboardInterrupt):
            certify(IMAGES, Interruptible(batches=4), None, **CALL, save_to=path)
        works = not works
        if works:
            certify(IMAGES, Interruptible(), None, **CALL, save_to=path)
            path.unlink()
        else:
            with pytest.raises(ValueError, match="holds votes of compiled networks; go on with it"):
                certify(IMAGES, Interruptible(), None, **CALL, save_to=path)
    assert seen == [None, False, None, None]


def test_a_file_of_something_else_is_refused_and_left(path):
    path.write_text("my notes")
    with pytest.raises(ValueError, match="photographs.parquet is not a counts file"):
        certify(IMAGES, NETWORK, None, **CALL, save_to=path)
    assert path.read_text() == "my notes"


def test_a_call_that_failed_before_it_had_a_vote_stands_in_nothing_s_way(path):
    with pytest.raises(KeyboardInterrupt):
        certify(IMAGES, Interruptible(batches=0), None, **CALL, save_to=path)
    certify(IMAGES, Interruptible(factor=2.0), None, **CALL, save_to=path)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is a folder; name a file in it, such as votes.parquet"),
        ("votes.csv", "votes.csv must end in .parquet, .*; take .*votes.parquet"),
        ("votes", "votes must end in .parquet, .*; take .*votes.parquet"),
        (3, "3 is no path"),
    ],
)
def test_results_are_named_as_the_parquet_files_that_they_are(tmp_path, name, problem):
    path = name if name == 3 else tmp_path / name
    network = Interruptible(batches=0)
    found = certify(IMAGES, NETWORK, None, **CALL)
    for write in (
        lambda: certify(IMAGES, network, None, **CALL, save_to=path),
        lambda: predict(IMAGES, network, None, 0.5, save_to=path),
        lambda: found.save(path),
    ):
        with pytest.raises(ValueError, match=problem):
            write()
    assert not list(tmp_path.iterdir())


def test_what_is_no_file_of_results_is_told_with_what_is(path):
    with pytest.raises(FileNotFoundError, match="No such file or directory: .*photographs.parquet"):
        Certificates.load(path)
    path.write_text("my notes")
    for kind, call in ((Certificates, "certify"), (Predictions, "predict")):
        cure = f"it is damaged, or of another format; load a file written by dds.{call} with"
        with pytest.raises(ValueError, match=cure):
            kind.load(path)


def test_a_place_that_cannot_be_written_to_is_found_before_the_work(tmp_path):
    network = Interruptible(batches=0)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        certify(IMAGES, network, None, **CALL, save_to=tmp_path / "file" / "votes.parquet")


def test_votes_are_written_now_and_then(path, monkeypatch):
    monkeypatch.setattr("dds.front.saved._NOTED", 0)
    monkeypatch.setattr("dds.front.saved._EVERY", 0)

    class Looking(Interruptible):
        def forward(self, images):
            if self._seen:
                counts, _ = read_counts(path)
                samples = counts["selection"].map(sum).sum() + counts["estimation"].map(sum).sum()
                assert samples == self._seen
            return super().forward(images)

    certify(IMAGES, Looking(), None, **CALL, save_to=path)


def test_a_certificate_of_one_image_is_loaded_as_one(path):
    found = certify(IMAGES[0], NETWORK, None, 0.5, n=1000, save_to=path)
    loaded = Certificates.load(path)
    assert loaded.radius == found.radius
    assert loaded.radius.shape == ()
    assert loaded.label is None
