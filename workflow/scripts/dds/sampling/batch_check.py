"""Whether an answer depends on its image alone: two noisy images in a batch, ahead of the work.

Samples of an image share batches with each other and with those of other images. A bound on how
often a class is answered is one for independent samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from dds.networks.classifiers import logits_of
from dds.sampling.checks import check_denoised, check_logits, explained
from dds.sampling.denoising_check import in_one_shot, seeded_normal
from dds.sampling.smoothing import SmoothedClassifier

#: Of the range of the answers: what counts as a difference. Other images that change an answer do
#: so by much, for one of them is as dark as can be and one as bright; what rounding does in
#: bfloat16 is less.
_TOLERANCE = 0.02

_SEED = 20_230_502

#: From noisy images to clean ones, or to logits.
Answer = Callable[[Tensor], Tensor]


def check_batches(smoothed: SmoothedClassifier, images: np.ndarray, classes: int) -> None:
    """Make sure that networks answer an image alike whatever else is in its batch.

    Each is run on four batches of two noisy images. A network may draw random numbers from
    PyTorch; what it answers must not depend on the other image, nor on the place in the batch.

    Parameters
    ----------
    smoothed : SmoothedClassifier
        Its networks are run as its samples are: on its device, in its precision.
    images : ndarray of float, shape (images, channels, height, width)
        In [0,1], at least one; the first is looked at.
    classes : int
        How many logits a classifier has.

    Raises
    ------
    ValueError
        Naming the network that does not, or that returns something else than images or logits.

    Notes
    -----
    It finds what normalises by a batch, or answers one image of it for all. No test finds every
    dependence: samples that influence each other through what a network remembers, for example.

    References
    ----------
    Cohen et al. (2019): Certified adversarial robustness via randomized smoothing. ICML. Their
    bounds (section 3.2) are binomial: samples are independent.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from dds import NoDenoiser, SmoothedClassifier, make_plan
    >>> from dds.sampling.batch_check import check_batches
    >>> class Centred(torch.nn.Flatten):
    ...     def forward(self, x):
    ...         return super().forward(x) - x.mean()
    ...
    >>> plan = make_plan({"plan": "fixed", "n0": 10, "n": 100}, sigma=0.5)
    >>> smoothed = SmoothedClassifier({"f": Centred()}, NoDenoiser(), 0.5, plan, seed=1)
    >>> check_batches(smoothed, np.zeros((1, 1, 1, 2)), classes=2)
    Traceback (most recent call last):
    ...
    ValueError: classifier 'f' answers an image otherwise when others in its batch change, ...
    """
    device = smoothed.runner.device
    image = torch.tensor(np.asarray(images[0], np.float32), device=device)
    normal = seeded_normal(image.shape, _SEED).to(device)
    noise = smoothed.denoiser.noise_sigma(smoothed.sigma) * normal
    with explained(smoothed.networks), smoothed.runner.inference():
        for what, answer in _answers(smoothed, classes):
            if not _is_of_its_own(_Seeded(answer, device), image + noise, noise, 1 + noise):
                raise ValueError(
                    f"{what} answers an image otherwise when others in its batch change, and "
                    "certificates are for independent samples; what normalises by the whole "
                    "batch does so, as BatchNorm without running statistics, or left in training "
                    "mode"
                )


def _answers(smoothed: SmoothedClassifier, classes: int) -> Iterator[tuple[str, Answer]]:
    """Yield what is asked, and what to call it in an error."""
    denoiser, sigma = smoothed.denoiser, smoothed.sigma
    one_shot = in_one_shot(denoiser)

    def denoise(noisy: Tensor) -> Tensor:
        clean = one_shot.denoise(noisy, sigma, lambda step: torch.zeros_like(noisy))
        check_denoised(clean, noisy, type(denoiser).__name__)
        return clean

    def classify(name: str, noisy: Tensor) -> Tensor:
        logits = logits_of(smoothed.classifiers[name](noisy))
        check_logits(logits, len(noisy), classes, name)
        return logits

    yield f"denoiser {type(denoiser).__name__}", denoise
    for name in smoothed.classifiers:
        yield f"classifier {name!r}", partial(classify, name)


class _Seeded:
    """Answers of a network that finds PyTorch's random numbers as if they had just been seeded."""

    def __init__(self, answer: Answer, device: torch.device) -> None:
        self._answer, self._devices = answer, [device] if device.type == "cuda" else []

    def __call__(self, *images: Tensor, seed: int = 0) -> Tensor:
        """Return what is answered to a batch of images, one after another."""
        with torch.random.fork_rng(self._devices):
            torch.manual_seed(seed)
            return self._answer(torch.stack(images)).float()


def _is_of_its_own(answer: _Seeded, image: Tensor, dark: Tensor, bright: Tensor) -> bool:
    beside_dark = answer(image, dark)
    if not _is_close(beside_dark[0], answer(image, bright)[0]):
        return False
    is_random = not _is_close(beside_dark, answer(image, dark, seed=1))
    return is_random or _is_close(beside_dark, answer(dark, image).flip(0))


def _is_close(first: Tensor, second: Tensor) -> bool:
    """Tell whether answers are the same but for rounding; what is not finite is refused later."""
    if not (first.isfinite().all() and second.isfinite().all()):
        return True
    both = torch.stack([first, second])
    span = both.amax() - both.amin()
    return bool((first - second).abs().amax() <= _TOLERANCE * span)
