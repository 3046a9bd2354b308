"""Classifiers of images in [0,1], with their preprocessing inside."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

#: How images may be resized.
INTERPOLATIONS = ("bicubic", "bilinear", "nearest")

#: A mean is at most 1, or a little more where a processor subtracts something before.
_LARGE_MEAN = 2.0


class Classifier(nn.Module):
    """A network together with the input it wants, as one map from [0,1] images to logits.

    Parameters
    ----------
    network : Module
        Maps normalised images to logits: a Tensor (batch, classes), or an object
        that holds it as ``.logits``.
    size : int, optional
        Height and width in pixels that the network wants; images of another size
        are resized, with antialiasing but for nearest. By default images are not resized.
    mean, std : sequence of float, optional
        Per channel, in [0,1] units: the network sees ``(image - mean) / std``.
        Mean and std of 0.5 make that range [-1,1].
    interpolation : {"bicubic", "bilinear", "nearest"}, optional
        How images are resized.
    classes : sequence of str, optional
        The names of the classes.

    Raises
    ------
    ValueError
        If the interpolation is another one.

    Examples
    --------
    Here the logits are the four pixels of a grey image, as the network sees them:

    >>> import torch
    >>> from dds import Classifier
    >>> classifier = Classifier(torch.nn.Flatten(), mean=[0.5], std=[0.5])
    >>> classifier(torch.tensor([[[[0.0, 0.5], [0.75, 1.0]]]]))
    tensor([[-1.0000,  0.0000,  0.5000,  1.0000]])
    """

    mean: Tensor
    std: Tensor
    # Height that its library cuts edges off of, for a warning; private, as it changes no logits.
    _cut_from: int | None = None

    def __init__(
        self,
        network: nn.Module,
        *,
        size: int | None = None,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        interpolation: str = "bicubic",
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"unknown interpolation {interpolation!r}; allowed: {', '.join(INTERPOLATIONS)}"
            )
        self.network = network
        self.size, self.interpolation = size, interpolation
        self.classes = None if classes is None else tuple(classes)
        self.register_buffer("mean", _per_channel(mean), persistent=False)
        self.register_buffer("std", _per_channel(std), persistent=False)
        # On the CPU also where networks are built without memory, on the device "meta".
        if (largest := torch.as_tensor(mean, device="cpu").abs().max()) > _LARGE_MEAN:
            warnings.warn(
                f"mean {largest:g} is far from images in [0,1]; divide mean and std for pixels of "
                "0 to 255 by 255",
                stacklevel=2,
            )

    def forward(self, images: Tensor) -> Tensor:
        """Classify images.

        Parameters
        ----------
        images : Tensor, shape (batch, channels, height, width)
            In [0,1]; noisy images may exceed it.

        Returns
        -------
        Tensor, shape (batch, classes)
            Logits.
        """
        if self.size is not None and images.shape[-2:] != (self.size, self.size):
            images = _resize(images, self.size, self.interpolation)
        return logits_of(self.network((images - self.mean) / self.std))


def _per_channel(numbers: Sequence[float]) -> Tensor:
    found = torch.as_tensor(numbers).clone().view(1, -1, 1, 1)
    return found.float() if found.is_floating_point() else found  # NumPy's are float64


def _resize(images: Tensor, size: int, mode: str) -> Tensor:
    """Resize images as Pillow does, as two products with fixed matrices.

    Interpolation is linear in rows and in columns. As products it takes the networks' precision
    and their kernels; PyTorch's own works in float32, at a third of the time of a ViT.
    """
    antialias = mode != "nearest"
    mode = mode if antialias else "nearest-exact"  # PyTorch's own nearest is off by half a pixel

    def interpolation(length: int) -> Tensor:
        unit = torch.eye(length, device=images.device)[None, None]
        weights = functional.interpolate(unit, (size, length), mode=mode, antialias=antialias)
        return weights[0, 0].to(images.dtype)

    height, width = images.shape[-2:]
    return interpolation(height) @ images @ interpolation(width).T


def logits_of(answer: Any) -> Any:
    """Return the logits in a network's answer: the answer, or what it holds as ``.logits``."""
    return getattr(answer, "logits", answer)
