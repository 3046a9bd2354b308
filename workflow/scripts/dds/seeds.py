"""Where every random number of a certification comes from."""

from __future__ import annotations

import hashlib

#: Noise is drawn in blocks of this many samples, each from a generator of its own.
BLOCK = 100

SELECTION = "selection"
ESTIMATION = "estimation"

#: Most blocks of a phase and most steps of a denoiser; with two phases they make 2**32.
_BLOCKS, _STEPS = 2**18, 2**13

#: Most samples of a phase, and most steps of a chain: beyond them seeds have no numbers left.
MOST_SAMPLES, MOST_STEPS = _BLOCKS * BLOCK, _STEPS


def noise_seed(
    study_seed: int, image: int, sigma: float, phase: str, block: int, step: int = 0
) -> int:
    """Derive the generator seed of one block of noise.

    The seed follows from what the block is for and from nothing else, so the noise
    an image sees does not depend on batch, shard, order, restarts or on which
    other images are certified.

    PyTorch's generator on a CPU uses the lowest 32 bits of a seed and drops the rest.
    Hashed to 32 bits, two of an image's 1,000 blocks would coincide in one image of
    8,600, and its samples would not be independent. So within an image and sigma
    the lowest 32 bits number the blocks, in an order that a hash chooses: blocks of
    one image never share a seed, whatever the generator.

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

    Raises
    ------
    ValueError
        If the phase is unknown, or `block` or `step` has no number left.

    References
    ----------
    Cohen, Rosenfeld and Kolter (2019), Certified adversarial robustness via randomized
    smoothing. ICML: section 3.2.2.

    Examples
    --------
    Two blocks of one image differ in the 32 bits that PyTorch keeps on a CPU:

    >>> seeds = [noise_seed(1, 7, 0.5, "selection", block) for block in (0, 1)]
    >>> len({seed % 2**32 for seed in seeds})
    2
    """
    if phase not in (SELECTION, ESTIMATION):
        raise ValueError(f"phase must be {SELECTION!r} or {ESTIMATION!r}, not {phase!r}")
    if not (0 <= block < _BLOCKS and 0 <= step < _STEPS):
        raise ValueError(f"block ({block}) and step ({step}) must lie below {_BLOCKS} and {_STEPS}")
    number = ((phase == ESTIMATION) * _STEPS + step) * _BLOCKS + block
    high, factor, shift = _hash(f"{study_seed}/{image}/{float(sigma)!r}")
    # An odd factor makes this one to one, so that different numbers stay different.
    low = (number * (factor | 1) + shift) % 2**32
    return (high % 2**31) << 32 | low


def stream_seed(study_seed: int, purpose: str) -> int:
    """Derive the seed of a stream named by its purpose, such as a model's training.

    Parameters
    ----------
    study_seed : int
        The study's seed.
    purpose : str
        What the random numbers are for; another purpose has another stream.

    Returns
    -------
    int
        In [0, 2**63).
    """
    digest = hashlib.blake2b(f"{study_seed}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _hash(key: str) -> tuple[int, int, int]:
    """Hash a key to three numbers of 32 bits."""
    digest = hashlib.blake2b(key.encode(), digest_size=12).digest()
    return tuple(int.from_bytes(digest[at : at + 4], "big") for at in (0, 4, 8))
