"""Where every random number of a certification comes from."""

from __future__ import annotations

import hashlib

#: Noise is drawn in blocks of this many samples, each from a generator of its own.
BLOCK = 100

SELECTION = "selection"
ESTIMATION = "estimation"


def noise_seed(
    study_seed: int, image: int, sigma: float, phase: str, block: int, step: int = 0
) -> int:
    """Derive the generator seed of one block of noise.

    The seed is a hash of what the block is for and of nothing else, so the noise
    an image sees does not depend on batch, shard, order, restarts or on which
    other images are certified. Distinct arguments give independent streams.

    Parameters
    ----------
    study_seed : int
        The study's seed.
    image : int
        The image's index in its dataset.
    sigma : float
        Noise level in [0,1] pixel units.
    phase : {"selection", "estimation"}
        The n0 samples that pick the class, or the n that bound its probability;
        Cohen et al. (2019), section 3.2.2, needs the two to be independent.
    block : int
        Samples ``block * BLOCK`` to ``(block + 1) * BLOCK - 1`` of that phase.
    step : int, optional
        0 for the noise that is certified against; 1, 2, ... for the noise that a
        multi-step denoiser adds in its own steps.

    Returns
    -------
    int
        In [0, 2**63).
    """
    if phase not in (SELECTION, ESTIMATION):
        raise ValueError(f"phase must be {SELECTION!r} or {ESTIMATION!r}, not {phase!r}")
    key = f"{study_seed}/{image}/{float(sigma)!r}/{phase}/{block}/{step}"
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def stream_seed(study_seed: int, purpose: str) -> int:
    """Derive the seed of a stream named by its purpose, such as a model's training."""
    digest = hashlib.blake2b(f"{study_seed}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
