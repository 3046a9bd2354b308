"""One call certifies an image or a batch, with a classifier and denoiser of one's own."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, norm
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format

import dds
from dds import ABSTAIN, DiffusionDenoiser, NoDenoiser, certify, cosine_schedule
from dds.networks.lending import lent

SIGMA = 0.5
IMAGES = np.random.default_rng(0).uniform(0, 1, (3, 1, 4, 4))


class Brightness(nn.Module):
    """Tells dark, medium and bright images apart."""

    def forward(self, images):
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([0.4 - mean, 0 * mean, mean - 0.6], dim=1)


class Constant(nn.Module):
    """Answers with the same logits always."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, images):
        return self.logits.expand(len(images), -1)


class Coin(nn.Module):
    """Is sure of nothing: the noise of one pixel decides between two classes."""

    def forward(self, images):
        pixel = images[:, 0, 0, 0] - 0.5
        return torch.stack([pixel, -pixel], dim=1)


def test_a_sure_classifier_gets_the_largest_radius():
    certificate = certify(IMAGES, Constant(0.0, 1.0), None, SIGMA, n0=10, n=1000)
    assert certificate.prediction.tolist() == [1, 1, 1]
    assert certificate.estimation.tolist() == [[0, 1000]] * 3
    bound = binomtest(1000, 1000, alternative="greater").proportion_ci(confidence_level=0.999).low
    np.testing.assert_allclose(certificate.p_lower, bound)
    np.testing.assert_allclose(certificate.radius, SIGMA * norm.ppf(bound))


def test_an_unsure_classifier_abstains():
    image = np.full((1, 4, 4), 0.5)
    certificate = certify(image, Coin(), None, SIGMA, n0=10, n=200)
    assert certificate.prediction == ABSTAIN
    assert certificate.radius == 0


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, np.ndarray.tolist])
def test_one_image_is_a_batch_without_its_dimension(kind):
    batch = certify(kind(IMAGES), Brightness(), None, SIGMA, n=500)
    one = certify(kind(IMAGES[1]), Brightness(), None, SIGMA, n=500, ids=[1])
    assert one.prediction.shape == one.radius.shape == one.p_lower.shape == ()
    for field in ("prediction", "radius", "p_lower", "selection", "estimation"):
        np.testing.assert_array_equal(getattr(one, field), getattr(batch, field)[1])


def test_seed_and_ids_key_the_noise_and_batches_do_not():
    def counts(**options):
        return certify(IMAGES[0], Brightness(), None, SIGMA, n=500, **options).estimation.tolist()

    assert counts() == counts(batch_size=7)
    assert counts() != counts(seed=1)
    assert counts() != counts(ids=[1])


def test_the_denoiser_comes_before_the_classifier():
    class White:
        networks, runs = (), 1

        def noise_sigma(self, sigma):
            return sigma

        def denoise(self, noisy, sigma, normal=None):
            return torch.ones_like(noisy)

    certificate = certify(np.full((1, 4, 4), 0.55), Brightness(), White(), SIGMA, n0=1, n=100)
    assert certificate.estimation.tolist() == [0, 0, 100]


@pytest.mark.parametrize(
    ("images", "options", "problem"),
    [
        (IMAGES[0, 0], {}, r"images must have shape .*, not \(4, 4\)"),
        (IMAGES[:, :, :0], {}, "there are no images"),
        (np.moveaxis(IMAGES.repeat(9, 2), 1, 3), {}, r"\(3, 36, 4, 1\) seem to have their channe"),
        (np.zeros((32, 32, 3)), {}, r"images of shape \(32, 32, 3\) seem to have their channels"),
        (IMAGES, {"sigma": 64}, "sigma must be above 0 and at most 10 in .* not 64"),
        (IMAGES, {"n": 10**9}, "n must be whole, at least 1 and at most 26,214,400"),
        (IMAGES, {"n0": 10**12}, "n0 must be whole, at least 1 and at most 26,214,400"),
        (255 * IMAGES, {}, "image 0 has values outside"),
        ((255 * IMAGES).astype(np.int64), {}, "must be floats in .*, not int64"),
        (IMAGES, {"ids": [1]}, "1 ids do not fit 3 images"),
        (IMAGES, {"alpha": 1.0}, "alpha must lie between 0 and 1"),
        (IMAGES, {"n": 0}, "n must be whole, at least 1"),
        (IMAGES, {"n": 1.5}, "n must be a whole number, not 1.5"),
        (IMAGES, {"precision": "int8"}, "unknown precision"),
    ],
)
def test_bad_input_is_refused(images, options, problem):
    with pytest.raises(ValueError, match=problem):
        certify(images, Brightness(), None, **{"sigma": SIGMA, "n": 100} | options)


@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_weights_in_other_numbers_are_refused(kind):
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).to(kind)
    with pytest.raises(ValueError, match=r"the classifier has weights in float\d+ and is given"):
        certify(IMAGES, network, None, SIGMA, n=100)


def test_logits_must_be_a_matrix():
    with pytest.raises(ValueError, match="must return logits of shape"):
        certify(IMAGES, nn.Flatten(0), None, SIGMA, n=100)


def test_a_network_of_the_transformers_library_is_a_classifier():
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"image_size": 4, "patch_size": 2, "intermediate_size": 8, "num_channels": 1}
    network = transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=3, **sizes))
    with pytest.warns(UserWarning, match="no processor is known: it gets images in"):
        certificates = certify(IMAGES, network, None, SIGMA, n0=1, n=100)
    assert certificates.estimation.sum(axis=1).tolist() == [100, 100, 100]


def test_a_single_logit_is_no_choice():
    with pytest.raises(ValueError, match="has a single logit"):
        certify(IMAGES, Constant(1.0), None, SIGMA, n=100)


def test_a_classifier_may_work_in_place_on_what_it_is_fed():
    class InPlace(Brightness):
        def forward(self, images):
            return super().forward(images.sub_(0.25).add_(0.25).mul_(2).div_(2))

    images = IMAGES.astype(np.float32)
    found = certify(images, InPlace(), None, SIGMA, n=500)
    wanted = certify(IMAGES, Brightness(), None, SIGMA, n=500)
    np.testing.assert_array_equal(found.estimation, wanted.estimation)
    np.testing.assert_array_equal(images, IMAGES.astype(np.float32))


def test_samples_that_depend_on_each_other_are_refused():
    class OfTheBatch(Brightness):
        def forward(self, images):
            return super().forward(images - images.mean() + 0.5)

    with pytest.raises(ValueError, match="answers an image otherwise when others in its batch"):
        certify(IMAGES, OfTheBatch(), None, SIGMA, n=100)


@pytest.mark.parametrize("noise", [0.1, 0.4999, float("nan")])
def test_less_noise_than_a_certificate_is_for_is_refused(noise):
    class Less(NoDenoiser):
        def noise_sigma(self, sigma):
            return noise

    with pytest.raises(ValueError, match=f"wants noise of {noise:g} for sigma 0.5; a radius"):
        certify(IMAGES, Brightness(), Less(), SIGMA, n=100)


def test_every_public_name_exists():
    for name in dds.__all__:
        assert getattr(dds, name) is not None
    assert set(dds.__all__) <= set(dir(dds))
    with pytest.raises(AttributeError, match="no attribute 'certificate'"):
        _ = dds.certificate


class Mixed(nn.Module):
    """A convolution, a part that is frozen in evaluation mode, and one that training changes."""

    def __init__(self):
        super().__init__()
        self.conv, self.frozen = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3).eval()
        self.norm, self.drop = nn.BatchNorm2d(3), nn.Dropout(0.5)

    def forward(self, images):
        return self.drop(self.norm(self.frozen(self.conv(images)))).mean(dim=(2, 3))


class Noise(nn.Module):
    """Predicts the noise of an image."""

    def forward(self, noisy, time):
        return noisy / 2


def state_of(network):
    """Return all of a network that running it might change."""
    tensors = [*network.parameters(), *network.buffers(), *(p.grad for p in network.parameters())]
    return (
        [id(tensor) for tensor in network.parameters()],
        [
            (tensor.device, tensor.stride(), tensor.data_ptr(), tensor.is_meta or tensor.tolist())
            for tensor in tensors
        ],
        [(part.training, part._compiled_call_impl) for part in network.modules()],
    )


def how_torch_computes():
    """Return what of the whole process a call may change."""
    return (
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"), torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(), torch.get_rng_state().tolist(),
    )  # fmt: skip


@pytest.fixture
def in_training():
    network = Mixed()
    network(torch.rand(2, 1, 4, 4)).sum().backward()
    return network


@pytest.mark.parametrize("images", [IMAGES, IMAGES + 9])
def test_networks_come_back_as_they_went(images, in_training):
    before = state_of(in_training)
    denoiser = DiffusionDenoiser(Noise(), cosine_schedule(100))
    with nullcontext() if images is IMAGES else pytest.raises(ValueError, match="outside"):
        certify(images, in_training, denoiser, SIGMA, n=10)
    assert state_of(in_training) == before
    assert all(part.training for part in denoiser.modules())


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
@pytest.mark.parametrize(
    "make",
    [
        torch.jit.script,
        lambda network: torch.jit.trace(network.eval(), torch.from_numpy(IMAGES).float()),
        lambda network: torch.jit.freeze(torch.jit.script(network.eval())),
    ],
)
def test_programs_of_torchscript_are_certified_and_come_back_as_they_went(make):
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(16, 3))
    program = make(network)
    mode = getattr(program, "training", False)
    found = certify(IMAGES, program, None, SIGMA, n=100)
    wanted = certify(IMAGES, network, None, SIGMA, n=100)
    np.testing.assert_array_equal(found.estimation, wanted.estimation)
    assert program.training == mode


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_networks_come_back_from_work_that_was_stopped(stop, precision, in_training):
    batches = []

    def stopped(network, images, logits):
        batches.append(images)
        if len(batches) == 20:  # of samples: in the first ones it is only tried
            raise stop

    denoiser = DiffusionDenoiser(Noise(), cosine_schedule(100))
    before = state_of(in_training), how_torch_computes()
    in_training.register_forward_hook(stopped)
    with pytest.raises(stop):
        certify(IMAGES, in_training, denoiser, SIGMA, n=900, batch_size=10, precision=precision)
    assert len(batches) == 20
    assert (state_of(in_training), how_torch_computes()) == before
    assert all(part.training for part in denoiser.modules())


@pytest.mark.parametrize(
    "change",
    [
        lambda network: network.eval().to("meta"),
        lambda network: convert_conv2d_weight_memory_format(network.double(), torch.channels_last),
        lambda network: network.conv.compile(),
        lambda network: network.to(torch.float16).requires_grad_(True),
    ],
)
def test_what_is_lent_is_given_back(change, in_training):
    before = state_of(in_training)
    with lent([in_training]):
        change(in_training)
        assert str(state_of(in_training)) != str(before)
    assert state_of(in_training) == before


def test_a_network_runs_where_it_lies():
    with pytest.raises(RuntimeError, match="device_type .meta."):
        certify(IMAGES, nn.Sequential(nn.Flatten(), nn.Linear(16, 3, device="meta")), None, SIGMA)


@pytest.mark.parametrize(
    ("images", "network", "text"),
    [
        (IMAGES[0], Constant(0.0, 1.0), "class 1 within 1.231"),
        (np.full((1, 4, 4), 0.5), Coin(), "abstains"),
        (IMAGES, Constant(1.0, 0.0), "3 images: 3 certified, radius 1.231 to 1.231 (median 1.231)"),
        (np.full((2, 1, 4, 4), 0.5), Coin(), "of 2 images: 0 certified"),
    ],
)
def test_a_certificate_says_what_it_knows_in_a_line(images, network, text):
    certificate = certify(images, network, None, SIGMA, n0=10, n=1000)
    assert text in repr(certificate)
    assert repr(certificate).endswith("; sigma 0.5, alpha 0.001>")
