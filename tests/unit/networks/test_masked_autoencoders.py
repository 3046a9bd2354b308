"""Tuned masked autoencoders (MAE, DMAE): their checkpoints load, and are computed as they say."""

import argparse
from pathlib import Path

import pytest
import torch
import yaml
from torch.nn import functional

from dds.networks.registry import build_classifier, load_classifier
from dds.networks.weights import load_weights

torch.set_num_threads(1)

ROOT = Path(__file__).parents[3]
REGISTRY = yaml.safe_load((ROOT / "config/models.yaml").read_text())
#: How many weights the authors' networks have, which are those of ViT-B/16 and ViT-L/16.
PARAMETERS = {"imagenet_dmae_base": 86_567_656, "imagenet_dmae_large": 304_326_632,
              "cifar10_dmae_base": 85_806_346}  # fmt: skip
SIZE, PATCH, WIDTH, HEADS, DEPTH, CLASSES = 32, 8, 24, 3, 2, 5
SMALL = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH,
         "num_heads": HEADS}  # fmt: skip
#: What a pretrained autoencoder has not.
ANEW = ["fc_norm", "head"]


def entry_of(name):
    """Return an entry of the registry."""
    entry = REGISTRY[name]
    entry = REGISTRY.get(entry.get("like"), {}) | entry
    if isinstance(entry["classes"], str):
        entry["classes"] = (ROOT / entry["classes"]).read_text().split()
    return entry


def small(name):
    """Return an entry of the registry, of a small network."""
    entry = entry_of(name)
    return entry | {
        "arguments": entry["arguments"] | SMALL,
        "input": entry["input"] | {"size": SIZE},
        "classes": list("abcde"),
    }


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_networks_have_the_size_of_the_authors(name):
    with torch.device("meta"):
        network = build_classifier(entry_of(name)).network
    assert sum(weight.numel() for weight in network.parameters()) == PARAMETERS[name]


def shapes():
    """Yield the weights of the authors' class of network, as its definition has them."""
    yield "cls_token", (1, 1, WIDTH)
    yield "pos_embed", (1, 1 + (SIZE // PATCH) ** 2, WIDTH)
    yield from layer("patch_embed.proj", WIDTH, 3, PATCH, PATCH)
    for block in range(DEPTH):
        yield from layer(f"blocks.{block}.norm1", WIDTH)
        yield from layer(f"blocks.{block}.attn.qkv", 3 * WIDTH, WIDTH)
        yield from layer(f"blocks.{block}.attn.proj", WIDTH, WIDTH)
        yield from layer(f"blocks.{block}.norm2", WIDTH)
        yield from layer(f"blocks.{block}.mlp.fc1", 4 * WIDTH, WIDTH)
        yield from layer(f"blocks.{block}.mlp.fc2", WIDTH, 4 * WIDTH)
    yield from layer("fc_norm", WIDTH)
    yield from layer("head", CLASSES, WIDTH)


def layer(name, *shape):
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def logits(state, images):
    """Classify as the definition says: plain matrix algebra of its own, without timm."""

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(x, name):
        x = x - x.mean(dim=-1, keepdim=True)
        x = x / (x.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    def attention(x, name):
        queries, keys, values = (
            part.unflatten(2, (HEADS, -1)).transpose(1, 2)
            for part in linear(x, f"{name}.qkv").chunk(3, dim=2)
        )
        weights = (queries @ keys.mT / (WIDTH // HEADS) ** 0.5).softmax(dim=-1)
        return linear((weights @ values).transpose(1, 2).flatten(2), f"{name}.proj")

    name, place = "patch_embed.proj", state["pos_embed"]
    patches = functional.conv2d(images, state[f"{name}.weight"], state[f"{name}.bias"], PATCH)
    x = patches.flatten(2).mT
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), x], dim=1) + place
    for block in (f"blocks.{number}" for number in range(DEPTH)):
        x = x + attention(norm(x, f"{block}.norm1"), f"{block}.attn")
        hidden = linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        x = x + linear(hidden, f"{block}.mlp.fc2")
    return linear(norm(x[:, 1:].mean(dim=1), "fc_norm"), "head")


def checkpoint(state):
    """Return what the authors' training saves."""
    moments = {"step": 9, "exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3)}
    return {
        "model": state,
        "optimizer": {"state": {0: moments}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
        "epoch": 49,
        "scaler": {"scale": 65536.0, "growth_factor": 2.0},
        "args": argparse.Namespace(sigma=0.5, layer_decay=0.65, device="cuda", resume=""),
    }


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("imagenet_dmae_base", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ("imagenet_dmae_large", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ("cifar10_dmae_base", [0.4914, 0.4822, 0.4465], [0.2471, 0.2435, 0.2616]),
    ],
)
def test_a_checkpoint_of_the_authors_layout_classifies_as_its_definition_says(
    tmp_path, name, mean, std
):
    generator = torch.Generator().manual_seed(0)
    state = {key: torch.randn(shape, generator=generator) / 3 for key, shape in shapes()}
    torch.save(checkpoint(state), tmp_path / "checkpoint-49.pth")
    classifier = load_classifier(small(name), tmp_path / "checkpoint-49.pth").eval()
    images = torch.rand((4, 3, SIZE, SIZE), generator=generator)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (mean, std))
    expected = logits(state, (images - mean) / std)
    with torch.inference_mode():
        torch.testing.assert_close(classifier(images), expected, rtol=1e-4, atol=1e-4)
    assert expected.std(dim=0).min() > 0.05  # images are told apart


def pretrained(state):
    """Return the weights of an autoencoder: an encoder that ends in a norm, and a decoder."""
    encoder = {name: one for name, one in state.items() if name.split(".")[0] not in ANEW}
    norm, token = {"norm.weight": torch.ones(WIDTH)}, {"mask_token": torch.zeros(1, 1, 16)}
    return encoder | norm | token | {"decoder_blocks.0.norm1.weight": torch.ones(16)}


@pytest.fixture
def network():
    return build_classifier(small("imagenet_dmae_base")).network


def test_an_encoder_that_was_pretrained_gets_a_head_of_its_own(tmp_path, network):
    state = {key: torch.randn(shape) for key, shape in shapes()}
    before = {name: one.clone() for name, one in network.state_dict().items()}
    torch.save({"model": pretrained(state), "epoch": 1100}, tmp_path / "w.pth")
    load_weights(network, tmp_path / "w.pth", anew=ANEW)
    for name, one in network.state_dict().items():
        assert torch.equal(one, (before if name.split(".")[0] in ANEW else state)[name]), name


@pytest.mark.parametrize(
    ("anew", "lacking", "reason"),
    [
        ([], [], r"w.pth: does not fit the network: 4 names missing \(first: fc_norm.bias\), 3"),
        (["head"], [], r"w.pth: .*: 2 names missing \(first: fc_norm.bias\), 0 unknown$"),
        (ANEW, ["pos_embed"], r"w.pth: .*: 1 names missing \(first: pos_embed\), 0 unknown$"),
        ([*ANEW, "heads"], [], "^anew: the network has no part heads; it has cls_token, pos_emb"),
    ],
)
def test_what_neither_the_checkpoint_has_nor_starts_anew_is_missed(
    tmp_path, network, anew, lacking, reason
):
    state = pretrained({key: torch.randn(shape) for key, shape in shapes()})
    torch.save({name: state[name] for name in state.keys() - lacking}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=reason):
        load_weights(network, tmp_path / "w.pth", anew=anew)
