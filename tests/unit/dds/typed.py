"""What type checkers make of the public names; mypy reads this, nothing runs it."""

from typing import assert_type

import numpy as np
import torch
from torch import Tensor, nn

import dds
from dds import (
    Attacked,
    Certificates,
    Classifier,
    DiffusionDenoiser,
    NoDenoiser,
    Predictions,
    SmoothedClassifier,
    attack,
    build_classifier,
    build_denoiser,
    certified_radius,
    certify,
    clopper_pearson_lower,
    cosine_schedule,
    hub_classifier,
    make_plan,
    predict,
)
from dds.networks.denoisers import Normal


class Blur:
    """A denoiser of a user's own."""

    networks: tuple[nn.Module, ...] = ()
    runs = 1

    def noise_sigma(self, sigma: float) -> float:
        return sigma

    def denoise(self, noisy: Tensor, sigma: float, normal: Normal | None = None) -> Tensor:
        return noisy


image = torch.zeros(1, 8, 8)
classifier = Classifier(nn.Flatten(), mean=[0.5], std=[0.5])
denoiser = DiffusionDenoiser(nn.Identity(), cosine_schedule(4000), steps=1)
for before in (None, denoiser, NoDenoiser(), Blur()):
    certificate = certify(image, classifier, before, 0.25, n=1000, ids=[3], device="cuda:0")
    assert_type(certificate, Certificates)
    assert_type(certificate.sigma, float)
certify([[[0.2, 0.9]]], classifier, None, 0.25)
certify(image.numpy(), classifier, None, 0.25, device=torch.device("cpu"))
dataset = torch.utils.data.TensorDataset(torch.zeros(2, 1, 8, 8), torch.zeros(2))
loader = torch.utils.data.DataLoader(dataset)
certificates = certify(dataset, classifier, None, 0.25, plan={"plan": "radius", "within": 0.1})
certificates = certify(
    loader, classifier, None, 0.25, device=["cuda:0", "cuda:1"], save_to="v.parquet"
)
assert_type(Certificates.load("v"), Certificates)
assert_type(len(certificates), int)
certificates.certified_accuracy([0, 0.5], level=0.9)
certificates.plot(label="ours").set_title("")
certificates.to_log("sigma_0.25.tsv")
assert_type(predict(image, hub_classifier("timm:resnet50"), None, 0.25, labels=3), Predictions)
attacked = attack(image, classifier, denoiser, 0.25, 0.5, labels=3, device="cuda:0")
assert_type(attacked, Attacked)
assert_type(attacked.norm, np.ndarray)
smoothed = SmoothedClassifier({"f": classifier}, Blur(), 0.25, make_plan({}, 0.25), seed=1)
votes = smoothed.count_votes(np.zeros((1, 1, 8, 8)), [None], range(1), classes=10)
assert_type(classifier(image), Tensor)  # type: ignore[assert-type] # PyTorch says Any of a call
assert_type(classifier.forward(image), Tensor)
entry = {"network": "wide_resnet", "arguments": {"depth": 10, "width": 1}, "classes": ["a", "b"]}
assert_type(build_classifier(entry), Classifier)
assert_type(build_denoiser({"network": "unet.py:build"}, steps=3), DiffusionDenoiser)
assert_type(dds.ABSTAIN, int)
assert_type(dds.__version__, str)
p_lower = clopper_pearson_lower(successes=[980, 990], n=1000, alpha=0.001)
assert_type(certified_radius(p_lower, sigma=0.25), np.ndarray)
both = np.stack([certificate.selection, certificate.selection])
cascade = dds.certify_cascade(both, both, sigmas=[0.5, 0.25], alpha=0.001)
assert_type(cascade["radius"], np.ndarray)
dds.write_logs(dds.read_logs("logs"), "again")
dds.write_log(dds.read_log("sigma_0.25.tsv", classifier="mine"), "again/sigma_0.25.tsv")
dds.certified_accuracy(dds.read_log("sigma_0.25.tsv"), radii=[0, 0.5])
dds.load_weights(denoiser.network, "unet.pt", key="ema")
dds.save_weights(denoiser.network, "unet.pt")
dds.linear_schedule(1000)
