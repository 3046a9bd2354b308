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
    group_norm._PER_THREAD = group_norm._PER_THREAD_BACKWARD = int(sys.argv[1])
    group_norm._MOST_WARPS = 0

#: Images, channels, height, width, groups, and whether there is a bias before, a scale and SiLU.
CASES = [
    (2, 128, 8, 8, 32, True, True, True),
    (2, 96, 5, 7, 32, False, True, True),  # groups of 3, and no power of 2 anywhere
    (1, 384, 16, 16, 32, True, True, True),  # groups of 12, as where a UNet joins maps
    (1, 64, 40, 40, 32, True, False, False),
    (3, 32, 1, 1, 32, False, False, True),  # a group is one number, so its variance is 0
]


def distances(images, channels, height, width, groups, before, scale, silu, kind):
    """Return how far the fused kernels and PyTorch's are from float64, forwards and backwards."""
    x = (3 * torch.randn(images, channels, height, width) + 5).to(kind)
    x = x.contiguous(memory_format=torch.channels_last)
    dy = torch.randn_like(x).contiguous(memory_format=torch.channels_last)
    weight, bias, added = torch.randn(3, channels)
    scaling, shifting = torch.randn(2, images, channels)

    exact = x.double().requires_grad_()
    y = exact + (added.double()[:, None, None] if before else 0)
    y = functional.group_norm(y, groups, weight.double(), bias.double(), 1e-5)
    if scale:
        y = y * (1 + scaling.double()[..., None, None]) + shifting.double()[..., None, None]
    expected = functional.silu(y) if silu else y
    expected.backward(dy.double())
    expected = expected.detach()

    ours = weight, bias, added if before else None
    if not scale:
        scaling = shifting = None
    arguments = x, groups, weight, bias, 1e-5, ours[2], scaling, shifting, silu
    (fused, moments), (plain, _) = (
        group_norm.launch(*arguments),
        torch.ops.dds.group_norm(*arguments),
    )
    assert fused.dtype == kind
    assert fused.is_contiguous(memory_format=torch.channels_last)
    back = dy, x, groups, moments, weight, bias, scaling, shifting, silu
    (dx, sums), (plain_dx, plain_sums) = (
        group_norm.launch_backward(*back), torch.ops.dds.group_norm_backward(*back)
    )  # fmt: skip
    torch.testing.assert_close(
        sums, plain_sums, rtol=1e-4, atol=1e-3 * float(plain_sums.abs().max())
    )
    return [
        [float((found.double() - right).norm() / right.norm()) for found in pair]
        for pair, right in (((fused, plain), expected), ((dx, plain_dx), exact.grad))
        if right.norm() > 1e-3 * dy.norm()  # of a group of one number it is 0
    ]


torch.manual_seed(0)
kinds = (torch.float32, torch.bfloat16)
print(json.dumps([[pair for case in CASES for pair in distances(*case, kind)] for kind in kinds]))
