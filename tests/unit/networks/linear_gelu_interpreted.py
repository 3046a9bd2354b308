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

from dds.networks.linear_gelu import launch

#: Rows, inputs, outputs, and programs: fewer than tiles or more; sizes that fill tiles or do not.
CASES = [(300, 128, 512, 3), (5, 8, 8, 7), (129, 72, 264, 1), (256, 64, 256, 2)]


def distances(rows, inputs, outputs, programs):
    """Return how far the fused kernel and PyTorch's are from float64."""
    x = 3 * torch.randn(rows, inputs)
    weight, bias = torch.randn(outputs, inputs) / inputs**0.5, torch.randn(outputs)
    exact = functional.gelu(functional.linear(x.double(), weight.double(), bias.double()))
    plain = functional.gelu(functional.linear(x, weight, bias))
    fused = launch(x, weight, bias, programs)
    return [float((found - exact).norm() / exact.norm()) for found in (fused, plain)]


torch.manual_seed(0)
print(json.dumps([distances(*case) for case in CASES]))
