"""Classifiers whose answers are known, and a few images for them to be smoothed on."""

import numpy as np
import torch
from torch import nn

from dds.networks.denoisers import NoDenoiser
from dds.sampling.smoothing import SmoothedClassifier
from dds.statistics.plans import make_plan

SIGMA = 0.5
IMAGES, CLASSES = 7, 3
PIXELS = np.random.default_rng(0).integers(0, 256, (IMAGES, 1, 2, 2)) / 255
PLANS = {
    "fixed": {"plan": "fixed", "n0": 30, "n": 250},
    "curtailed": {"plan": "fixed", "n0": 30, "n": 400, "curtail": True, "alpha": 0.01},
    "sequential": {
        "plan": "sequential",
        "n0": 100,
        "n": 900,
        "alpha": 0.01,
        "radii": [0.0, 0.25, 0.5],
    },
}


class Brightness(nn.Module):
    """Votes by the mean of the image, against a threshold."""

    def __init__(self, low, high):
        super().__init__()
        self.low, self.high = low, high

    def forward(self, images):
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([self.low - mean, 0 * mean, mean - self.high], dim=1)


class Greedy(Brightness):
    """Runs out of memory above a batch size."""

    def __init__(self, most):
        super().__init__(0.45, 0.55)
        self.most = most

    def forward(self, images):
        if len(images) > self.most:
            raise torch.OutOfMemoryError
        return super().forward(images)


class Spy(Brightness):
    """Keeps all that it is shown."""

    def __init__(self, low, high):
        super().__init__(low, high)
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        return super().forward(images)

    @property
    def sizes(self):
        return [len(images) for images in self.seen]


CLASSIFIERS = {"strict": Brightness(0.3, 0.7), "lax": Brightness(0.45, 0.55)}


def smoothed(plan="fixed", classifiers=CLASSIFIERS, denoiser=None, **options):
    denoiser = NoDenoiser() if denoiser is None else denoiser
    plan = make_plan(PLANS[plan], SIGMA)
    return SmoothedClassifier(classifiers, denoiser, SIGMA, plan, 1, **options)


def count_votes(smooth, rows=range(IMAGES), **options):
    rows = list(rows)
    labels = [row % CLASSES for row in rows]
    return smooth.count_votes(PIXELS[rows], labels, rows, classes=CLASSES, **options)


def same(first, second):
    return (
        np.array_equal(first.selection, second.selection)
        and np.array_equal(first.estimation, second.estimation)
        and np.array_equal(first.goals, second.goals)
    )
