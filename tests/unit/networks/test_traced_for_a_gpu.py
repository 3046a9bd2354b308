"""What networks become on a GPU where there is none: traced on tensors that are there in name."""

from collections import Counter

import pytest
import torch
from entries import BEIT, RESNET, UNET, VIT
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dds.networks.registry import build_classifier, build_denoiser

#: BEiT with as many tokens and as wide a head as its kernel is for.
LARGE = BEIT["arguments"] | {"patch_size": 4, "embed_dim": 64, "num_heads": 1}

NETWORKS = {
    "ViT": lambda: build_classifier(VIT),
    "BEiT": lambda: build_classifier(BEIT),
    "larger BEiT": lambda: build_classifier(BEIT | {"arguments": LARGE}),
    "wide residual network": lambda: build_classifier(RESNET),
    "UNet": lambda: build_denoiser(UNET).network,
}
#: What each is fed, a batch of 2.
SHAPES = {
    "ViT": [(2, 3, 32, 32)],
    "BEiT": [(2, 3, 32, 32)],
    "larger BEiT": [(2, 3, 32, 32)],
    "wide residual network": [(2, 3, 8, 8)],
    "UNet": [(2, 3, 8, 8), (2,)],
}
#: What each has of what one of our kernels is for: layers, blocks, normalisations.
KERNELS = {
    "ViT": {"linear_gelu": 2},
    "BEiT": {"linear_gelu": 2},
    "larger BEiT": {"linear_gelu": 2, "biased_attention": 2},
    "wide residual network": {"convolve_relu": 3},
    "UNet": {"group_norm": 21},
}


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of a generation, whose tensors have shapes, types and a device, and nothing in them."""
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda *given: True)
    monkeypatch.setattr("torch.version.cuda", "13.0")

    def of(*capability):
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda device=None: capability)
        torch.compiler.reset()

    of(9, 0)
    yield of
    torch.compiler.reset()


def moved(network):
    """Give a network the tensors of the GPU, in place; call it among tensors of that kind."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            values = torch.empty(parameter.shape, dtype=parameter.dtype, device="cuda")
            setattr(module, name, nn.Parameter(values, requires_grad=parameter.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda"))
    return network


def kernels(name, *, training=False, precision=torch.bfloat16, change=None):
    """Count our kernels in the one graph that a network is on the GPU."""
    graphs = []

    def keep(graph, inputs):
        graphs.append(graph)
        return graph.forward

    network = NETWORKS[name]().train(training)
    if change is not None:
        change(network)
    with (
        FakeTensorMode(),
        torch.set_grad_enabled(training),
        torch.autocast("cuda", torch.bfloat16, enabled=precision == torch.bfloat16),
    ):
        inputs = [torch.empty(shape, device="cuda") for shape in SHAPES[name]]
        compiled = torch.compile(moved(network), backend=keep, fullgraph=True, dynamic=False)
        assert compiled(*inputs).device.type == "cuda"
    (graph,) = graphs
    called = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
    return dict(Counter(each.split(".")[1] for each in called if each.startswith("dds.")))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_one_graph_of_the_kernels_made_for_it(gpu, name):
    assert kernels(name) == KERNELS[name]


@pytest.mark.parametrize("name", ["ViT", "larger BEiT"])
def test_gpus_of_which_nothing_was_measured_multiply_as_pytorch_does(gpu, name):
    gpu(8, 0)
    assert kernels(name) == {}


@pytest.mark.parametrize("name", ["ViT", "larger BEiT"])
def test_in_float32_a_perceptron_is_what_it_was(gpu, name):
    assert kernels(name, precision=torch.float32) == {}


@pytest.mark.parametrize("name", ["ViT", "larger BEiT", "wide residual network"])
def test_what_has_no_derivative_is_not_trained(gpu, name):
    assert kernels(name, training=True) == {}


def test_a_unet_is_trained_by_the_kernel_that_has_one(gpu):
    assert kernels("UNet", training=True) == KERNELS["UNet"]


@pytest.mark.parametrize("name", ["ViT", "larger BEiT"])
def test_a_layer_with_a_hook_is_called(gpu, name):
    def double(network):
        layers = dict(network.named_modules())
        first = min(name for name in layers if name.endswith(".fc1"))
        layers[first].register_forward_hook(lambda layer, inputs, output: 2 * output)

    assert kernels(name, change=double) == KERNELS[name] | {"linear_gelu": 1}
