"""The noise: standard normal, from one generator a block of samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dds.sampling.votes import Segment
from dds.seeds import BLOCK, noise_seed


class NoiseSource:
    """Images and the standard normal noise they meet, sample by sample.

    Parameters
    ----------
    seed : int
        The study's seed.
    sigma : float
        Noise level in [0,1] pixel units; a part of the generators' seeds, no factor.
    ids : sequence of int
        Index of each image in its dataset.
    images : Tensor, shape (images, channels, height, width)
        On the device that draws the noise.
    dtype : torch.dtype, optional
        Of the noise that is certified against. PyTorch's float32 normals end at 5.77 on a
        CPU, and one in 50,000 to 250,000, scaled to levels of a byte, lies exactly between
        two of them. float64 normals end at 8.57 and have no ties.
    """

    def __init__(
        self,
        seed: int,
        sigma: float,
        ids: Sequence[int],
        images: Tensor,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._seed, self._sigma, self._ids, self._images = seed, sigma, ids, images
        self._dtype = dtype
        self._last: tuple[int, Tensor] = (-1, torch.empty(0))

    def images(self, batch: list[Segment], rows: int) -> Tensor:
        """Return the image of every sample.

        Parameters
        ----------
        batch : list of Segment
            The samples.
        rows : int
            How many the tensor shall hold; what lies beyond the batch is 0.

        Returns
        -------
        Tensor, shape (rows, channels, height, width)
        """
        images = [self._images[s.row].expand(s.length, -1, -1, -1) for s in batch]
        return pad(torch.cat(images), rows)

    def normal(self, batch: list[Segment], rows: int, step: int = 0) -> Tensor:
        """Return the standard normal noise of every sample.

        Parameters
        ----------
        batch, rows
            As in `images`.
        step : int, optional
            0 for the noise that is certified against; 1, 2, ... for the reverse steps of a
            multi-step denoiser.

        Returns
        -------
        Tensor, shape (rows, channels, height, width)
        """
        noise = [self._block(segment, step)[segment.inside] for segment in batch]
        return pad(torch.cat(noise), rows)

    def _block(self, segment: Segment, step: int) -> Tensor:
        seed = noise_seed(
            self._seed, self._ids[segment.row], self._sigma, segment.phase, segment.block, step
        )
        if self._last[0] != seed:  # a block cut between two batches is asked for twice
            device = self._images.device
            generator = torch.Generator(device).manual_seed(seed)
            shape = (BLOCK, *self._images.shape[1:])
            dtype = torch.float32 if step else self._dtype
            noise = torch.randn(shape, generator=generator, device=device, dtype=dtype)
            self._last = (seed, noise)
        return self._last[1]


def pad(samples: Tensor, rows: int) -> Tensor:
    """Append zeros up to `rows` samples."""
    if len(samples) == rows:
        return samples
    return torch.cat([samples, samples.new_zeros(rows - len(samples), *samples.shape[1:])])
