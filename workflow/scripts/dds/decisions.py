"""What arithmetic does to decisions: the same noisy samples, run in more than one way.

Precision, the shape of batches and compiled kernels change the last bits of logits, and so now
and then the class of a sample, and of enough samples a certificate.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from dds.networks.denoisers import Denoiser
from dds.sampling.kernels import PRECISIONS, tf32
from dds.sampling.smoothing import SmoothedClassifier
from dds.sampling.votes import Segment
from dds.seeds import SELECTION
from dds.statistics.bounds import binomial_interval, largest_radius
from dds.statistics.certificates import certify_counts
from dds.statistics.plans.fixed import Fixed

#: The class of every noisy sample, by classifier: ndarrays of int, shape (images, n0 + n).
Answers = dict[str, np.ndarray]

#: What may be computed in TF32 on a GPU: PyTorch lets convolutions, unless it is told otherwise.
NO_TF32, IN_CONVOLUTIONS, EVERYWHERE = "", "TF32 in convolutions", "TF32"

_OF_A_CELL = [
    "classifier", "radius", "images", "changed", "share", "low", "high",
    "certified_reference", "certified", "points",
]  # fmt: skip


class CannotRun(Exception):
    """A way of running networks that the device, or what is installed, cannot do."""


@dataclass(frozen=True)
class Variant:
    """A way of running the same networks on the same noisy samples.

    Attributes
    ----------
    batch_size : int
        Samples in a batch.
    precision : str
        One of `dds.sampling.kernels.PRECISIONS`. Here float32 is float32: without TF32, unless
        `tf32` says so.
    compiled : bool
        Whether torch.compile makes one program of each network.
    tf32 : str
        `NO_TF32`, `IN_CONVOLUTIONS` or `EVERYWHERE`.

    Examples
    --------
    >>> str(Variant(100)), str(Variant(50, "bfloat16", compiled=True))
    ('float32, batches of 100', 'bfloat16, batches of 50, compiled')
    """

    batch_size: int
    precision: str = "float32"
    compiled: bool = False
    tf32: str = NO_TF32

    def __str__(self) -> str:
        parts = [self.precision, f"batches of {self.batch_size}", self.tf32]
        return ", ".join(filter(None, [*parts, "compiled" if self.compiled else ""]))


def variants(batch_size: int, device: str | torch.device) -> list[Variant]:
    """Return the ways worth comparing on a device, the reference first.

    Parameters
    ----------
    batch_size : int
        Of the reference, which is float32 without TF32 and without a compiler. Others have
        batches of half as many and a third as many samples.
    device : str or torch.device
        Where networks run. TF32 is a GPU's.

    Returns
    -------
    list of Variant

    Examples
    --------
    >>> [str(variant) for variant in variants(100, "cpu")[:3]]
    ['float32, batches of 100', 'float32, batches of 50', 'float32, batches of 33']
    """
    found = []
    for precision in PRECISIONS:
        sizes = dict.fromkeys(max(1, batch_size // part) for part in (1, 2, 3))
        found += [Variant(size, precision) for size in sizes]
        if precision == "float32" and torch.device(device).type == "cuda":
            found += [Variant(batch_size, tf32=tf32) for tf32 in (IN_CONVOLUTIONS, EVERYWHERE)]
        found.append(Variant(batch_size, precision, compiled=True))
    return found


@dataclass(frozen=True)
class Samples:
    """Noisy samples of some images at one noise level: those that certification draws.

    Attributes
    ----------
    images : ndarray of float, shape (images, channels, height, width)
        In [0,1].
    labels : ndarray of int, shape (images,)
        Their classes.
    ids : sequence of int
        Number of each image in its dataset, which keys its noise.
    classes : int
        How many classes there are.
    sigma : float
        Noise level in [0,1] pixel units.
    n0, n : int
        Selection and estimation samples of an image.
    seed : int
        The study's, which keys the noise.
    noise : {"float", "integer"}, optional
        As of `SmoothedClassifier`.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: Sequence[int]
    classes: int
    sigma: float
    n0: int
    n: int
    seed: int
    noise: str = "float"

    def answers(
        self,
        classifiers: Mapping[str, nn.Module],
        denoiser: Denoiser,
        variant: Variant,
        device: str | torch.device = "cpu",
    ) -> Answers:
        """Run the samples through networks in one way.

        Parameters
        ----------
        classifiers, denoiser
            As `SmoothedClassifier` takes them; they are copied, and stay as they are.
        variant : Variant
            How to run them.
        device : str or torch.device
            Where.

        Returns
        -------
        Answers
            The class of every sample by classifier, selection samples first.

        Raises
        ------
        CannotRun
            If networks cannot be compiled here, or do not fit a GPU's memory in such batches.
        ValueError
            As `SmoothedClassifier.count_votes`.
        """
        smoothed = SmoothedClassifier(
            {name: copy.deepcopy(network) for name, network in classifiers.items()},
            copy.deepcopy(denoiser),
            self.sigma,
            Fixed(self.n0, self.n),
            self.seed,
            noise=self.noise,
            batch_size=variant.batch_size,
            precision=variant.precision,
            compiled=variant.compiled,
            device=device,
        )
        shape = (len(classifiers), len(self.images), self.n0 + self.n)
        classes = np.empty(shape, np.int16)

        def keep(batch: list[Segment], predictions: np.ndarray) -> None:
            # The runner goes on without a compiler, and with smaller batches, where it has to.
            if variant.compiled and not smoothed.runner.compiled:
                raise CannotRun("torch.compile failed")
            if smoothed.batch_size != variant.batch_size:
                raise CannotRun(f"out of memory, which holds batches of {smoothed.batch_size}")
            column = 0
            for segment in batch:
                start = segment.start + (0 if segment.phase == SELECTION else self.n0)
                here = predictions[:, column : column + segment.length]
                classes[:, segment.row, start : start + segment.length] = here
                column += segment.length

        convolutions, products = variant.tf32 != NO_TF32, variant.tf32 == EVERYWHERE
        with tf32(products, convolutions):
            smoothed.count_votes(
                self.images,
                self.labels.tolist(),
                self.ids,
                classes=self.classes,
                see_answers=keep,
            )
        return dict(zip(classifiers, classes, strict=True))

    def compare(self, reference: Answers, other: Answers) -> pd.DataFrame:
        """Count the samples that get another class.

        Parameters
        ----------
        reference, other : Answers
            From `answers`.

        Returns
        -------
        DataFrame
            One row a ``classifier``: ``samples``, ``changed`` (samples), ``share``, and its 95%
            interval from ``low`` to ``high``, over the noise on these images; ``lost`` and
            ``won``, samples that only the reference, or only the other, gives their label.
        """
        rows = []
        for classifier, before in reference.items():
            after, label = other[classifier], self.labels[:, None]
            rows.append(
                {"classifier": classifier, "samples": before.size}
                | _share((before != after).sum(), before.size)
                | {
                    "lost": ((before == label) & (after != label)).sum(),
                    "won": ((before != label) & (after == label)).sum(),
                }
            )
        return pd.DataFrame(rows)

    def compare_certified(
        self, reference: Answers, other: Answers, radii: Iterable[float], alpha: float
    ) -> pd.DataFrame:
        """Count the images that are certified at a radius in one way and not in the other.

        Parameters
        ----------
        reference, other : Answers
            From `answers`.
        radii : iterable of float
            In [0,1] pixel units. Those that no image can reach with so few samples are left
            out: nothing can change there.
        alpha : float
            Error probability of a certificate.

        Returns
        -------
        DataFrame
            One row a ``classifier`` and ``radius``, which is a cell of a table: ``images``,
            ``changed`` (images), ``share``, ``low``, ``high``, as in `compare`, but over images;
            ``certified_reference`` and ``certified``, the images certified in each way; and
            ``points``, by which the certified accuracy differs.
        """
        reach = largest_radius(self.n, alpha, self.sigma)
        within = [radius for radius in radii if 0 <= radius <= reach and reach > 0]
        rows, images = [], len(self.images)
        for classifier, answers in reference.items():
            before = self._certified(answers, within, alpha)
            after = self._certified(other[classifier], within, alpha)
            for radius, one, two in zip(within, before, after, strict=True):
                rows.append(
                    {"classifier": classifier, "radius": radius, "images": images}
                    | _share((one != two).sum(), images)
                    | {"certified_reference": one.sum(), "certified": two.sum()}
                    | {"points": 100 * (int(two.sum()) - int(one.sum())) / images}
                )
        return pd.DataFrame(rows, columns=_OF_A_CELL)

    def _certified(self, answers: np.ndarray, radii: Sequence[float], alpha: float) -> np.ndarray:
        """Return whether each image is certified at each radius, (radii, images)."""
        votes = np.stack([answers == k for k in range(self.classes)], axis=-1)
        selection, estimation = votes[:, : self.n0].sum(axis=1), votes[:, self.n0 :].sum(axis=1)
        plan = Fixed(self.n0, self.n)
        rows = certify_counts(selection, estimation, self.sigma, self.labels, plan, alpha)
        return rows["correct"] & (rows["radius"] >= np.reshape(radii, (-1, 1)))


def _share(changed: int, whole: int) -> dict[str, float]:
    low, high = binomial_interval(changed, whole)
    return {"changed": changed, "share": changed / whole, "low": low, "high": high}
