"""The plain ways that `make bench` holds certification against.

The plain way is what Figure 1 says and no more: float32, one image a batch, the modules that the
networks' own libraries come with.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch.nn import functional

#: Modules whose classes compute what the classes they are derived from do, faster.
FASTER_PARTS = (
    "dds.networks._guided_diffusion",
    "dds.networks._timm",
    "dds.networks._transformers",
    "dds.networks.patches",
)


def as_published(model: nn.Module) -> nn.Module:
    """Return a copy of a model with the modules its network's own library comes with."""
    plain = copy.deepcopy(model)
    for module in plain.modules():
        if type(module).__module__ in FASTER_PARTS:
            module.__class__ = type(module).__base__
    return plain


class PlainCertifier:
    """Figure 1, line by line: noise, timestep, denoise, classify, count."""

    def __init__(self, denoiser, classifier, sigma: float, device) -> None:
        self.denoiser, self.classifier, self.device = denoiser, classifier, device
        self.start = denoiser.schedule.timestep(sigma, "authors")

    @torch.no_grad()
    def count(self, image: torch.Tensor, samples: int, batch_size: int, classes: int) -> np.ndarray:
        """Return the class counts of noisy copies of one image."""
        counts = np.zeros(classes, np.int64)
        while samples > 0:
            size = min(batch_size, samples)
            samples -= size
            batch = image.repeat(size, 1, 1, 1)
            x = batch + self.start.noise_sigma * torch.randn_like(batch)
            x = (2 * x - 1) * self.start.alpha_bar**0.5
            logits = self.classifier(self.resize(self.denoise(x)))
            counts += np.bincount(logits.argmax(1).cpu().numpy(), minlength=classes)
        return counts

    def denoise(self, x: torch.Tensor) -> torch.Tensor:
        """Predict the clean images, in [0,1], from scaled noisy ones."""
        time = torch.tensor([self.denoiser.schedule.network_time(self.start.t)] * len(x))
        noise = self.denoiser.network(x, time.to(self.device))[:, : x.shape[1]]
        clean = x - (1 - self.start.alpha_bar) ** 0.5 * noise
        return ((clean / self.start.alpha_bar**0.5).clamp(-1, 1) + 1) / 2

    def resize(self, images: torch.Tensor) -> torch.Tensor:
        """Give images the size that the classifier wants, by PyTorch's own interpolation."""
        if self.classifier.size in (None, images.shape[-1]):
            return images
        size = (self.classifier.size, self.classifier.size)
        return functional.interpolate(images, size=size, mode="bicubic", antialias=True)


class OfficialCertifier:
    """The classes of a checkout of ethz-spylab/diffusion_denoised_smoothing, on our weights."""

    def __init__(
        self, folder: Path, denoiser, classifier, classes: int, sigma: float, device
    ) -> None:
        if not (folder / "DRM.py").exists():
            raise ValueError(f"--official: no file {folder / 'DRM.py'}")
        self.device = device
        with self._as_they_expect(), mock.patch.object(sys, "path", [str(folder), *sys.path]):
            theirs, core = importlib.import_module("DRM"), importlib.import_module("core")
            arguments = theirs.args_to_dict(
                theirs.Args(), theirs.model_and_diffusion_defaults().keys()
            )
            model = theirs.DiffusionRobustModel.__new__(theirs.DiffusionRobustModel)
            nn.Module.__init__(model)
            model.model, model.diffusion = theirs.create_model_and_diffusion(**arguments)
            model.model.load_state_dict(denoiser.network.state_dict())
            model.model.eval().to(device)
            model.classifier = classifier.network
        t = int(denoiser.schedule.timestep(sigma, "authors").t)
        self.smooth = core.Smooth(model, classes, sigma, t)

    def count(self, image: torch.Tensor, samples: int, batch_size: int, classes: int) -> np.ndarray:
        """Return the class counts of noisy copies of one image."""
        with self._as_they_expect(), torch.no_grad():
            return self.smooth._sample_noise(image, samples, batch_size)

    @contextlib.contextmanager
    def _as_they_expect(self) -> Iterator[None]:
        """Stand in for a GPU where there is none, and for statistics that no sample needs."""
        import scipy.stats

        with contextlib.ExitStack() as stack:
            names = ("statsmodels", "statsmodels.stats", "statsmodels.stats.proportion")
            stack.enter_context(
                mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in names})
            )
            stack.enter_context(mock.patch.object(scipy.stats, "binom_test", None, create=True))
            if self.device.type == "cpu":
                for kind in (torch.Tensor, nn.Module):
                    stack.enter_context(mock.patch.object(kind, "cuda", lambda self: self))
            yield
