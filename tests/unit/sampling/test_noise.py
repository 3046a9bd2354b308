"""Each block of noise has its own generator, so that a sample's noise never depends on batches."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from dds.sampling.noise import NoiseSource, pad
from dds.sampling.votes import Segment, length, split
from dds.seeds import BLOCK, ESTIMATION, SELECTION, noise_seed

SEED, SIGMA, IDS = 1, 0.5, [7, 3]
IMAGES = torch.arange(16.0).reshape(2, 1, 2, 4)
BATCH = [
    Segment(0, SELECTION, 40, 90, (0,)),
    Segment(1, ESTIMATION, 40, 90, (0,)),
    Segment(1, ESTIMATION, 90, 100, (0,)),
    Segment(1, ESTIMATION, 100, 130, (0,)),
]


def source(ids=IDS):
    return NoiseSource(SEED, SIGMA, ids, IMAGES)


def block(row, phase, number, step=0):
    seed = noise_seed(SEED, IDS[row], SIGMA, phase, number, step)
    return torch.randn((BLOCK, 1, 2, 4), generator=torch.Generator().manual_seed(seed))


def test_samples_get_their_image_and_their_part_of_the_block():
    images, noise = source().images(BATCH, 140), source().normal(BATCH, 140, step=2)
    assert torch.equal(images, IMAGES[[0] * 50 + [1] * 90])
    expected = [
        block(0, SELECTION, 0, 2)[40:90],
        block(1, ESTIMATION, 0, 2)[40:],
        block(1, ESTIMATION, 1, 2)[:30],
    ]
    assert torch.equal(noise, torch.cat(expected))


@given(sizes=st.lists(st.integers(1, 150), min_size=1, max_size=3), step=st.integers(0, 2))
def test_batches_do_not_matter(sizes, step):
    drawn = source()
    for size in sizes:
        parts = [drawn.normal(part, length(part), step) for part in split(BATCH, size)]
        assert torch.equal(torch.cat(parts), source().normal(BATCH, 140, step))


def test_only_the_noise_that_is_certified_against_is_drawn_finer():
    exact = NoiseSource(SEED, SIGMA, IDS, IMAGES, torch.float64)
    assert exact.normal(BATCH, 140).dtype == torch.float64
    assert torch.equal(exact.normal(BATCH, 140, step=2), source().normal(BATCH, 140, step=2))


def test_a_block_that_is_cut_is_drawn_once(monkeypatch):
    drawn = []
    randn = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *args, **kw: drawn.append(1) or randn(*args, **kw))
    noise = source()
    for part in split(BATCH, 30):
        noise.normal(part, length(part))
    assert len(drawn) == 3


def test_batches_are_filled_up_with_zeros():
    for padded in (source().images(BATCH, 150), source().normal(BATCH, 150)):
        assert padded.shape == (150, 1, 2, 4)
        assert (padded[140:] == 0).all()
        assert (padded[:140] != 0).any()
    samples = torch.ones(2, 3)
    assert pad(samples, 2) is samples


def test_the_noise_that_is_certified_against_is_step_0():
    assert torch.equal(source().normal(BATCH, 140), source().normal(BATCH, 140, step=0))
