"""The attack is as strong as geometry allows, and never stronger than the ball."""

import numpy as np
import pandas as pd
import pytest
import torch
from brightness import Greedy, Spy
from torch import nn

from dds import ABSTAIN, NoDenoiser, attack, certify, empirical_accuracy
from dds.sampling.attack import PGD, Attacker, distance, within

SIGMA, SHAPE = 0.25, (3, 6, 6)
RANDOM = np.random.default_rng(3)
IMAGES = RANDOM.random((3, *SHAPE)).astype(np.float32)


class Plane(nn.Module):
    """Classes 0 and 1, on the two sides of a plane through a point at a distance of an image."""

    def __init__(self, image, away, scale=20):
        super().__init__()
        self.scale = scale
        normal = RANDOM.normal(size=image.size)
        self.register_buffer("normal", torch.tensor(normal / np.linalg.norm(normal)).float())
        self.offset = away - float(self.normal @ torch.from_numpy(image).flatten())

    def forward(self, images):
        side = self.scale * (images.flatten(1) @ self.normal + self.offset)
        return torch.stack([torch.zeros_like(side), side], dim=1)


class Halve:
    """A denoiser that a gradient must pass: it halves the contrast."""

    networks, runs = (), 1

    def noise_sigma(self, sigma):
        return sigma

    def denoise(self, noisy, sigma, normal=None):
        return (noisy + 0.5) / 2


class Rings(nn.Module):
    """A network that is linear nowhere."""

    def __init__(self, classes=4):
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(128, classes)
        )

    def forward(self, images):
        return self.net(3 * images)


@pytest.mark.parametrize("options", [{}, {"restarts": 0}, {"steps": 40, "samples": 3}])
def test_within_the_robust_radius_it_fails_and_just_outside_it_succeeds(options):
    # By symmetry the smoothed classifier has the same plane, so that its robust radius is known.
    plane = Plane(IMAGES[0], away=0.5)
    for radius, answer in ((0.4, 1), (0.6, 0)):
        found = attack(IMAGES[:1], plane, None, SIGMA, radius, labels=[1], **options)
        assert found.prediction.tolist() == [answer]
        assert found.correct.tolist() == [answer == 1]
        # As far as any perturbation of that length goes, but for a hundredth.
        there = plane.normal.numpy() @ (IMAGES[0] - found.images[0]).flatten()
        assert 0.99 * radius < there <= radius * (1 + 1e-6)
    certified = certify(IMAGES[0], plane, None, SIGMA, n=2000)
    assert certified.prediction == 1
    assert 0.4 < certified.radius < 0.5


def test_a_classifier_that_is_certain_of_everything_falls_like_any_other():
    plane = Plane(IMAGES[0], away=0.7, scale=1e6)  # so that probabilities are 0 or 1
    found = attack(IMAGES[:1], plane, None, 0.1, 0.8, labels=[1], restarts=0)
    assert found.prediction.tolist() == [0]


def test_gradients_pass_the_denoiser():
    class Middle(Plane):
        def forward(self, images):
            return super().forward(2 * images - 0.5)

    found = attack(IMAGES[:1], Middle(IMAGES[0], 0.5), Halve(), SIGMA, 0.6, labels=[1])
    assert found.prediction.tolist() == [0]


@pytest.mark.parametrize("radius", [0.0, 1e-7, 0.25, 3.0])
@pytest.mark.parametrize("clip", [False, True])
def test_attacked_images_stay_in_the_ball(radius, clip):
    found = attack(
        IMAGES, Rings(), None, SIGMA, radius, labels=[0, 1, 2], steps=4, samples=2, n=100, clip=clip
    )
    exact = [distance(*pair) for pair in zip(IMAGES, found.images, strict=True)]
    assert found.norm.tolist() == exact
    assert max(exact) <= radius
    assert found.images.dtype == np.float32
    inside = (found.images >= 0).all() and (found.images <= 1).all()
    assert inside if clip or radius == 0 else radius < 1 or not inside


def test_rounding_never_makes_a_perturbation_too_long():
    for radius in (1e-9, 1e-3, 0.1, 1.0, 30.0):
        for scale in (1e-6, 1.0, 1e3):
            other = (IMAGES[0] + scale * RANDOM.normal(size=SHAPE)).astype(np.float32)
            near = within(IMAGES[0], other, radius)
            length = distance(IMAGES[0], other)
            assert distance(IMAGES[0], near) <= radius
            assert distance(IMAGES[0], near) > 0.999 * min(radius, length) or radius < 1e-6


def test_an_image_is_attacked_alike_whatever_it_is_attacked_beside():
    options = {"steps": 3, "samples": 60, "n": 100}
    together = attack(IMAGES, Rings(), None, SIGMA, 0.5, ids=[7, 8, 9], labels=[0, 1, 2], **options)
    alone = attack(IMAGES[2:], Rings(), None, SIGMA, 0.5, labels=[2], ids=[9], **options)
    assert np.array_equal(together.images[2:], alone.images)
    assert np.array_equal(together.votes[2:], alone.votes)
    other = attack(IMAGES[2:], Rings(), None, SIGMA, 0.5, labels=[2], ids=[10], **options)
    assert not np.array_equal(other.images, alone.images)


def test_an_image_is_taken_as_certify_takes_it():
    levels = (255 * IMAGES[2]).astype(np.uint8)
    options = {"steps": 2, "samples": 5, "n": 50, "seed": 4}
    image = levels.transpose(1, 2, 0)
    one = attack(image, Rings(), None, 0.25, 0.5, labels=2, layout="HWC", **options)
    batch = attack(levels[None] / 255, Rings(), None, 0.25, 0.5, labels=[2], **options)
    assert one.images.shape == SHAPE
    assert np.array_equal(one.images, batch.images[0])
    assert one.votes.tolist() == batch.votes[0].tolist()
    assert one.norm == batch.norm[0]


def test_an_image_is_judged_by_noise_that_neither_attack_nor_certificate_has_seen():
    def shown(work):
        spy = Spy(0.45, 0.55)
        work(spy)
        return {image.numpy().tobytes() for batch in spy.seen for image in batch.detach()}

    image, pgd = np.full((1, 1, 4, 4), 0.5, np.float32), PGD(steps=5, samples=30)
    radius = 1e-9  # so small that equal noise makes equal images

    def attacker(spy):
        return Attacker(spy, NoDenoiser(), 0.5, 1, pgd, classes=3, n=300)

    attacked = shown(lambda spy: attacker(spy).attack(image[0], 1, 0, radius))
    judged = shown(lambda spy: attacker(spy).judge(image, [0]))
    certified = shown(lambda spy: certify(image, spy, None, 0.5, n0=100, n=300, seed=1))
    assert len(attacked) == 5 * 30 + 5 * 30 + 100  # two starts, and the better one
    assert len(judged) == 300
    assert not judged & attacked
    assert not (judged | attacked) & certified


def test_out_of_memory_makes_batches_smaller_and_changes_no_result():
    options = {"steps": 4, "samples": 12, "n": 200}
    greedy, plain = (
        attack(IMAGES, Greedy(most), None, 0.5, 0.5, labels=[0, 1, 2], **options)
        for most in (8, 1000)
    )
    np.testing.assert_allclose(greedy.images, plain.images, atol=1e-5)


@pytest.mark.parametrize("size", [1, 3])
def test_networks_see_no_more_images_at_a_time_than_they_are_to(size):
    spy, options = Spy(0.45, 0.55), {"steps": 2, "samples": 7, "n": 20, "batch_size": size}
    attack(IMAGES[:1], spy, None, 0.5, 0.5, labels=[1], **options)
    assert max(spy.sizes) == size


def test_where_there_is_no_gradient_there_is_no_step():
    class Constant(nn.Module):
        def forward(self, images):
            return torch.stack([images.sum((1, 2, 3)) * 0, 1 + images.sum((1, 2, 3)) * 0], 1)

    found = attack(IMAGES[:1], Constant(), None, SIGMA, 1.0, labels=[1], restarts=0)
    assert np.array_equal(found.images, IMAGES[:1])
    assert found.prediction.tolist() == [1]


def test_networks_are_given_back_as_they_came():
    network = nn.Sequential(Rings(), nn.Dropout())
    before = [weight.detach().clone() for weight in network.parameters()]
    attack(IMAGES[:1], network.train(), None, SIGMA, 0.5, labels=[1], steps=2, samples=2, n=11)
    assert network.training
    assert all(weight.grad is None for weight in network.parameters())
    assert all(map(torch.equal, before, network.parameters()))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"labels": None}, "an attack needs to know what is right; give labels=, a class an image"),
        ({"labels": [4]}, "label 4 of image 0 is none of the classifier's 4 classes, 0 to 3"),
        ({"radius": -1.0}, "the radius must be a number of at least 0, not -1"),
        ({"radius": np.inf}, "the radius must be a number of at least 0, not inf"),
        ({"n": 10}, "n = 10 samples name no class at alpha 0.001, .* take n = 11 or more"),
        ({"sigma": 64.0}, "divide one for pixels of 0 to 255 by 255"),
        ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ({"step_size": 3.0}, "step_size must be a share of the radius"),
        ({"classifier": Rings().double()}, "the classifier has weights in float64"),
        ({"alpha": 0.0}, "alpha"),
    ],
)
def test_what_cannot_be_attacked_is_refused(changes, reason):
    given = {"images": IMAGES[:1], "labels": [1], "classifier": Rings(), "denoiser": None,
             "sigma": SIGMA, "radius": 0.5, "steps": 1, "samples": 1, "n": 11}  # fmt: skip
    with pytest.raises(ValueError, match=reason):
        attack(**given | changes)


class Broken(nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :2] * torch.nan


class Steep(nn.Module):
    """Answers alike, and without a slope: that of the root of zero is infinite, times zero."""

    def forward(self, images):
        values = images.flatten(1)[:, :2]
        return values + (0 * values).sqrt()


@pytest.mark.parametrize(
    ("network", "reason"), [(Broken(), "returned NaN or infinity"), (Steep(), "gradient has NaN")]
)
def test_logits_and_gradients_that_are_no_numbers_are_an_error(network, reason):
    with pytest.raises(FloatingPointError, match=reason):
        attack(IMAGES[:1], network, None, SIGMA, 0.5, labels=[1])


class Sealed(Halve):
    """A denoiser as those that are only to be run are written."""

    @torch.no_grad()
    def denoise(self, noisy, sigma, normal=None):
        return super().denoise(noisy, sigma, normal)


@pytest.mark.parametrize("network", [Rings(), Plane(IMAGES[0], away=0.5)])
def test_networks_that_no_gradient_passes_are_refused_in_one_line(network):
    reason = "no gradient passes the classifier and the denoiser: .* without no_grad or detach$"
    with pytest.raises(ValueError, match=reason):
        attack(IMAGES[:1], network, Sealed(), SIGMA, 0.5, labels=[1])


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_a_caller_without_gradients_gets_the_same_attack(context):
    network, options = Rings(), {"labels": [1], "steps": 2, "samples": 3, "n": 20}
    outside = attack(IMAGES[:1], network, None, SIGMA, 0.5, **options)
    with context():
        inside = attack(IMAGES[:1], network, None, SIGMA, 0.5, **options)
    assert np.array_equal(outside.images, inside.images)


def test_networks_that_certify_refuses_are_not_attacked():
    class Relative(Rings):
        def forward(self, images):
            return super().forward(images - images.mean())

    with pytest.raises(ValueError, match="answers an image otherwise when others in its batch"):
        attack(IMAGES[:1], Relative(), None, SIGMA, 0.5, labels=[1])


def test_an_image_that_fell_stays_down_and_one_without_an_answer_does_not_count():
    rows = [(0, 0.0, 1), (0, 0.5, 2), (0, 1.0, 1), (1, 0.0, 1), (1, 0.5, ABSTAIN), (1, 1.0, 1)]
    attacked = pd.DataFrame(rows, columns=["image", "radius", "prediction"])
    attacked = attacked.assign(label=1, classifier="c", sigma=0.5)
    found = empirical_accuracy(attacked)
    assert found["accuracy"].tolist() == [1.0, 0.0, 0.0]
    assert found["unrefuted"].tolist() == [1.0, 0.5, 0.5]
    assert len(empirical_accuracy(attacked.assign(sigma=np.nan))) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows[:-1], "at every radius; one is missing"),
        (lambda rows: pd.concat([rows, rows[:1]]), "once at every radius; one comes twice"),
        (lambda rows: rows.drop(columns="label"), "attacked images lack the columns label"),
        (lambda rows: rows.to_numpy(), "attacked images must be a DataFrame, not ndarray"),
    ],
)
def test_what_is_no_table_of_attacked_images_is_refused(change, reason):
    rows = [(image, radius, 1) for image in (0, 1) for radius in (0.0, 0.5)]
    attacked = pd.DataFrame(rows, columns=["image", "radius", "prediction"])
    with pytest.raises(ValueError, match=reason):
        empirical_accuracy(change(attacked.assign(label=1, classifier="c", sigma=0.5)))
