"""Faster kernels compute the same, and probes choose what is measured."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from dds.sampling import kernels
from dds.sampling.kernels import choose_precision, fastest_batch_size, inference


class Attention(nn.Module):
    """A linear layer, attention with and without a mask, and a computed weight."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.project = nn.Linear(16, 48)
        self.out = nn.Linear(16, 5, bias=False)

    def forward(self, x):
        query, key, value = self.project(x).reshape(*x.shape[:2], 3, 4, 4).permute(2, 0, 3, 1, 4)
        mask = torch.arange(x.shape[1]) < x.shape[1] - 1
        mixed = functional.scaled_dot_product_attention(query, key, value, mask.expand(7, 7))
        mixed = mixed + functional.scaled_dot_product_attention(mixed, key, value, scale=0.3)
        return functional.linear(mixed.transpose(1, 2).flatten(2), 2 * self.out.weight)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 3e-2)])
def test_inference_computes_what_the_network_does(precision, tolerance):
    network, x = Attention(), torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(1))
    expected = network(x).detach()
    with inference("cpu", precision):
        found = network(x)
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)


def test_a_network_that_its_user_compiled_runs():
    layer, x = nn.Linear(8, 8), torch.randn(2, 8)
    with inference("cpu", "float32"):
        torch.testing.assert_close(torch.compile(layer)(x), layer(x))


def test_a_changed_weight_is_seen_by_the_next_inference():
    layer, x = nn.Linear(8, 8), torch.randn(2, 8)
    with inference("cpu", "float32"):
        before = layer(x)
    with torch.no_grad():
        layer.weight.add_(1)
    with inference("cpu", "float32"):
        assert not torch.allclose(layer(x), before)


def test_precision_follows_the_measured_rates(monkeypatch):
    for rate, expected in [(1.0, "float32"), (1.2, "float32"), (4.0, "bfloat16")]:
        rates = {"float32": 1.0, "bfloat16": rate}
        monkeypatch.setattr(kernels, "matmul_rate", lambda kind, *_, rates=rates, **__: rates[kind])
        assert choose_precision("auto", "cpu") == expected
        assert choose_precision("float32", "cpu") == "float32"


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")]
)
def test_precision_on_a_gpu_is_not_a_matter_of_time(monkeypatch, capability, expected):
    """Other jobs on the same GPU would decide it."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(kernels, "matmul_rate", None)
    assert choose_precision("auto", "cuda:1") == expected


def test_the_probe_leaves_the_threads_as_they_were():
    threads = torch.get_num_threads()
    choose_precision("auto", "cpu")
    assert torch.get_num_threads() == threads


def test_batch_size_stops_where_nothing_is_gained_or_memory_ends(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(kernels.time, "perf_counter", lambda: now[0])

    def run(size, overhead, most):
        if size > most:
            raise torch.OutOfMemoryError
        now[0] += (overhead + size) / 1e4

    assert fastest_batch_size(lambda size: run(size, 1, 4096)) == 16
    assert fastest_batch_size(lambda size: run(size, 10, 4096)) == 256
    assert fastest_batch_size(lambda size: run(size, 10, 50)) == 32
    with pytest.raises(torch.OutOfMemoryError):
        fastest_batch_size(lambda size: run(size, 10, 0))
