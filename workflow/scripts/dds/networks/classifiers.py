"""Classifiers of images in [0,1], with their preprocessing inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Classifier(nn.Module):
    """A network together with the input it wants, as one map from [0,1] images to logits.

    Parameters
    ----------
    network : Module
        Maps normalised images to logits: a Tensor (batch, classes), or an object
        that holds it as ``.logits``.
    size : int, optional
        Height and width in pixels that the network wants; images of another size
        are resized bicubically with antialiasing. By default images are not resized.
    mean, std : sequence of float, optional
        Per channel, in [0,1] units: the network sees ``(image - mean) / std``.
        Mean and std of 0.5 make that range [-1,1].
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        size: int | None = None,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__()
        self.network = network
        self.size = size
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

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
        if self.size is not None and images.shape[-1] != self.size:
            images = functional.interpolate(
                images, size=(self.size, self.size), mode="bicubic", antialias=True
            )
        logits = self.network((images - self.mean) / self.std)
        return getattr(logits, "logits", logits)


class WideResNet(nn.Module):
    """Zagoruyko and Komodakis's (2016) wide residual network WRN-depth-width.

    Parameters
    ----------
    depth : int
        Number of convolutional layers, 6 k + 4.
    width : float
        Factor on the channels of the three groups.
    classes : int
        Number of logits.
    channels : int, optional
        Channels of the input images.
    base : int, optional
        Channels of the first layer and, times `width`, of the first group.
    dropout : float, optional
        Probability of dropping a unit between the two convolutions of a block.
    """

    def __init__(
        self, *, depth: int, width: float, classes: int, channels: int = 3, base: int = 16,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"depth of a wide ResNet must be 10, 16, 22, 28, ..., not {depth}")
        widths = [base, *(round(base * width * factor) for factor in (1, 2, 4))]
        self.stem = nn.Conv2d(channels, base, 3, padding=1, bias=False)
        blocks = [
            _WideBlock(
                widths[group] if index == 0 else widths[group + 1],
                widths[group + 1],
                stride=2 if group > 0 and index == 0 else 1,
                dropout=dropout,
            )
            for group in range(3)
            for index in range((depth - 4) // 6)
        ]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(widths[-1])
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (batch, channels, height, width) to logits (batch, classes)."""
        x = functional.relu(self.norm(self.blocks(self.stem(x))))
        return self.head(x.mean(dim=(2, 3)))


class _WideBlock(nn.Module):
    """Two pre-activated 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = None
        if inputs != outputs or stride != 1:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = functional.relu(self.norm1(x))
        residual = self.conv1(active)
        residual = self.conv2(self.dropout(functional.relu(self.norm2(residual))))
        return residual + (x if self.shortcut is None else self.shortcut(active))


def timm_network(*, model: str, classes: int, channels: int, **options: object) -> nn.Module:
    """Build an untrained network of timm's by name."""
    import timm

    return timm.create_model(
        model, pretrained=False, num_classes=classes, in_chans=channels, **options
    )


def transformers_vit(*, classes: int, channels: int, **options: object) -> nn.Module:
    """Build an untrained vision transformer of the transformers library (ViT-B/16 by default)."""
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(
        ViTConfig(num_labels=classes, num_channels=channels, **options)
    )


def current_names(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a checkpoint to what their library calls them by now.

    The transformers library has renamed the layers of its networks since most of their
    checkpoints were published, and knows the old names.

    Parameters
    ----------
    network : Module
        The network that the checkpoint is for; of other libraries' nothing is renamed.
    state : mapping of str to Tensor
        The checkpoint, in old or new names.

    Returns
    -------
    dict of str to Tensor
    """
    if not hasattr(network, "base_model_prefix"):
        return dict(state)
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import apply_renamings

    renamings = get_model_conversion_mapping(network)
    return {apply_renamings(name, renamings): tensor for name, tensor in state.items()}
