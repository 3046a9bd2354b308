"""What a call is asked is checked before any sample; devices share it; results are tables."""

import inspect
import threading
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import dds
from dds import (
    Certificates,
    Classifier,
    DiffusionDenoiser,
    Predictions,
    certify,
    cosine_schedule,
    predict,
    read_log,
)
from dds.statistics.plans import make_plan

IMAGES = np.random.default_rng(0).uniform(0, 1, (5, 1, 4, 4)).astype(np.float32)
LABELS = [0, 1, 0, 1, 1]
SIGMA = 0.5


class Brightness(nn.Module):
    """Tells dark from bright; on other devices than the first, too."""

    def forward(self, images):
        mean = images.mean(dim=(1, 2, 3)) - 0.5
        return torch.stack([-mean, mean], dim=1)


class Counts(Brightness):
    """Counts the noisy images it sees, or may see none."""

    def __init__(self, most=10**9):
        super().__init__()
        self._most, self._seen = most, 0

    def forward(self, images):
        if len(images) > 4:  # else it is only tried
            self._seen += len(images)
            assert self._seen <= self._most
        return super().forward(images)


class Cast(nn.Linear):
    """Casts images to what its weights are in, as networks of transformers do."""

    def __init__(self):
        super().__init__(16, 2)

    def forward(self, images):
        return super().forward(images.flatten(1).to(self.weight.dtype))


class TimedConvolution(nn.Conv2d):
    """A network for colour images that is told the time."""

    def __init__(self):
        super().__init__(3, 3, 1)

    def forward(self, noisy, time):
        return super().forward(noisy)


@pytest.mark.parametrize("plan", ["fixed", {"plan": "sequential", "radii": [0.0, 0.25]}])
def test_devices_share_the_images_and_count_the_same(plan):
    call = {"labels": LABELS, "plan": plan, "n": 1000}
    one = certify(IMAGES, Brightness(), None, SIGMA, **call, device="cpu")
    for devices in (["cpu"] * 2, ["cpu"] * 9):
        several = certify(IMAGES, Brightness(), None, SIGMA, **call, device=devices)
        np.testing.assert_array_equal(several.estimation, one.estimation)
        np.testing.assert_array_equal(several.radius, one.radius)


class Lacks(Brightness):
    def forward(self, images):
        return super().forward(images - {}["mean"])


class Fails(Brightness):
    """Fails in a thread of its own, after a while."""

    def __init__(self):
        super().__init__()
        self.bias, self._seen = nn.Parameter(torch.zeros(1)), 0

    def forward(self, images):
        self._seen += 1
        if threading.current_thread() is not threading.main_thread() and self._seen == 20:
            raise RuntimeError("the device is gone")
        return super().forward(images) + self.bias


def test_what_fails_on_one_device_stops_the_others_and_keeps_their_votes(tmp_path, monkeypatch):
    monkeypatch.setattr("dds.front.saved._NOTED", 0)
    path = tmp_path / "votes.parquet"
    call = {"n0": 100, "n": 20_000, "device": ["cpu", "cpu"]}
    with pytest.raises(RuntimeError, match="the device is gone"):
        certify(IMAGES, Fails(), None, SIGMA, **call, save_to=path)
    counts, _ = dds.sampling.counts.read_counts(path)
    assert 0 < counts["estimation"].map(sum).sum() < 5 * 20_000
    assert not [one for one in threading.enumerate() if "ThreadPool" in one.name]


def test_the_plan_decides_how_many_samples_are_drawn():
    settings = {"plan": "sequential", "radii": [0.0, 0.25], "alpha": 0.001, "n0": 100, "n": 1000}
    network = Counts()
    found = certify(
        IMAGES, network, None, SIGMA, labels=LABELS, plan="sequential", radii=[0.0, 0.25], n=1000
    )
    plan = make_plan(settings, SIGMA)
    assert found.facts["plan"] == plan.to_dict()
    assert network._seen == found.selection.sum() + found.estimation.sum() < 5 * 1100
    for label, selection, estimation in zip(LABELS, found.selection, found.estimation, strict=True):
        assert plan.goal(label, selection, estimation) == estimation.sum()
    wrong = found.selection.argmax(axis=1) != LABELS
    assert wrong.any()
    assert np.isnan(found.radius[wrong]).all()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"radii": [0.25, 2.0]}, "n = 1,000 samples certify no radius above 1.231 .* has 2; take"),
        ({"radii": [0.25, 9.0]}, "radii has 9; take a larger sigma"),
        ({"radii": [0.1], "n": 5}, r"certify no radius at sigma 0.5 .*; take n = 13 or more"),
        ({"n": 9}, "certify no image at alpha 0.001, .*; take n = 10 or more"),
        ({"radii": [1.2], "plan": {"plan": "radius", "within": 0.1}}, "no radius above 1.108"),
        ({"radii": [-1.0]}, r"radii must be numbers of at least 0, not \[-1.0\]"),
        ({"radii": 2.0}, "radii has 2; take"),
        ({"radii": []}, "radii must be numbers of at least 0"),
        ({"plan": "sequential"}, "a sequential plan needs radii"),
        ({"plan": "other"}, "plan: .*other"),
        ({"plan": {"within": 0.1}}, "plan has the keys within; it must have plan"),
        ({"alpha": 0}, "alpha must lie between 0 and 1"),
        ({"labels": [0, 1, 2, 1, 1]}, "label 2 of image 2 is none of the classifier's 2 classes"),
        ({"labels": [0, 1, -1, 1, 1]}, "label -1 of image 2 is none"),
        ({"ids": [0, 1, 2, 3, -4]}, "ids must be whole, from 0 to"),
        ({"device": []}, "device is an empty list"),
        ({"device": "gpu"}, "device 'gpu' cannot be used: "),
        ({"classifier": Classifier(Brightness(), classes="abc")}, "2 logits and 3 names"),
        ({"classifier": nn.Conv2d(3, 2, 1)}, r"fails on images of shape \(1, 4, 4\): .*Classifier"),
        ({"classifier": Lacks()}, r"fails on images of shape \(1, 4, 4\): KeyError: 'mean'"),
        ({"device": ["cpu", "cuda:99"]}, "device .* cannot be used: "),
        ({"classifier": Cast().half()}, "the classifier has weights in float16 .* call .float()"),
        ({"classifier": len}, "the classifier is a builtin_function_or_method; it must be a torch"),
        ({"denoiser": nn.Flatten()}, r"the denoiser is a Flatten, .* in dds.DiffusionDenoiser"),
        (
            {"denoiser": DiffusionDenoiser(TimedConvolution(), cosine_schedule(100))},
            r"DiffusionDenoiser fails on images of shape \(1, 4, 4\): .*; give images of the size",
        ),
        ({"classifier": Classifier(Brightness()), "processor": len}, "leave processor= out"),
    ],
)
def test_mistakes_are_named_before_any_sample(options, problem):
    call = {"images": IMAGES, "classifier": Counts(0), "denoiser": None, "n": 1000} | options
    with pytest.raises(ValueError, match=problem) as caught:
        certify(**call, sigma=SIGMA)
    assert "\n" not in str(caught.value)


WRONG = [
    ("sigma", "0.25", "sigma must be a number, not '0.25'"),
    ("sigma", [0.25, 0.5], r"sigma must be a number, not \[0.25, 0.5\]"),
    ("sigma", 10**400, "sigma must be above 0 and at most 10 in .* not inf"),
    ("n", "1000", "n must be a whole number, not '1000'"),
    ("n0", None, "n0 must be a whole number, not None"),
    ("alpha", "0.001", "alpha must be a number, not '0.001'"),
    ("seed", 1.5, "seed must be a whole number, not 1.5"),
    ("seed", True, "seed must be a whole number, not True"),
    ("batch_size", 1.5, "batch_size must be auto or at least 1, not 1.5"),
    ("batch_size", True, "batch_size must be auto or at least 1, not True"),
    ("progress", "no", "progress must be True or False, not 'no'"),
    ("device", 3, "device must be such as cuda, cuda:1 or cpu, not 3"),
    ("device", ["cpu", 3], "device must be such as cuda, cuda:1 or cpu, not 3"),
    ("ids", 3, "1 ids do not fit 5 images"),
    ("ids", list("abcde"), "ids must be whole, from 0 to 2,147,483,647, not 'a'"),
    ("radii", ["0.1"], r"radii must be numbers of at least 0, not \['0.1'\]"),
    ("plan", 3, "plan must be a name, or a mapping that has plan, not 3"),
    ("plan", {"plan": 3}, "plan has the keys plan; it must have plan, a name"),
    ("plan", {"plan": "radius", "within": "0.1"}, "plan.within: must be a valid number"),
    ("plan", {"plan": "radius", "within": 2}, "plan.within: must be less than 1"),
    ("plan", {"plan": "sequential", "radii": [None]}, "plan.radii.0: must be a valid number"),
    (
        "plan",
        {"plan": "sequential", "fugal": True},
        "plan.fugal: is unknown; allowed: radii, frugal",
    ),
    ("plan", {"plan": "fixed", "looks": [1]}, "plan.looks: is unknown; allowed: none"),
    ("radius", "0.5", "radius must be a number, not '0.5'"),
    ("steps", 1.5, "steps must be a whole number, not 1.5"),
    ("clip", "no", "clip must be True or False, not 'no'"),
]


@pytest.mark.parametrize(
    ("call", "name", "value", "problem"),
    [
        (call, *wrong)
        for call in (certify, predict, dds.attack)
        for wrong in WRONG
        if wrong[0] in inspect.signature(call).parameters
    ],
)
def test_arguments_of_another_kind_are_refused_in_one_line(call, name, value, problem):
    given = {"images": IMAGES, "classifier": Counts(0), "denoiser": None, "sigma": SIGMA}
    given |= {"radius": 0.1, "labels": LABELS} if call is dds.attack else {}
    with pytest.raises(ValueError, match=problem) as caught:
        call(**given | {name: value})
    assert "\n" not in str(caught.value)


def test_numbers_of_other_libraries_are_those_of_python(tmp_path):
    other = {"sigma": np.float32(0.5), "n": torch.tensor(1000), "n0": 1e2, "seed": np.int64(3)}
    other |= {"alpha": np.array([0.25]), "ids": torch.arange(5), "batch_size": np.int8(50)}
    plain = {"sigma": 0.5, "n": 1000, "n0": 100, "seed": 3, "alpha": 0.25}
    found, same = (
        certify(IMAGES, Brightness(), None, **call, save_to=tmp_path / "votes.parquet")
        for call in (other, plain)
    )
    assert found.facts == same.facts
    np.testing.assert_array_equal(found.estimation, same.estimation)


def test_predict_refuses_samples_that_can_name_no_class():
    with pytest.raises(ValueError, match="n = 10 samples name no class .*; take n = 11 or more"):
        predict(IMAGES, Counts(0), None, SIGMA, n=10)
    white = np.ones((1, 1, 4, 4))
    assert predict(white, Brightness(), None, 0.01, n=11).prediction.tolist() == [1]


def dataset(classes):
    found = torch.utils.data.TensorDataset(torch.from_numpy(IMAGES), torch.tensor(LABELS))
    found.classes = classes
    return found


@pytest.mark.parametrize(
    ("theirs", "ours", "problem"),
    [
        (["dark", "bright", "grey"], None, "the data set has 3 classes, the classifier 2: labels"),
        (["bright", "dark"], ["dark", "bright"], "another order, such as bright and dark for 0"),
    ],
)
def test_labels_that_mean_other_classes_are_refused(theirs, ours, problem):
    with pytest.raises(ValueError, match=problem):
        certify(dataset(theirs), Classifier(Counts(0), classes=ours), None, SIGMA, n=100)
    certify(dataset(["dunkel", "hell"]), Classifier(Brightness(), classes=ours), None, SIGMA, n=100)


def test_names_of_classes_are_known_of_a_wrapped_classifier():
    classifier = nn.DataParallel(Classifier(Brightness(), classes=["dark", "bright"]))
    with pytest.raises(ValueError, match="another order, such as bright and dark for 0"):
        certify(dataset(["bright", "dark"]), classifier, None, SIGMA, n=100)


def test_a_number_of_classes_is_no_name_of_one():
    network = Brightness()
    network.classes = 2
    assert "class 1 within" in str(certify(IMAGES[1], network, None, 0.01, n=100))


@pytest.mark.parametrize("call", [certify, predict])
def test_sigma_in_the_units_of_bytes_is_refused_or_warned_of(call):
    with pytest.raises(ValueError, match="divide one for pixels of 0 to 255 by 255"):
        call(IMAGES, Counts(0), None, 64)
    with pytest.warns(UserWarning, match="divide it by 255: 0.0314") as warned:
        call(IMAGES, Brightness(), None, 8, n=100)
    assert warned[0].filename == __file__


def test_a_denoiser_that_makes_images_worse_is_refused():
    class Inverts:
        networks, runs = (), 1

        def noise_sigma(self, sigma):
            return sigma

        def denoise(self, noisy, sigma, normal=None):
            return 3 - noisy

    with pytest.raises(ValueError, match="denoised images are worse than noisy ones"):
        certify(IMAGES, Counts(0), Inverts(), SIGMA, n=100)


@pytest.mark.parametrize(
    ("error", "parts", "reason"),
    [
        (RuntimeError(), ["networks", "runs", "noise_sigma", "denoise"], "fails on .*RuntimeError"),
        (None, ["runs", "noise_sigma", "denoise"], "the denoiser is a Own, which has no networks"),
    ],
)
def test_a_denoiser_that_fails_or_lacks_a_part_is_told(error, parts, reason):
    def fail(self, *noisy):
        raise error

    whole = {"networks": (), "runs": 1, "noise_sigma": lambda self, sigma: sigma, "denoise": fail}
    own = type("Own", (), {part: whole[part] for part in parts})()
    with pytest.raises(ValueError, match=reason):
        certify(IMAGES, Counts(0), own, SIGMA, n=100)


def test_too_few_samples_that_select_are_told():
    class Coin(nn.Module):
        """Nearly even, so that one sample often selects the class with fewer votes."""

        def forward(self, images):
            pixel = images[:, 0, 0, 0] - 0.3
            return torch.stack([pixel, -pixel], dim=1)

    images = np.full((8, 1, 2, 2), 0.5)
    with pytest.warns(
        UserWarning, match=r"[1-8] of 8 images abstain because their n0 = 1 samples"
    ) as told:
        certify(images, Coin(), None, SIGMA, n0=1, n=2000)
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        certify(images, Coin(), None, SIGMA, n0=200, n=2000)


def test_probabilities_do_as_well_as_logits():
    probabilities = nn.Sequential(Brightness(), nn.Softmax(dim=1))
    found = [certify(IMAGES, f, None, SIGMA, n=500) for f in (Brightness(), probabilities)]
    np.testing.assert_array_equal(found[0].estimation, found[1].estimation)


def test_images_that_are_squeezed_are_told():
    classifier = Classifier(Brightness(), size=4)
    with pytest.warns(
        UserWarning, match="images of 4 x 6 pixels are squeezed to the 4 x 4"
    ) as told:
        certify(np.full((1, 6, 4), 0.5), classifier, None, SIGMA, n=100)
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        certify(np.full((1, 6, 6), 0.5), classifier, None, SIGMA, n=100)


def test_images_of_another_size_than_the_denoiser_was_trained_on_are_told():
    network, images = nn.Conv2d(3, 3, 1), np.full((3, 6, 4), 0.5)
    network.forward = lambda noisy, time: noisy
    denoiser = DiffusionDenoiser(network, cosine_schedule(1000), predicts="x0", size=4)
    with pytest.warns(UserWarning, match="trained on images of 4 x 4 .*, and gets 4 x 6") as told:
        predict(images, Brightness(), denoiser, SIGMA, n=100)
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict(images[:, :4], Brightness(), denoiser, SIGMA, n=100)


def test_a_bar_is_drawn_where_it_is_asked_for(capsys):
    certify(IMAGES, Brightness(), None, SIGMA, n0=10, n=100, progress=True)
    assert "certify at sigma 0.5:   0%|" in capsys.readouterr().err
    predict(IMAGES, Brightness(), None, SIGMA, n=100)
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def certificates():
    return certify(IMAGES, Brightness(), None, SIGMA, labels=LABELS, n=500)


def test_certificates_are_a_table(certificates):
    frame = certificates.to_frame()
    assert set(dds.logs.COLUMNS) <= set(frame)
    np.testing.assert_array_equal(frame["radius"], certificates.radius)
    np.testing.assert_array_equal(frame["label"], LABELS)
    assert frame["correct"].tolist() == (certificates.prediction == LABELS).tolist()
    accuracy = certificates.certified_accuracy([0.0, 0.25])
    wanted = [np.mean(frame["correct"] & (frame["radius"] >= radius)) for radius in (0.0, 0.25)]
    assert accuracy["accuracy"].tolist() == wanted
    assert list(accuracy) == ["radius", "images", "certified", "accuracy", "low", "high"]
    assert len(certificates) == 5
    assert repr(certificates).endswith("0% correct; sigma 0.5, alpha 0.001>")


def test_without_labels_nothing_is_called_correct(certificates, tmp_path):
    found = certify(IMAGES, Brightness(), None, SIGMA, n=500)
    np.testing.assert_array_equal(found.radius, certificates.radius)
    assert found.to_frame()[["label", "correct"]].isna().all().all()
    assert "correct" not in repr(found)
    for call in (lambda: found.certified_accuracy([0.0]), lambda: found.to_log(tmp_path / "log")):
        with pytest.raises(ValueError, match=r"labels of these images are unknown; certify them"):
            call()


def test_a_log_says_the_same(certificates, tmp_path):
    certificates.to_log(tmp_path / "sigma_0.5.tsv")
    log = read_log(tmp_path / "sigma_0.5.tsv")
    columns = ["image", "label", "prediction", "radius", "correct"]
    pd.testing.assert_frame_equal(log[columns], certificates.to_frame()[columns], check_dtype=False)
    call = {"labels": LABELS, "n": 500, "plan": "sequential", "radii": [0.25]}
    with pytest.raises(ValueError, match="sequential plan left radii undecided, .* fixed or radi"):
        certify(IMAGES, Brightness(), None, SIGMA, **call).to_log(tmp_path / "other.tsv")


@pytest.mark.parametrize("plan", ["fixed", {"plan": "sequential", "radii": [0.0, 0.5]}])
@pytest.mark.parametrize("labels", [LABELS, None])
def test_a_curve_passes_through_the_certified_accuracy(plan, labels):
    pytest.importorskip("matplotlib").use("agg")
    found = certify(IMAGES, Brightness(), None, SIGMA, labels=labels, n=500, plan=plan)
    line = found.plot().lines[0]
    radii, heights = line.get_data()
    correct = found.prediction == (found.prediction if labels is None else LABELS)
    reached = correct & (found.prediction != -1)
    for radius, height in zip(radii, heights, strict=True):
        assert height == (reached & (np.nan_to_num(found.radius) >= radius)).mean()
    assert heights[0] > 0
    if plan == "fixed":
        assert radii[-1] > found.radius.max()
        assert heights[-1] == 0


def test_certificates_are_saved_and_loaded(certificates, tmp_path):
    certificates.save(tmp_path / "found.parquet")
    loaded = Certificates.load(tmp_path / "found.parquet")
    pd.testing.assert_frame_equal(loaded.to_frame(), certificates.to_frame())
    assert loaded.facts == certificates.facts
    with pytest.raises(ValueError, match="was not written by dds.predict"):
        Predictions.load(tmp_path / "found.parquet")
    with pytest.raises(FileNotFoundError):
        Certificates.load(tmp_path / "nothing.parquet")


def test_predictions_are_a_table(tmp_path):
    found = predict(IMAGES, Brightness(), None, SIGMA, labels=LABELS, n=500)
    frame = found.to_frame()
    assert frame["correct"].tolist() == (found.prediction == LABELS).tolist()
    assert (frame["n"] == 500).all()
    share, low, high = found.accuracy()
    assert low < share == frame["correct"].mean() < high
    found.save(tmp_path / "found.parquet")
    pd.testing.assert_frame_equal(Predictions.load(tmp_path / "found.parquet").to_frame(), frame)
    unknown = predict(IMAGES[0], Brightness(), None, SIGMA, n=500)
    assert unknown.prediction == found.prediction[0]
    assert unknown.to_frame()[["label", "correct"]].isna().all().all()
    with pytest.raises(ValueError, match="labels of these images are unknown; predict with"):
        unknown.accuracy()


def test_predictions_are_made_of_the_samples_that_select():
    found = predict(IMAGES, Brightness(), None, SIGMA, n=200)
    certified = certify(IMAGES, Brightness(), None, SIGMA, n0=200, n=10)
    np.testing.assert_array_equal(found.counts, certified.selection)


def test_classes_have_their_names_in_what_is_shown():
    network = Classifier(Brightness(), classes=["dark", "bright"])
    white = np.full((1, 4, 4), 0.9)
    assert "class 1 (bright) within" in repr(certify(white, network, None, SIGMA, n=100))
    assert "class 1 (bright); sigma" in repr(predict(white, network, None, SIGMA, n=100))
