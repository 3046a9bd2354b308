"""The wide residual network, which the paper's ablation certifies on CIFAR-10 (section 4.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import conv_flop_count, register_flop_formula

from dds.networks.parts import infers_on_hopper

# Channels that cuDNN's narrow convolutions on Hopper compute at once.
_TILE = 64


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

    Raises
    ------
    ValueError
        If there is no such depth.

    References
    ----------
    Zagoruyko and Komodakis (2016): Wide residual networks. BMVC. Table 1.

    Examples
    --------
    The network of section 4.1, WRN-28-10, has 36 million parameters:

    >>> network = WideResNet(depth=28, width=10, classes=10)
    >>> f"{sum(parameter.numel() for parameter in network.parameters()):,}"
    '36,479,194'
    """

    def __init__(
        self,
        *,
        depth: int,
        width: float,
        classes: int,
        channels: int = 3,
        base: int = 16,
        dropout: float = 0.0,
    ) -> None:
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
        residual = self._between(active)
        residual = convolve_in_tiles(self.dropout(residual), self.conv2)
        return residual + (x if self.shortcut is None else self.shortcut(active))

    def _between(self, x: Tensor) -> Tensor:
        """Return the activations between the block's convolutions."""
        if x.is_cuda and not self.training and not torch.is_grad_enabled():
            return convolve_normalise_relu(x, self.conv1, self.norm2)
        return functional.relu(self.norm2(self.conv1(x)))


def convolve_in_tiles(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Return ``conv(x)``, on some GPUs with spare channels that fill cuDNN's last tile.

    Without them cuDNN takes tiles of 128 channels for the 160 of WRN-28-10's first group, and
    computes 256. It is for bfloat16 on GPUs of the Hopper generation, where nothing is
    differentiated.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, height, width)
        What is convolved.
    conv : Conv2d
        Without a bias.

    Returns
    -------
    Tensor
        As `conv` returns it.
    """
    spare = -conv.out_channels % _TILE
    if not 0 < spare <= conv.out_channels // 4 or not infers_on_hopper(x):
        return conv(x)
    weight = functional.pad(conv.weight, (0, 0) * 3 + (0, spare))
    y = functional.conv2d(x, weight, None, conv.stride, conv.padding)
    return y[:, : conv.out_channels]


def convolve_normalise_relu(x: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Return ``relu(norm(conv(x)))`` of a network that is not being trained.

    The normalisation, a factor and an offset of each channel, is made part of the convolution's
    weights, and cuDNN has one kernel for all three: the map between them is not moved through
    memory again.

    Parameters
    ----------
    x : Tensor, shape (batch, channels, height, width)
        Its type is what the convolution is computed in.
    conv : Conv2d
        Without a bias, its stride and padding the same in both directions.
    norm : BatchNorm2d
        In evaluation mode.

    Returns
    -------
    Tensor
        In the type of `x`.
    """
    factor = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight = (conv.weight * factor[:, None, None, None]).to(x.dtype)
    bias = (norm.bias - norm.running_mean * factor).to(x.dtype)
    return torch.ops.dds.convolve_relu(x, weight, bias, conv.stride[0], conv.padding[0])


def _convolve_relu(x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
    return functional.relu(functional.conv2d(x, weight, bias, stride, padding))


_operator = torch.library.custom_op("dds::convolve_relu", _convolve_relu, mutates_args=())


@_operator.register_fake
def _(x, weight, bias, stride, padding):
    return functional.conv2d(x, weight, bias, stride, padding)


@_operator.register_kernel("cuda")
def _(x, weight, bias, stride, padding):
    # cuDNN, which AMD's GPUs do not have, has the one kernel, for multiples of 8 channels.
    aligned = not any(channels % 8 for channels in weight.shape[:2])
    if torch.version.cuda is None or x.dtype == torch.float32 or not aligned:
        return _convolve_relu(x, weight, bias, stride, padding)
    weight = weight.contiguous(memory_format=torch.channels_last)
    return torch.cudnn_convolution_relu(
        x, weight, bias, [stride] * 2, [padding] * 2, dilation=[1, 1], groups=1
    )


@register_flop_formula(torch.ops.dds.convolve_relu)
def _flop(x, weight, bias, stride, padding, *, out_shape, **_) -> int:
    return conv_flop_count(x, weight, out_shape)
