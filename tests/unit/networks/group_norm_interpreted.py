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

from dds.networks import group_norm

if len(sys.argv) > 1:  # smaller tiles, so that maps need several
    group_norm._PER_THREAD = int(sys.argv[1])

#: Images, channels, height, width, groups, and whether there is a bias before, a scale and SiLU.
CASES = [
    (2, 128, 8, 8, 32, True, True, True),
    (2, 96, 5, 7, 32, False, True, True),  # groups of 3, and no power of 2 anywhere
    (1, 384, 16, 16, 32, True, True, True),  # groups of 12, as where a UNet joins maps
    (1, 64, 40, 40, 32, True, False, False),
    (3, 32, 1, 1, 32, False, False, True),  # a group is one number, so its variance is 0
]


def distance(images, channels, height, width, groups, before, scale, silu, kind):
    x = (3 * torch.randn(images, channels, height, width) + 5).to(kind)
    x = x.contiguous(memory_format=torch.channels_last)
    weight, bias, added = torch.randn(3, channels)
    scaling, shifting = torch.randn(2, images, channels)
    y = x.double() + (added.double()[:, None, None] if before else 0)
    y = functional.group_norm(y, groups, weight.double(), bias.double(), 1e-5)
    if scale:
        y = y * (1 + scaling.double()[..., None, None]) + shifting.double()[..., None, None]
    expected = functional.silu(y) if silu else y
    arguments = (
        x, groups, weight, bias, 1e-5, added if before else None,
        scaling if scale else None, shifting if scale else None, silu,
    )  # fmt: skip
    fused, plain = group_norm.launch(*arguments), torch.ops.dds.group_norm(*arguments)
    assert fused.dtype == kind
    assert fused.is_contiguous(memory_format=torch.channels_last)
    return [float((y.double() - expected).norm() / expected.norm()) for y in (fused, plain)]


torch.manual_seed(0)
kinds = (torch.float32, torch.bfloat16)
print(json.dumps([[distance(*case, kind) for case in CASES] for kind in kinds]))
