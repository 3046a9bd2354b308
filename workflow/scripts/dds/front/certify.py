"""Certify images in one call, without a study: models in, radii out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike
from torch import nn

from dds.files import parquet_path
from dds.front.arguments import number, plain, shown
from dds.front.asked import Asked, Devices, check_noise
from dds.front.counting import count_votes
from dds.front.images import ImagesLike
from dds.front.results import Certificates
from dds.networks.denoisers import Denoiser
from dds.statistics.bounds import check_alpha, clopper_pearson_lower
from dds.statistics.certificates import ABSTAIN
from dds.statistics.plans import PLANS, check_settings, make_plan, plan_name
from dds.statistics.reach import down, largest_radius, samples_needed

#: Share of images that a small n0 may cost before it is said.
_LOST_BY_SELECTION = 0.05


@plain
def certify(
    images: ImagesLike,
    classifier: nn.Module,
    denoiser: Denoiser | None,
    sigma: float,
    *,
    labels: ArrayLike | None = None,
    layout: str = "CHW",
    processor: Any = None,
    plan: str | Mapping[str, Any] = "fixed",
    n0: int = 100,
    n: int = 10_000,
    alpha: float = 0.001,
    radii: Sequence[float] | None = None,
    seed: int = 0,
    ids: Sequence[int] | None = None,
    batch_size: int | str = 100,
    precision: str = "float32",
    device: Devices = None,
    save_to: str | Path | None = None,
    progress: bool | None = None,
) -> Certificates:
    """Predict the class of images and certify radii around them.

    Parameters
    ----------
    images : array_like, Tensor, PIL image, Dataset, DataLoader, or a list of images
        Arrays and tensors are floats in [0,1], or bytes (uint8) that reach beyond 1, which are
        divided by 255. Noise is added to images as they are given here, and radii are of them:
        of their height and width, not of what a classifier resizes them to. One image, without
        the first dimension, gives a certificate without it.
    classifier : Module
        Maps images in [0,1] to logits (batch, classes), or to an object that holds them as
        ``.logits``; probabilities do as well, as only their order counts. Any network of yours; a
        `dds.Classifier`, which resizes and normalises for a network that needs it; a network of
        timm's or of the transformers library as it is: its own settings say what it wants.
        Weights are in float32.
    denoiser : Denoiser or None
        What comes before the classifier; None for randomized smoothing without.
    sigma : float
        Noise level in [0,1] pixel units, at most 10; half of one for pixels in [-1,1].
    labels : array_like of int, optional
        The true classes. Data sets and loaders bring theirs.
    layout : {"CHW", "HWC"}, optional
        Where arrays and tensors have their channels.
    processor : callable, optional
        What the network wants before it: an image processor of transformers, or a transform of
        torchvision or timm. By default that of a network of transformers is looked for where the
        network was loaded from. Edges that it cuts off are kept, with a warning: images are resized
        whole, unless you give them cut.
    plan : str or mapping, optional
        How samples are spent: ``"fixed"`` draws all of every image; ``"sequential"`` decides the
        `radii` and stops where they are; ``"curtailed"`` stops images that cannot reach the lowest
        of them; ``"radius"`` stops once more samples would hardly enlarge a radius. Or a mapping
        with ``plan`` and its settings, such as ``{"plan": "radius", "within": 0.1}``. All but
        ``"fixed"`` draw nothing more of an image whose selected class is not its label.
    n0, n : int, optional
        Samples of an image that select its class, and, at most, that bound its probability.
        No radius can exceed ``dds.statistics.bounds.largest_radius(n, alpha, sigma)``.
    alpha : float, optional
        Error probability of each certificate, 0 < alpha < 1.
    radii : sequence of float, optional
        Radii of interest, in [0,1] pixel units, for the plan; and refused, before anything is
        sampled, where `n` samples cannot reach them.
    seed : int, optional
        Keys the noise, together with `ids` and `sigma`.
    ids : sequence of int, optional
        Number of each image in its dataset, 0, 1, 2, ... by default. An image gets the
        same noise whatever it is batched with; images of one number share theirs.
    batch_size : int or "auto", optional
        Noisy images the networks see at a time.
    precision : {"float32", "bfloat16"}, optional
        Of the networks' matrix products and convolutions.
    device : str, torch.device or a list of these, optional
        Where the networks run, by default where the classifier lies; several share the images,
        and count the same votes. They run in evaluation mode, and afterwards are as they came: on
        their device, in their mode, not compiled.
    save_to : str or Path, optional
        A file that keeps what is counted (.parquet): written now and then, and when interrupted.
        The same call goes on from it, or loads it where it is finished; a call with other images,
        networks or settings refuses it. `Certificates.load` reads it.
    progress : bool, optional
        Whether a bar is drawn, by default on a terminal.

    Returns
    -------
    Certificates
        One row an image.

    Raises
    ------
    ValueError
        If images are not in [0,1] or of another shape, labels are no classes of the classifier,
        an argument is out of range, `n` samples cannot reach a radius, the classifier does not
        return two logits or more for each image, weights are not in float32, or the file is of
        another call.
    FloatingPointError
        If the classifier returns NaN or infinity.

    Warns
    -----
    UserWarning
        If so small an `n0` often selects another class than the one with the most votes, or images
        are not what the networks were trained on.

    References
    ----------
    .. [1] Carlini et al., (Certified!!) Adversarial Robustness for Free!, ICLR 2023.
    .. [2] Cohen et al., Certified Adversarial Robustness via Randomized Smoothing, ICML 2019.

    Examples
    --------
    Which of two pixels is brighter? A network that hands them on as its logits:

    >>> import torch
    >>> from dds import certify
    >>> image = torch.tensor([[[0.2, 0.9]]])
    >>> certificate = certify(image, torch.nn.Flatten(), None, sigma=0.5, n=1000)
    >>> certificate
    <Certificates: class 1 within 0.398; sigma 0.5, alpha 0.001>
    """
    path = None if save_to is None else parquet_path(save_to)
    check_noise(sigma)
    wanted = None if radii is None else _as_radii(radii)
    settings = _settings(plan, n0, n, alpha, wanted)
    drawn_by = make_plan(settings, sigma)
    _check_reach(settings, sigma, wanted or ())
    asked = Asked.of(
        "certify", images, classifier, denoiser, labels=labels, layout=layout, processor=processor,
        ids=ids, device=device, sigma=sigma, plan=drawn_by, seed=seed, alpha=alpha,
        batch_size=batch_size, precision=precision,
    )  # fmt: skip
    votes, facts = count_votes(asked, path, progress=progress)
    selection, estimation = votes.selection[:, 0], votes.estimation[:, 0]
    found = Certificates.of_counts(selection, estimation, asked.ids, asked.labels, facts)
    _warn_of_selection(found)
    return found


def _settings(
    plan: str | Mapping[str, Any], n0: int, n: int, alpha: float, radii: Sequence[float] | None
) -> dict[str, Any]:
    """Return what `dds.make_plan` reads."""
    check_alpha(alpha)
    if not isinstance(plan, str | Mapping):
        raise ValueError(f"plan must be a name, or a mapping that has plan, not {shown(plan)}")
    own: dict[str, Any] = {"plan": plan} if isinstance(plan, str) else dict(plan)
    if not isinstance(own.get("plan"), str):
        keys = ", ".join(map(str, own)) or "none"
        raise ValueError(f"plan has the keys {keys}; it must have plan, a name")
    own = {key: _as_in_a_file(value) for key, value in own.items()}
    check_settings(own)
    if radii is not None:
        own.setdefault("radii", radii)
    return {"n0": n0, "n": n, "alpha": alpha} | own


def _as_in_a_file(value: Any) -> Any:
    """Return arrays and tuples as the lists that they would be in a study's file."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return list(value) if isinstance(value, tuple) else value


def _as_radii(radii: ArrayLike) -> list[float]:
    found = [number(radius) for radius in np.ravel(np.asarray(radii, object))]
    if not found or not all(radius is not None and 0 <= radius < np.inf for radius in found):
        raise ValueError(f"radii must be numbers of at least 0, not {shown(radii)}")
    return cast(list[float], found)


def _check_reach(settings: Mapping[str, Any], sigma: float, radii: Sequence[float]) -> None:
    """Refuse radii that not even an image without a miss can reach."""
    kind, alpha, n = PLANS[plan_name(settings)], settings["alpha"], settings["n"]
    if share := getattr(kind, "LAST_SHARE", None):
        alpha *= settings.get(share, kind.Keys.model_fields[share].default)
    kept = 1.0
    if shortfall := getattr(kind, "SHORTFALL", None):
        kept -= settings.get(shortfall, kind.Keys.model_fields[shortfall].default)
    reached = largest_radius(n, alpha, sigma)
    if reached is None and not len(radii):
        raise ValueError(
            f"n = {n:,} samples certify no image at alpha {alpha:g}, whatever they answer; take "
            f"n = {samples_needed(0.0, alpha, sigma)} or more"
        )
    for radius in radii:
        if reached is None or radius > kept * reached:
            needed = samples_needed(radius / kept, alpha, sigma)
            most = "no radius" if reached is None else f"no radius above {down(kept * reached)}"
            cure = f"take n = {needed:,} or more" if needed else "take a larger sigma"
            raise ValueError(
                f"n = {n:,} samples certify {most} at sigma {sigma:g} and alpha {alpha:g}, and "
                f"radii has {radius:g}; {cure}"
            )


def _warn_of_selection(found: Certificates) -> None:
    """Say where n0 samples were too few to select the class that the others answer most."""
    selection, estimation = map(np.atleast_2d, (found.selection, found.estimation))
    votes, drawn = estimation.max(axis=1), estimation.sum(axis=1)
    sure = clopper_pearson_lower(votes, np.maximum(drawn, 1), found.alpha) > 0.5
    other = estimation.argmax(axis=1) != selection.argmax(axis=1)
    lost = int((sure & other & (np.atleast_1d(found.prediction) == ABSTAIN)).sum())
    if lost and lost >= _LOST_BY_SELECTION * len(found):
        warnings.warn(
            f"{lost} of {len(found)} images abstain because their n0 = {selection[0].sum()} "
            "samples selected another class than the one with the most votes; take a larger n0",
            stacklevel=4,
        )
