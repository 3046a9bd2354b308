"""The usual recipe of vision transformers: learning rates by layer, drop path, smoothed labels."""

import re

import numpy as np
import pytest
import torch
from entries import BEIT, RESNET, VIT
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from dds.networks.classifiers import Classifier
from dds.networks.denoisers import DiffusionDenoiser
from dds.networks.families import FAMILIES
from dds.networks.registry import build_classifier
from dds.networks.schedules import cosine_schedule
from dds.networks.training import Recipe, train_classifier, train_denoiser

torch.set_num_threads(1)


def described(entry, **arguments):
    return entry | {"arguments": entry["arguments"] | arguments}


#: As masked autoencoders are tuned: a class token, and the mean of all others.
MAE = described(BEIT, model="vit_base_patch16_224", global_pool="avg")
NETWORKS = {"mae": MAE, "beit": described(BEIT, init_values=1.0), "transformers": VIT}
DEPTH, DECAY = 2, 0.5
#: Where names of parameters say which layer they are of: those that patches enter, and the blocks.
STEM = r"cls_token|pos_embed|patch_embed|vit\.embeddings"
BLOCK = r"(?:vit\.layers|blocks)\.(\d)"
UNDECAYED = r"cls_token|pos_embed|.*\.(?:cls_token|position_embeddings|relative_position_bias)"


def train(classifier, *, iterations=1, labels=(0, 1, 2, 0, 1, 2), **settings):
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), np.uint8)
    recipe = Recipe(iterations=iterations, batch_size=6, learning_rate=0.1, **settings)
    train_classifier(classifier, images, np.array(labels), recipe, seed=1, label="test")


@pytest.fixture
def steps():
    """What the optimizer is given, step by step: each weight's rate, decay and gradient."""
    taken = []

    def note(optimizer, args, kwargs):
        taken.append(
            {
                weight: (group["lr"], group["weight_decay"], weight.grad.clone())
                for group in optimizer.param_groups
                for weight in group["params"]
            }
        )

    hook = register_optimizer_step_pre_hook(note)
    yield taken
    hook.remove()


def share_of(name):
    """Return what an independent reading of a parameter's name gives for its learning rate."""
    if re.match(STEM, name):
        return DECAY ** (DEPTH + 1)
    block = re.match(BLOCK, name)
    return DECAY ** (DEPTH - int(block[1])) if block else 1


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("name", NETWORKS)
def test_each_layer_learns_at_a_share_of_the_rate_of_the_one_above(steps, name, optimizer):
    classifier = build_classifier(NETWORKS[name])
    settings = {"layer_decay": DECAY, "weight_decay": 0.3, "optimizer": optimizer}
    train(classifier, iterations=4, **settings)
    for done, step in enumerate(steps):
        rate = 0.1 * np.cos(np.pi / 2 * (done / 4 - 0.05) / 0.95) ** 2 if done else 0
        assert len(step) == len(list(classifier.parameters()))
        for parameter, weight in classifier.network.named_parameters():
            learned, decayed, _ = step[weight]
            assert learned == pytest.approx(rate * share_of(parameter)), parameter
            spared = weight.ndim == 1 or re.match(UNDECAYED, parameter)
            assert decayed == (0 if spared else 0.3), parameter


def test_without_layer_decay_all_layers_learn_and_decay_alike(steps):
    train(build_classifier(MAE), weight_decay=0.3)
    assert {found[1] for found in steps[0].values()} == {0.3}


@pytest.mark.parametrize("network", [build_classifier(RESNET).network, nn.Flatten()])
def test_a_network_that_does_not_tell_its_layers_is_refused(network):
    with pytest.raises(ValueError, match=f"^layer_decay needs .* {type(network).__name__} does"):
        train(Classifier(network), layer_decay=0.65)


@pytest.mark.parametrize("name", NETWORKS)
def test_drop_path_skips_residual_branches_in_training_alone(name):
    """Of two layers the first has the rate 0; the last lets one image in four keep both."""
    plain = build_classifier(NETWORKS[name]).eval()
    dropping = build_classifier(described(NETWORKS[name], drop_path_rate=0.5)).eval()
    dropping.load_state_dict(plain.state_dict())
    torch.manual_seed(0)
    images = torch.rand(1, 3, 32, 32).expand(400, -1, -1, -1)
    with torch.no_grad():
        assert torch.equal(dropping(images[:2]), plain(images[:2]))
        outputs = {}
        for layer, block in enumerate(blocks(dropping.network)):
            block.register_forward_hook(lambda *call, n=layer: outputs.update({n: call[2]}))
        dropping.train()(images)
    first, last = (as_rows(outputs[layer]).unique(dim=0, return_counts=True) for layer in (0, 1))
    assert len(first[0]) == 1
    assert sorted(last[1].tolist()) == pytest.approx([100] * 4, abs=30)


def blocks(network):
    return network.vit.layers if hasattr(network, "vit") else network.blocks


def as_rows(output):
    """Return what a layer gives an image, one row each, without the last digits."""
    return output.flatten(1)[:, :64].round(decimals=4)


def test_labels_are_smoothed(steps):
    """The gradient of the head's biases is what is predicted, less what is wanted of it."""
    classifier = build_classifier(MAE)
    nn.init.zeros_(classifier.network.head.weight)
    with torch.no_grad():
        classifier.network.head.bias.copy_(torch.tensor([1.0, 2.0, 3.0]).log())
    train(classifier, labels=[2] * 6, label_smoothing=0.3)
    gradient = steps[0][classifier.network.head.bias][2]
    predicted, wanted = torch.tensor([1, 2, 3]) / 6, torch.tensor([0.1, 0.1, 0.8])
    torch.testing.assert_close(gradient, predicted - wanted)


def test_there_are_no_labels_of_denoisers_to_smooth():
    recipe = Recipe(iterations=1, batch_size=1, learning_rate=0.1, label_smoothing=0.1)
    denoiser = DiffusionDenoiser(nn.Identity(), cosine_schedule(1000))
    with pytest.raises(ValueError, match="^label_smoothing is for classifiers; leave it out$"):
        train_denoiser(denoiser, np.zeros((1, 1, 2, 2), np.uint8), recipe, seed=1, label="test")


@pytest.mark.parametrize("name", FAMILIES.names)
def test_families_tell_what_their_networks_can_be_trained_with(name):
    can = getattr(FAMILIES[name], "RECIPE", ())
    assert can == (("layer_decay", "drop_path") if name in ("timm", "transformers_vit") else ())
