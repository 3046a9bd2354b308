"""Whether an answer depends on its image alone: a few noisy images in batches, ahead of the work.

Samples of an image share batches with each other and with those of other images. A bound on how
often a class is answered is one for independent samples.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dds.networks.classifiers import logits_of
from dds.networks.denoisers import NoDenoiser
from dds.sampling.checks import check_denoised, check_logits, explained, in_one_line
from dds.sampling.denoising_check import in_one_shot, seeded_normal
from dds.sampling.smoothing import SmoothedClassifier

logger = logging.getLogger(__name__)

#: How many images a batch has at most, and how many batches show what a network draws: so many
#: that a coin for each image does not fall as one for each batch would, nor that one alike always.
_ROWS, _TIMES = 4, 32

#: What rounding may do: a share of how much answers to several images differ, and one of the
#: answers themselves, which matters where they hardly differ, as of an untrained network.
_EXACT, _ROUNDED = (1e-3, 1e-5), (0.02, 0.01)

_SEED = 20_230_502

_ON_OTHERS = (
    "answers an image otherwise when others in its batch change, and certificates are for "
    "independent samples; what normalises by the whole batch does so, as BatchNorm without running "
    "statistics, or left in training mode"
)
_ON_PLACE = (
    "answers an image otherwise at another place in its batch, and certificates are for one "
    "function of an image alone"
)
_ON_ONE_DRAW = (
    "draws random numbers once for a batch, and certificates are for independent samples; draw "
    "for each image"
)

#: From noisy images to clean ones, or to logits.
Answer = Callable[[Tensor], Tensor]


def check_batches(smoothed: SmoothedClassifier, images: np.ndarray, classes: int) -> None:
    """Make sure that networks answer an image alike whatever else is in its batch.

    Each is run on a few batches of noisy images; a classifier on what the denoiser makes of them.
    A network may draw random numbers, for each image its own. Seeded alike, what it answers must
    not depend on the other image in a batch of two, be it first or last. Nor may it on the place
    in a batch, nor may a draw be one for all of a batch. Where batches have one image there is
    nothing to look at.

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
        Naming the network that does not, that fails, or that returns something else than images or
        logits.
    torch.OutOfMemoryError
        If not even one image fits into memory.

    Notes
    -----
    It finds what normalises by a batch, answers one image of it for all, or draws once for it. No
    test finds every dependence. Not found is one that

    - needs more than two images that differ, or shows for others than those looked at, as it may
      where answers are a class and no logits;
    - changes answers less than rounding may: in bfloat16, and on other devices than CPUs, by 2 %
      of how much answers differ;
    - is a draw for a batch that seldom matters, or that draws for each image hide, as they hide
      what depends on the place;
    - lies in what a network remembers from batch to batch, or draws from a generator of its own
      that happens to give a few batches the same.

    PyTorch, NumPy's global generator and Python's `random` are seeded for it, and then put back.
    What draws from elsewhere, so that it answers a batch otherwise when run again, gets a warning
    in place of a refusal. A network that draws more numbers for some images than for others, one
    image after another, is refused: what it draws for an image depends on those before it.

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

    def look(rows: int) -> None:
        if rows > 1:
            _check(smoothed, _noisy(smoothed, images[0]), classes, rows)

    with smoothed.runner.inference():
        smoothed.runner.try_out(look, _ROWS)


def _check(smoothed: SmoothedClassifier, noisy: Tensor, classes: int, rows: int) -> None:
    """Check the denoiser, and with what it makes of noisy images the classifiers."""
    denoise = _Network(*_denoiser(smoothed), smoothed)
    denoise.check(noisy, rows)
    clean = torch.cat([denoise(pair) for pair in noisy.split(2)])
    given = "noisy" if isinstance(smoothed.denoiser, NoDenoiser) else "denoised"
    for name in smoothed.classifiers:
        classify = _Network(*_classifier(smoothed, name, classes), smoothed, given=given)
        classify.check(clean, rows)


def _noisy(smoothed: SmoothedClassifier, image: np.ndarray) -> Tensor:
    """Return an image under noise and two to go with it, as different as can be.

    They differ in brightness, and, should a network take that out, in structure. One is white
    noise, one has stripes, both as strong as the noise: it may outweigh all else.
    """
    sigma, device = smoothed.denoiser.noise_sigma(smoothed.sigma), smoothed.runner.device
    clean = torch.tensor(np.asarray(image, np.float32))
    noise, white, stripes = sigma * seeded_normal(torch.Size([3, *clean.shape]), _SEED)
    stripes = stripes[..., :1].expand_as(stripes)
    return torch.stack([clean + noise, white, 1 + stripes]).to(device)


def _denoiser(smoothed: SmoothedClassifier) -> tuple[str, Answer]:
    """Return what to call the denoiser in an error, and how it is asked."""
    denoiser, sigma = smoothed.denoiser, smoothed.sigma
    one_shot = in_one_shot(denoiser)

    def denoise(noisy: Tensor) -> Tensor:
        clean = one_shot.denoise(noisy, sigma, lambda step: torch.zeros_like(noisy))
        check_denoised(clean, noisy, type(denoiser).__name__)
        return clean

    return f"denoiser {type(denoiser).__name__}", denoise


def _classifier(smoothed: SmoothedClassifier, name: str, classes: int) -> tuple[str, Answer]:
    """Return what to call a classifier in an error, and how it is asked."""

    def classify(images: Tensor) -> Tensor:
        logits = logits_of(smoothed.classifiers[name](images))
        check_logits(logits, len(images), classes, name)
        return logits

    return f"classifier {name!r}", classify


class _Network:
    """A network that is asked batches of images, and finds all that it draws from seeded."""

    def __init__(
        self, name: str, answer: Answer, smoothed: SmoothedClassifier, *, given: str = "noisy"
    ) -> None:
        self._name, self._answer, self._given = name, answer, given
        self._networks, self._runner = smoothed.networks, smoothed.runner
        is_exact = self._runner.precision == "float32" and self._runner.device.type == "cpu"
        self._shares = _EXACT if is_exact else _ROUNDED
        self._scale, self._has_drawn = _Scale(), False

    def __call__(self, images: Tensor, seed: int = 0) -> Tensor:
        """Return what is answered to a batch of images."""
        size, shape = len(images), tuple(images.shape[1:])
        self._runner.begin_batch()
        with (
            in_one_line(
                f"{self._name} fails on {size} {self._given} images of shape {shape}",
                "it must take several at once, unless batch_size is 1"
                + ", and values outside [0,1]" * (self._given == "noisy"),
            ),
            explained(self._networks),
            _seeded(seed) as has_drawn,
        ):
            # Copied, for a network may work in place, or write the next answers over these.
            answers = self._answer(images.clone()).to(torch.float32, copy=True)
            self._has_drawn |= has_drawn()
        return answers

    def check(self, images: Tensor, rows: int) -> None:
        """Raise, or warn where nothing can be found out, if an image is not answered by itself."""
        fault = self._fault(images, rows)
        if fault is None:
            return
        if self._repeats(images[:2]):
            raise ValueError(f"{self._name} {fault}")
        logger.warning(
            "%s answers the same images otherwise when they are given again, as it draws random "
            "numbers from elsewhere than torch, numpy or random, or remembers; certificates are "
            "for independent samples, and whether these are cannot be checked",
            self._name,
        )

    def _fault(self, images: Tensor, rows: int) -> str | None:
        """Return what is wrong with the answers to an image in all kinds of batches."""
        image, *others = images
        first = [self(torch.stack([image, other])) for other in others]
        last = [self(torch.stack([other, image])) for other in others]
        self._scale = _Scale.of(torch.cat([*first, *last]))
        if not (self._alike(*(a[0] for a in first)) and self._alike(*(a[1] for a in last))):
            return _ON_OTHERS
        batch = image.expand(rows, *image.shape)
        times = [self(batch, seed) for seed in range(_TIMES if self._has_drawn else 1)]
        is_one_at_a_time = all(self._alike(each, each[:1]) for each in times)
        is_one_at_a_place = all(self._alike(each, times[0]) for each in times)
        if is_one_at_a_time == is_one_at_a_place:
            return None
        return _ON_ONE_DRAW if is_one_at_a_time else _ON_PLACE

    def _repeats(self, images: Tensor) -> bool:
        """Tell whether the same batch is answered alike when it is given again and again."""
        first = self(images)
        return all(self._alike(self(images), first) for _ in range(_TIMES))

    def _alike(self, one: Tensor, other: Tensor) -> bool:
        """Tell whether answers are the same but for rounding."""
        share, digits = self._shares
        allowed = share * self._scale.span + digits * self._scale.size
        return torch.allclose(one, other, rtol=digits, atol=allowed, equal_nan=True)


class _Scale(NamedTuple):
    """How much answers to several images differ, and how large they are.

    Attributes
    ----------
    span : float
        The difference in that class, or that pixel, where it is largest. Across classes they may
        differ by more, such as where one is masked by a huge number.
    size : float
        Of a typical answer, where answers differ at all.
    """

    span: float = 0.0
    size: float = 0.0

    @classmethod
    def of(cls, answers: Tensor) -> _Scale:
        """Measure answers to several images, as far as they are finite."""
        finite = answers.isfinite()
        lowest = answers.where(finite, torch.inf).amin(0)
        highest = answers.where(finite, -torch.inf).amax(0)
        differing = answers[finite & (highest > lowest)].abs()
        if not len(differing):
            return cls()
        return cls(float((highest - lowest).amax()), float(differing.median()))


@contextmanager
def _seeded(seed: int) -> Iterator[Callable[[], bool]]:
    """Seed what networks draw from, and put it back; gives what tells whether they have drawn."""
    generators = _generators()
    before = [generator.get_state() for generator in generators]
    before_numpy, before_random = np.random.get_state(), random.getstate()

    def begin() -> None:
        for generator in generators:
            generator.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)

    def where() -> tuple[list[bytes], float, float]:
        # A number of a GPU's generator would take memory there, also of one that nobody uses.
        states = [generator.get_state().numpy().tobytes() for generator in generators]
        return states, np.random.random(), random.random()

    try:
        begin()
        untouched = where()
        begin()
        yield lambda: where() != untouched
    finally:
        for generator, state in zip(generators, before, strict=True):
            generator.set_state(state)
        np.random.set_state(before_numpy)
        random.setstate(before_random)


def _generators() -> list[torch.Generator]:
    """Return PyTorch's own generators, of all devices that are in use.

    torch.manual_seed would seed those of others, too, once they are.
    """
    found = [torch.default_generator]
    if torch.cuda.is_initialized():
        found += torch.cuda.default_generators
    if torch.backends.mps.is_available():
        found.append(torch.mps._get_default_mps_generator())
    return found
