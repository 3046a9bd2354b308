"""What takes the place of libraries' parts computes what they do, compiled or not."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from bench_plain import as_published
from dds.networks import biased_attention as attention
from dds.networks import group_norm as group_norms
from dds.networks import linear_gelu as fused
from dds.networks import parts, wide_resnet
from dds.networks.classifiers import Classifier
from dds.networks.group_norm import group_norm
from dds.networks.linear_gelu import linear_gelu
from dds.networks.parts import tried
from dds.networks.patches import as_products
from dds.networks.registry import build_classifier
from dds.networks.unet import guided_diffusion_unet
from dds.networks.wide_resnet import WideResNet, convolve_normalise_relu
from dds.sampling.kernels import inference, tf32

FOLDER = Path(__file__).parent

UNETS = {
    "shifted": {"use_scale_shift_norm": False, "num_heads": 2},
    "scaled and shifted": {"num_head_channels": 16},
    "up and down in blocks": {"resblock_updown": True},
}


def filled(network):
    """Give layers that begin at zero other weights."""
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return network.eval()


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


def interpreted(program, *arguments):
    """Run one of the programs beside this file; return what it prints."""
    script = [sys.executable, str(FOLDER / program), *arguments]
    ran = subprocess.run(script, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("per_thread", [[], ["1"]], ids=["one tile", "several tiles"])
def test_the_fused_kernel_normalises_as_pytorch_does(per_thread):
    float32, bfloat16 = interpreted("group_norm_interpreted.py", *per_thread)
    assert all(fused < 2 * plain + 1e-7 for fused, plain in float32)
    # The interpreter cuts numbers to bfloat16 where a GPU rounds them.
    assert all(fused < 2.5 * plain for fused, plain in bfloat16)


@pytest.mark.parametrize("scaled", [True, False])
def test_a_normalisation_is_tried_with_the_first_image(scaled, caplog):
    x, dy = torch.randn(2, 3, 64, 4, 4)
    weight, bias, before = torch.randn(3, 64)
    scaling = tuple(torch.randn(2, 3, 64)) if scaled else (None, None)
    given = x, 32, weight, bias, 1e-5, before, *scaling, True
    _, moments = group_norms._plain(*given)
    tried(group_norms._plain, group_norms._plain, group_norms._first)(*given)
    tried(
        group_norms._plain_backward, group_norms._plain_backward, group_norms._first_backward
    )(dy, x, 32, moments, weight, bias, *scaling, True)  # fmt: skip
    assert not caplog.records


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("shape", [(8, 128, 32, 32), (2, 384, 32, 32), (1, 256, 224, 224)])
def test_the_fused_kernel_is_right_on_a_gpu(shape):
    x = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
    weight, bias = torch.randn(2, shape[1], device="cuda")
    expected = functional.silu(
        functional.group_norm(x.double(), 32, weight.double(), bias.double())
    )
    assert relative(group_norm(x, 32, weight, bias, 1e-5, silu=True).double(), expected) < 0.004


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
        ),
    ],
)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("scaled", [True, False])
def test_the_normalisation_is_differentiated_as_pytorchs_is(device, backend, scaled):
    torch.manual_seed(0)
    leaves = [2 * torch.randn(3, 64, 4, 4) + 1, *torch.randn(3, 64).unbind()]
    leaves += torch.randn(2, 3, 64).unbind() if scaled else []
    leaves = [leaf.to(device).requires_grad_() for leaf in leaves]

    def ours(x, weight, bias, before, scale=None, shift=None):
        return group_norm(
            x, 32, weight, bias, 1e-5, before=before, scale=scale, shift=shift, silu=True
        )

    def plain(x, weight, bias, before, scale=None, shift=None):
        y = functional.group_norm(x + before[:, None, None], 32, weight, bias, 1e-5)
        if scale is not None:
            y = y * (1 + scale[..., None, None]) + shift[..., None, None]
        return functional.silu(y)

    dy = torch.randn(3, 64, 4, 4, device=device)
    found = torch.autograd.grad(torch.compile(ours, backend=backend)(*leaves), leaves, dy)
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    expected = torch.autograd.grad(plain(*exact), exact, dy.double())
    assert all(map(lambda f, e: relative(f.double(), e) < 1e-5, found, expected))


def test_the_kernel_is_traced_without_being_run():
    x = torch.empty(2, 64, 4, 4, device="meta")
    weight = torch.empty(64, device="meta")
    y = group_norm(x, 32, weight, weight, 1e-5, silu=True)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("arguments", UNETS.values(), ids=UNETS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_unet_computes_what_its_library_does(arguments, layout):
    torch.manual_seed(0)
    sizes = {"image_size": 16, "in_channels": 3, "out_channels": 6, "model_channels": 32}
    levels = {"num_res_blocks": 1, "attention_resolutions": [8], "channel_mult": [1, 2]}
    unet = filled(guided_diffusion_unet(**sizes, **levels, **arguments))
    x, time = torch.randn(2, 3, 16, 16), torch.tensor([0.0, 999.0])
    with torch.no_grad():
        found = unet.to(memory_format=layout)(x, time)
        expected = as_published(unet)(x, time)
    assert relative(found, expected) < 1e-5


def test_the_unet_trains_as_its_library_does():
    torch.manual_seed(0)
    sizes = {"image_size": 8, "in_channels": 1, "out_channels": 1, "model_channels": 32}
    levels = {"num_res_blocks": 1, "attention_resolutions": [8], "channel_mult": [1]}
    unet = filled(guided_diffusion_unet(**sizes, **levels))
    x, time = torch.randn(2, 1, 8, 8), torch.tensor([3.0, 500.0])
    gradients = []
    for network in (unet, as_published(unet)):
        network.zero_grad()
        network(x, time).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert relative(*gradients) < 1e-4


@pytest.mark.parametrize(
    ("kernel", "stride", "size", "product"),
    [(4, 4, 12, True), (4, 4, 14, True), (3, 1, 12, False), (4, 2, 12, False), (1, 1, 12, False)],
)
def test_patches_are_cut_as_a_convolution_cuts_them(kernel, stride, size, product):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, kernel, stride)
    images = torch.randn(2, 3, size, size)
    expected = conv(images)
    assert isinstance(as_products(conv), nn.Conv2d)
    assert (type(conv) is not nn.Conv2d) == product
    torch.testing.assert_close(conv(images), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("height", "width", "size"), [(8, 8, 28), (20, 12, 16), (16, 16, 8)])
def test_images_are_resized_as_pytorch_does(height, width, size):
    images = torch.rand(2, 3, height, width)
    expected = functional.interpolate(images, (size, size), mode="bicubic", antialias=True)
    classifier = Classifier(nn.Identity(), size=size)
    torch.testing.assert_close(classifier(images), expected, rtol=1e-5, atol=1e-5)


def small(network, **arguments):
    return build_classifier({
        "network": network, "arguments": arguments,
        "input": {"channels": 3, "size": 16, "mean": [0.5], "std": [0.5]},
        "classes": ["a", "b"],
    })  # fmt: skip


def test_a_compiled_vision_transformer_attends_without_a_mask():
    sizes = {"image_size": 16, "patch_size": 8, "hidden_size": 16, "intermediate_size": 16}
    classifier = small("transformers_vit", **sizes, num_hidden_layers=1, num_attention_heads=2)
    masks = []

    def look(graph, inputs):
        for node in graph.graph.nodes:
            if node.target is functional.scaled_dot_product_attention:
                masks.append(node.kwargs.get("attn_mask"))
        return graph.forward

    images = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        found = torch.compile(classifier, backend=look)(images)
        torch.testing.assert_close(found, classifier(images))
    assert masks == [None]


def test_beits_bias_lies_in_aligned_rows_and_is_the_librarys():
    torch.manual_seed(0)
    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}
    classifier = small("timm", model="beit_base_patch16_224", **sizes)
    ours = classifier.network.blocks[0].attn
    nn.init.normal_(ours.relative_position_bias_table)
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        bias, found = ours._aligned_bias(torch.float32), classifier.eval()(images)
        assert bias.shape == (2, 17, 24)  # 16 patches and a class token, in rows of a multiple of 8
        plain = as_published(classifier)
        assert torch.equal(bias[None, :, :, :17], plain.network.blocks[0].attn._get_rel_pos_bias())
        torch.testing.assert_close(found, plain(images))
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(classifier(images), plain(images), rtol=0.02, atol=0.02)


def beit(**arguments):
    sizes = {"img_size": 16, "patch_size": 2, "embed_dim": 64, "depth": 1, "num_heads": 1}
    classifier = small("timm", model="beit_base_patch16_224", **sizes, **arguments).eval()
    nn.init.normal_(classifier.network.blocks[0].attn.relative_position_bias_table)
    return classifier


def test_the_fused_kernel_attends_as_pytorch_does():
    distances = interpreted("biased_attention_interpreted.py")
    assert all(found < 2 * plain + 1e-7 for found, plain in distances)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("images", "tokens", "heads"), [(1, 65, 1), (3, 193, 2), (2, 1025, 16)])
def test_attention_with_a_bias_is_right_on_a_gpu(images, tokens, heads):
    qkv = torch.randn(images, tokens, 3 * heads * 64, device="cuda", dtype=torch.bfloat16)
    bias = 3 * torch.randn(heads, tokens, tokens, device="cuda", dtype=torch.bfloat16)
    bias = functional.pad(bias, (0, -tokens % attention.ALIGNMENT), value=torch.nan)
    with torch.inference_mode():
        exact = attention._attend(qkv.double(), bias.double())
        found = attention.biased_attention(qkv, bias)
        assert relative(attention._attend(qkv, bias).double(), exact) < 0.004
    assert (found.shape, found.dtype) == (exact.shape, torch.bfloat16)
    assert relative(found.double(), exact) < 0.004


@pytest.mark.parametrize(
    ("tokens", "width", "dtype", "taken"),
    [
        (1025, 64, torch.bfloat16, True),
        (1025, 64, torch.float32, False),
        (1025, 32, torch.bfloat16, False),
        (197, 64, torch.bfloat16, False),
        (1, 64, torch.bfloat16, False),
    ],
)
def test_the_fused_attention_is_for_what_was_measured(tokens, width, dtype, taken, monkeypatch):
    monkeypatch.setattr(parts, "_is_hopper", lambda device: True)
    shape, device = (1, tokens, 3 * 2 * width), torch.device("cuda")
    qkv = SimpleNamespace(is_cuda=True, device=device, dtype=dtype, shape=shape)
    bias = SimpleNamespace(dtype=dtype, shape=(2, tokens, tokens + -tokens % 8))
    with torch.inference_mode():
        assert attention._has_kernel(qkv, bias) == taken
    assert not attention._has_kernel(qkv, bias)  # it may be differentiated


@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_beit_attends_within_one_operator(backend, monkeypatch):
    monkeypatch.setattr(attention, "_has_kernel", lambda qkv, bias: True)
    torch.manual_seed(0)
    classifier, images = beit(), torch.rand(2, 3, 16, 16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = as_published(classifier)(images)
        with FlopCounterMode(display=False) as counter:
            classifier(images)
        found = torch.compile(classifier, backend=backend, fullgraph=True)(images)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02)
    # Two products of 65 tokens by 65 keys and 64 numbers, of 2 images.
    counted = counter.get_flop_counts()["Global"][torch.ops.dds.biased_attention]
    assert counted == 2 * 2 * (2 * 65 * 65 * 64)


def test_attention_that_is_trained_drops_weights_and_is_differentiated():
    torch.manual_seed(0)
    classifier, images = beit(attn_drop_rate=0.5).train(), torch.rand(2, 3, 16, 16)
    assert not torch.equal(classifier(images), classifier(images))
    classifier.eval()(images).sum().backward()
    table = classifier.network.blocks[0].attn.relative_position_bias_table
    assert table.grad.abs().max() > 0


def test_beits_attention_is_one_program():
    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
    classifier = small("timm", model="beit_base_patch16_224", **sizes).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        explained = torch._dynamo.explain(classifier)(torch.rand(2, 3, 16, 16))
    assert explained.graph_count == 1, explained.break_reasons


def test_the_fused_kernel_multiplies_and_activates_as_pytorch_does():
    distances = interpreted("linear_gelu_interpreted.py")
    assert all(found < 2 * plain + 1e-7 for found, plain in distances)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("sizes", [(197 * 8, 768, 3072), (41, 1024, 4096), (7, 24, 40)])
def test_a_layer_with_its_activation_is_right_on_a_gpu(sizes):
    rows, inputs, outputs = sizes
    linear, x = nn.Linear(inputs, outputs).cuda(), torch.randn(2, rows, inputs, device="cuda")
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
        found, plain = linear_gelu(x, linear), functional.gelu(linear(x))
        exact = functional.gelu(linear.double()(x.bfloat16().double()))
    assert (found.shape, found.dtype) == (plain.shape, plain.dtype)
    assert relative(found.double(), exact) < 0.004


def hooked():
    linear = nn.Linear(16, 16)
    linear.register_forward_pre_hook(print)
    return linear


@pytest.mark.parametrize(
    ("linear", "dtype", "taken"),
    [
        (nn.Linear(16, 24), torch.bfloat16, True),
        (nn.Linear(16, 24), torch.float32, False),
        (nn.Linear(16, 12), torch.bfloat16, False),
        (nn.Linear(16, 16, bias=False), torch.bfloat16, False),
        (nn.Sequential(nn.Linear(16, 16)), torch.bfloat16, False),
        (hooked(), torch.bfloat16, False),
    ],
)
def test_the_fused_kernel_is_for_plain_layers_in_bfloat16(linear, dtype, taken, monkeypatch):
    monkeypatch.setattr(parts, "_is_hopper", lambda device: True)
    x = SimpleNamespace(is_cuda=True, device=torch.device("cuda"), dtype=dtype, ndim=3)
    with torch.inference_mode():
        assert fused._has_kernel(x, linear) == taken
    assert not fused._has_kernel(x, linear)  # it may be differentiated


@pytest.fixture
def everywhere(monkeypatch):
    """Take what stands for the fused kernel on a CPU."""
    monkeypatch.setattr(fused, "_has_kernel", lambda x, linear: type(linear) is nn.Linear)


def transformers_vit(**arguments):
    sizes = {"image_size": 16, "patch_size": 8, "hidden_size": 16, "intermediate_size": 32}
    return small(
        "transformers_vit", **sizes, num_hidden_layers=1, num_attention_heads=2, **arguments
    )


def timm_vit(**arguments):
    sizes = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    return small("timm", model="vit_tiny_patch16_224", **sizes, **arguments)


@pytest.mark.parametrize("backend", ["eager", "inductor"])
@pytest.mark.parametrize("build", [transformers_vit, timm_vit])
def test_perceptrons_activate_within_one_operator(build, backend, everywhere):
    torch.manual_seed(0)
    classifier, images = build().eval(), torch.rand(2, 3, 16, 16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        with FlopCounterMode(display=False) as plain:
            expected = as_published(classifier)(images)
        with FlopCounterMode(display=False) as ours:
            classifier(images)
        found = torch.compile(classifier, backend=backend, fullgraph=True)(images)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02)
    assert ours.get_flop_counts()["Global"][torch.ops.dds.linear_gelu] > 0
    assert ours.get_total_flops() == plain.get_total_flops()


@pytest.mark.parametrize("build", [transformers_vit, timm_vit, beit])
def test_what_is_normalised_is_written_once(build, everywhere):
    uses = []

    def look(graph, inputs):
        for node in graph.graph.nodes:
            if node.target is torch.ops.aten.native_layer_norm.default:
                (normalised,) = (user for user in node.users if user.args[1] == 0)
                uses.append([use.target for use in normalised.users])
                (cast,) = normalised.users
                if any(user.target is torch.ops.dds.linear_gelu.default for user in cast.users):
                    fused.append(cast)
        return make_boxed_func(graph.forward)

    fused = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        compiler = aot_autograd(fw_compiler=look)
        torch.compile(build().eval(), backend=compiler, fullgraph=True)(torch.rand(2, 3, 16, 16))
    # Cast once for queries, keys and values, and once, not in another shape, for the perceptron.
    assert uses[:2] == [[torch.ops.aten._to_copy.default]] * 2
    assert len(fused) == 1


@pytest.mark.parametrize(
    ("build", "other"),
    [(transformers_vit, {"hidden_act": "relu"}), (timm_vit, {"act_layer": "gelu_tanh"})],
)
def test_other_activations_stay_what_they_are(build, other, everywhere):
    torch.manual_seed(0)
    classifier, images = build(**other).eval(), torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(classifier(images), as_published(classifier)(images))


def test_a_layer_that_is_trained_is_differentiated():
    linear, x = nn.Linear(4, 8), torch.randn(3, 4)
    linear_gelu(x, linear).sum().backward()
    expected = torch.autograd.grad(functional.gelu(linear(x)).sum(), linear.weight)[0]
    torch.testing.assert_close(linear.weight.grad, expected)


@pytest.mark.parametrize("backend", ["eager", "inductor"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_normalisation_becomes_part_of_the_convolution_before_it(backend, stride):
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(8, 16, 3, stride, padding=1, bias=False), nn.BatchNorm2d(16)
    x = torch.randn(4, 8, 6, 6)
    norm(conv(x))  # statistics of its own
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    norm.eval()
    with torch.inference_mode():
        run = torch.compile(convolve_normalise_relu, backend=backend)
        torch.testing.assert_close(
            run(x, conv, norm), functional.relu(norm(conv(x))), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("backend", ["eager", "inductor"])
@pytest.mark.parametrize(("channels", "computed"), [(160, 192), (128, 128), (32, 32)])
def test_a_convolution_fills_whole_tiles(channels, computed, backend, monkeypatch):
    monkeypatch.setattr(wide_resnet, "infers_on_hopper", lambda x: True)
    conv, x = nn.Conv2d(8, channels, 3, 2, padding=1, bias=False), torch.randn(2, 8, 6, 6)
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            wide_resnet.convolve_in_tiles(x, conv)
        found = torch.compile(wide_resnet.convolve_in_tiles, backend=backend)(x, conv)
        torch.testing.assert_close(found, conv(x), rtol=1e-4, atol=1e-5)
    assert counter.get_total_flops() == 2 * 2 * 3 * 3 * 8 * computed * 9


def test_flop_are_counted_of_a_convolution_with_its_normalisation():
    conv, norm = nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        convolve_normalise_relu(torch.randn(4, 8, 6, 6), conv, norm)
    assert counter.get_total_flops() == 2 * 4 * 6 * 6 * 8 * 16 * 9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("precision", "error"), [("bfloat16", 0.03), ("float32", 1e-4)])
def test_a_wide_residual_network_is_the_same_on_a_gpu(precision, error):
    torch.manual_seed(0)
    network, x = WideResNet(depth=10, width=10, classes=10), torch.randn(8, 3, 32, 32)
    network(x)  # statistics of its own
    with torch.inference_mode():
        expected = network.eval()(x)
        with tf32(False, False), inference("cuda", precision):
            found = network.cuda()(x.cuda()).float().cpu()
    assert relative(found, expected) < error
