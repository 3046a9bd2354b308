"""A fused kernel runs where it works; elsewhere PyTorch's do, and the log says why."""

import logging

import pytest
import torch

from dds.networks.parts import computed_in, tried


def plain(x, weight):
    return x @ weight


def exact(x, weight):
    return x.double() @ weight.double()


def wrong(x, weight):
    return 1.1 * (x @ weight)


def undefined(x, weight):
    return torch.nan * (x @ weight)


def broken(x, weight):
    raise RuntimeError("at 19:4:\nno such instruction")


@pytest.fixture
def given():
    torch.manual_seed(0)
    return torch.randn(5, 4), torch.randn(4, 3)


def test_a_kernel_that_works_is_run(given, caplog):
    assert tried(exact, plain)(*given).dtype == torch.float64
    assert not caplog.records


@pytest.mark.parametrize(
    ("fused", "reason"),
    [
        (wrong, "it answers otherwise than PyTorch's"),
        (undefined, "it answers otherwise than PyTorch's"),
        (broken, "RuntimeError: at 19:4:"),
    ],
)
def test_one_that_does_not_is_left_out_and_the_log_says_so_once(fused, reason, given, caplog):
    run = tried(fused, plain)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert torch.equal(run(*given), plain(*given))
    (record,) = caplog.records
    assert record.getMessage().endswith(f"is left out: {reason}")


def test_it_is_tried_with_one_sample_and_then_no_more(given):
    seen = []

    def fused(x, weight):
        seen.append(len(x))
        return plain(x, weight)

    run = tried(fused, plain)
    run(*given), run(*given)
    assert seen == [1, 5, 5]


def test_of_all_that_is_of_samples_the_first_is_tried(given):
    seen = []

    def fused(x, weight, scale):
        seen.append((len(x), len(scale)))
        return plain(x, weight) * scale, scale

    def both(x, weight, scale):
        return plain(x, weight) * scale, scale

    run = tried(fused, both, lambda x, weight, scale: (x[:1], weight, scale[:1]))
    run(*given, torch.ones(5, 1))
    assert seen == [(1, 1), (5, 5)]


def test_numbers_that_are_none_do_not_speak_against_a_kernel(given):
    x, weight = given
    x[0, 0] = torch.nan
    assert tried(exact, plain)(x, weight).dtype == torch.float64


def test_memory_that_is_used_up_is_no_fault_of_a_kernel(given):
    def full(x, weight):
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        tried(full, plain)(*given)


def test_tensors_without_numbers_are_computed_in_their_own_type():
    assert computed_in(torch.zeros(1, device="meta")) == torch.float32
