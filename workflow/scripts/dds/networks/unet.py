"""The UNet of OpenAI's diffusion models, from its own library, with faster parts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from dds.extras import needed


def guided_diffusion_unet(
    *,
    image_size: int,
    in_channels: int,
    out_channels: int,
    model_channels: int,
    num_res_blocks: int,
    attention_resolutions: Sequence[int],
    channel_mult: Sequence[float],
    num_heads: int = 1,
    num_head_channels: int = -1,
    dropout: float = 0.0,
    use_scale_shift_norm: bool = True,
    resblock_updown: bool = False,
    patch_size: int = 1,
) -> nn.Module:
    """Build the UNet of Nichol and Dhariwal (2021) and Dhariwal and Nichol (2021), untrained.

    One class serves OpenAI's improved-diffusion checkpoints and their
    guided-diffusion ones: without `resblock_updown` the parameters have the former's
    names and shapes.

    Parameters
    ----------
    image_size : int
        Height and width in pixels.
    in_channels : int
        Channels of the images.
    out_channels : int
        Channels of the output; twice `in_channels` for networks that also learn variances.
    model_channels : int
        Channels of a feature map, times its level's factor in `channel_mult`; every product
        a multiple of 32.
    num_res_blocks : int
        Residual blocks of each level.
    attention_resolutions : sequence of int
        Heights (pixels) of the feature maps that get attention.
    channel_mult : sequence of float
        A factor on the channels for each level; every level halves height and width.
    num_heads : int, optional
        Attention heads.
    num_head_channels : int, optional
        Channels of an attention head, from which their number follows; -1 for `num_heads`.
    dropout : float, optional
        Probability of dropping a unit in a residual block while training.
    use_scale_shift_norm : bool, optional
        Whether the time scales and shifts feature maps, or is only added to them.
    resblock_updown : bool, optional
        Whether residual blocks halve and double the resolution, in place of convolutions.
    patch_size : int, optional
        Above 1, the UNet works on patches of so many pixels a side as channels: fewer
        and wider feature maps, for quick small models.

    Returns
    -------
    Module
        Called as ``network(x_t, time)`` with images (batch, channels, height, width) and times
        (batch,).

    References
    ----------
    Nichol and Dhariwal (2021): Improved denoising diffusion probabilistic models. ICML.
    Dhariwal and Nichol (2021): Diffusion models beat GANs on image synthesis. NeurIPS.

    Examples
    --------
    >>> import torch
    >>> from dds import guided_diffusion_unet
    >>> size = {"image_size": 8, "in_channels": 1, "out_channels": 2, "model_channels": 32}
    >>> blocks = {"num_res_blocks": 1, "attention_resolutions": [], "channel_mult": [1]}
    >>> unet = guided_diffusion_unet(**size, **blocks)
    >>> unet(torch.zeros(5, 1, 8, 8), torch.zeros(5)).shape
    torch.Size([5, 2, 8, 8])
    """
    with needed():
        from dds.networks._guided_diffusion import FASTER, UNetModel
    from dds.networks.parts import become

    unet = UNetModel(
        image_size=image_size // patch_size,
        in_channels=in_channels * patch_size**2,
        out_channels=out_channels * patch_size**2,
        model_channels=model_channels,
        num_res_blocks=num_res_blocks,
        attention_resolutions=tuple(image_size // height for height in attention_resolutions),
        channel_mult=tuple(channel_mult),
        num_heads=num_heads,
        num_head_channels=num_head_channels,
        dropout=dropout,
        use_scale_shift_norm=use_scale_shift_norm,
        resblock_updown=resblock_updown,
    )
    unet = become(unet, FASTER)
    return unet if patch_size == 1 else _Patched(unet, patch_size)


class _Patched(nn.Module):
    """A network that sees patches of pixels as channels."""

    def __init__(self, network: nn.Module, patch_size: int) -> None:
        super().__init__()
        self.network = network
        self.patch_size = patch_size

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        patches = self.network(functional.pixel_unshuffle(x, self.patch_size), time)
        return functional.pixel_shuffle(patches, self.patch_size)
