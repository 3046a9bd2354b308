"""Predict with the smoothed classifier in one call: models in, classes out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike
from torch import nn

from dds.files import parquet_path
from dds.front.arguments import plain
from dds.front.asked import Asked, Devices, check_noise
from dds.front.counting import count_votes
from dds.front.images import ImagesLike
from dds.front.results import Predictions
from dds.networks.denoisers import Denoiser
from dds.statistics.bounds import check_alpha
from dds.statistics.plans._predict import Predict
from dds.statistics.reach import check_enough


@plain
def predict(
    images: ImagesLike,
    classifier: nn.Module,
    denoiser: Denoiser | None,
    sigma: float,
    *,
    labels: ArrayLike | None = None,
    layout: str = "CHW",
    processor: Any = None,
    n: int = 1000,
    alpha: float = 0.001,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    batch_size: int | str = 100,
    precision: str = "float32",
    device: Devices = None,
    save_to: str | Path | None = None,
    progress: bool | None = None,
) -> Predictions:
    """Say what the smoothed classifier answers on images, or abstain.

    For each image, with probability at least 1 - `alpha` over the samples: it abstains, or the
    class is the one that the classifier answers most often under noise. The guarantee is about
    this image alone, with no radius around it, and about one image at a time: of 1,000 images and
    alpha = 0.001, one may be wrong. It needs one fixed classifier, so evaluation mode and one
    precision, and an `alpha` that was not chosen by the outcome.

    Parameters
    ----------
    images, classifier, denoiser, sigma, labels, layout, processor
        As `certify` takes them.
    n : int, optional
        Samples of an image.
    alpha : float, optional
        Error probability of each prediction, 0 < alpha < 1.
    seed, ids, batch_size, precision, device, save_to, progress
        As `certify` takes them. The samples are those by which `certify` selects a class.

    Returns
    -------
    Predictions
        One row an image.

    Raises
    ------
    ValueError, FloatingPointError
        As `certify`.

    References
    ----------
    .. [1] Cohen et al., Certified Adversarial Robustness via Randomized Smoothing, ICML 2019:
       the procedure PREDICT and proposition 1.
    .. [2] Hung and Fithian, Rank verification for exponential families, Annals of Statistics
       2019.

    Examples
    --------
    >>> import torch
    >>> from dds import predict
    >>> pixels = torch.tensor([[[[0.2, 0.9]]], [[[0.5, 0.5]]]])
    >>> predictions = predict(pixels, torch.nn.Flatten(), None, sigma=0.5, n=1000)
    >>> predictions.prediction.tolist()
    [1, -1]
    """
    path = None if save_to is None else parquet_path(save_to)
    check_noise(sigma)
    check_alpha(alpha)
    check_enough(n, alpha)
    asked = Asked.of(
        "predict", images, classifier, denoiser, labels=labels, layout=layout, processor=processor,
        ids=ids, device=device, sigma=sigma, plan=Predict(n0=n), seed=seed, alpha=alpha,
        batch_size=batch_size, precision=precision,
    )  # fmt: skip
    votes, facts = count_votes(asked, path, progress=progress)
    return Predictions.of_counts(votes.selection[:, 0], asked.ids, asked.labels, facts)
