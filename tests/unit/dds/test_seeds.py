"""Every block of noise has a generator of its own, on a CPU as well."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dds.seeds import ESTIMATION, SELECTION, noise_seed

KEY = {"study_seed": 1, "image": 2, "sigma": 0.5, "phase": ESTIMATION, "block": 3, "step": 4}
blocks = st.tuples(
    st.sampled_from([SELECTION, ESTIMATION]), st.integers(0, 2**18 - 1), st.integers(0, 2**13 - 1)
)


def draws(seed):
    return torch.randn(4, generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize(
    ("name", "other"),
    [("study_seed", 2), ("image", 3), ("sigma", 0.25), ("phase", SELECTION), ("block", 4),
     ("step", 5)],
)  # fmt: skip
def test_every_part_of_the_key_changes_the_noise(name, other):
    assert draws(noise_seed(**KEY)) == draws(noise_seed(**KEY))
    assert draws(noise_seed(**KEY)) != draws(noise_seed(**KEY | {name: other}))


@given(st.integers(0, 2**40), st.integers(0, 10**6), st.floats(0.01, 10), blocks, blocks)
def test_blocks_of_an_image_never_share_noise(study_seed, image, sigma, one, other):
    seeds = [noise_seed(study_seed, image, sigma, *block) for block in (one, other)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    # A generator on the CPU sees no more than these bits.
    assert one == other or seeds[0] % 2**32 != seeds[1] % 2**32


def test_pytorchs_generator_on_a_cpu_drops_the_upper_bits():
    """Why the lower bits must tell blocks apart by themselves."""
    assert draws(5) == draws(5 + 2**32)


def test_noise_of_many_blocks_is_normal_and_uncorrelated():
    seeds = [noise_seed(1, 7, 0.5, ESTIMATION, block) for block in range(400)]
    noise = np.array([torch.randn(50, generator=torch.Generator().manual_seed(s)).numpy()
                      for s in seeds])  # fmt: skip
    count = noise.size
    assert abs(noise.mean()) < 4 / count**0.5
    assert abs(noise.var() - 1) < 4 * (2 / count) ** 0.5
    # Neighbouring blocks come from seeds in arithmetic progression.
    assert abs((noise[:-1] * noise[1:]).mean()) < 4 / count**0.5


def test_an_unknown_phase_and_blocks_beyond_the_last_are_refused():
    with pytest.raises(ValueError, match="phase must be 'selection' or 'estimation'"):
        noise_seed(**KEY | {"phase": "training"})
    for name, most in (("block", 2**18), ("step", 2**13)):
        with pytest.raises(ValueError, match="must lie below 262144 and 8192"):
            noise_seed(**KEY | {name: most})
