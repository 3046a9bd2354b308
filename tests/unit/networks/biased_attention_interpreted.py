"""Run the fused kernel in Triton's interpreter; print how far it is from PyTorch's in float64.

Triton reads its setting when it is imported, so this is a process of its own.
"""

import json
import os
import sys
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"
sys.path.insert(0, str(Path(__file__).parents[3] / "workflow" / "scripts"))

import torch
from torch.nn import functional

from dds.networks.biased_attention import ALIGNMENT, _attend, launch

#: Images, tokens, heads, and what scores are multiplied by: exponentials that overflow unless
#: they are taken from the highest score.
CASES = [(1, 65, 1, 1), (2, 129, 3, 1), (2, 129, 2, 100)]


def distances(images, tokens, heads, size):
    """Return how far the fused kernel and PyTorch's are from float64."""
    qkv = torch.randn(images, tokens, 3 * heads * 64)
    qkv[..., : heads * 64] *= size
    bias = size * torch.randn(heads, tokens, tokens)
    # What lies beyond a row's tokens must not be read.
    bias = functional.pad(bias, (0, -tokens % ALIGNMENT), value=float("nan"))
    exact = _attend(qkv.double(), bias.double())
    return [float((f(qkv, bias) - exact).norm() / exact.norm()) for f in (launch, _attend)]


torch.manual_seed(0)
print(json.dumps([distances(*case) for case in CASES]))
