"""Checkpoints in the formats they are published in load into the networks of the registry."""

import argparse
import gzip
import io
import sys
import warnings
import zipfile

import pytest
import torch
from entries import BEIT, RESNET, UNET, VIT
from safetensors.torch import save, save_file
from torch import nn
from torch.nn import functional

from dds.networks.registry import build_classifier, build_denoiser, load_classifier, load_denoiser
from dds.networks.weights import AwaitingWeights, load_weights, save_weights


def randomized(network, seed=0):
    """Give every parameter and running average a value of its own."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(0.1 * torch.rand(tensor.shape, generator=generator))
    return network.eval()


def same(one, other, *inputs):
    with torch.inference_mode():
        torch.testing.assert_close(one.eval()(*inputs), other.eval()(*inputs), rtol=0, atol=0)


def test_vit_as_the_transformers_library_publishes_it(tmp_path):
    wanted = build_classifier(VIT)
    randomized(wanted.network).save_pretrained(tmp_path)
    published = load_classifier(VIT, tmp_path / "model.safetensors")
    images = torch.rand(2, 3, 16, 16)
    same(published, wanted, images)
    with torch.inference_mode():
        larger = functional.interpolate(images, size=(32, 32), mode="bicubic", antialias=True)
        theirs = wanted.network(pixel_values=2 * larger - 1).logits
        torch.testing.assert_close(published(images), theirs, rtol=0, atol=1e-6)


def test_vit_under_the_names_of_2022(tmp_path):
    wanted = build_classifier(VIT)
    randomized(wanted.network).save_pretrained(tmp_path)
    from safetensors.torch import load_file

    state = load_file(tmp_path / "model.safetensors")
    assert "vit.encoder.layer.1.attention.attention.query.weight" in state
    assert "vit.encoder.layer.1.layernorm_before.bias" in state
    torch.save(state, tmp_path / "pytorch_model.bin")
    same(load_classifier(VIT, tmp_path / "pytorch_model.bin"), wanted, torch.rand(2, 3, 32, 32))


def test_beit_with_the_tables_it_computes_by_itself(tmp_path):
    wanted = build_classifier(BEIT)
    state = dict(randomized(wanted.network).state_dict())
    tables = {
        name: buffer
        for name, buffer in wanted.network.named_buffers()
        if name.endswith("relative_position_index")
    }
    assert len(tables) == 2
    save_file(state | tables, tmp_path / "model.safetensors")
    same(load_classifier(BEIT, tmp_path / "model.safetensors"), wanted, torch.rand(2, 3, 32, 32))


def test_unet_as_openai_publishes_it(tmp_path):
    wanted = build_denoiser(UNET, timestep="authors")
    randomized(wanted.network)
    torch.save(wanted.network.state_dict(), tmp_path / "unet.pt")
    loaded = load_denoiser(UNET, tmp_path / "unet.pt", timestep="authors").eval()
    noisy = torch.rand(2, 3, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.denoise(noisy, 0.5), wanted.denoise(noisy, 0.5))


def test_checkpoint_of_ones_own(tmp_path):
    wanted = build_classifier(RESNET)
    state = {
        f"module.{key}": value for key, value in randomized(wanted.network).state_dict().items()
    }
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "mine.th")
    path = tmp_path / "mine.th"
    loaded = load_classifier(RESNET, path, key="state_dict", strip_prefix="module.")
    same(loaded, wanted, torch.rand(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"mine.th: no entry 'model'; it has epoch, state_dict"):
        load_classifier(RESNET, path, key="model")


def test_denoisers_checkpoint_of_ones_own(tmp_path):
    wanted = build_denoiser(UNET)
    state = {f"ema.{name}": x for name, x in randomized(wanted.network).state_dict().items()}
    torch.save({"model": state}, tmp_path / "mine.pt")
    loaded = load_denoiser(UNET, tmp_path / "mine.pt", steps=3, key="model", strip_prefix="ema.")
    assert loaded.steps == 3
    same(loaded.network, wanted.network, torch.rand(2, 3, 8, 8), torch.rand(2))


def test_equal_weights_give_equal_files(tmp_path):
    for name in ("one.pt", "another_name.pt"):
        save_weights(randomized(build_classifier(RESNET).network), tmp_path / name)
    one, other = ((tmp_path / name).read_bytes() for name in ("one.pt", "another_name.pt"))
    assert one == other
    loaded = load_classifier(RESNET, tmp_path / "one.pt")
    wanted = build_classifier(RESNET)
    randomized(wanted.network)
    same(loaded, wanted, torch.rand(2, 3, 8, 8))


def test_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights at .*absent.pt"):
        load_classifier(RESNET, tmp_path / "absent.pt")


def test_checkpoint_from_before_batch_norms_counted(tmp_path):
    wanted = build_classifier(RESNET)
    state = randomized(wanted.network).state_dict()
    old = {name: tensor for name, tensor in state.items() if "num_batches_tracked" not in name}
    assert len(old) < len(state)
    torch.save(old, tmp_path / "old.pt")
    same(load_classifier(RESNET, tmp_path / "old.pt"), wanted, torch.rand(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("head.bias"), r"1 names missing \(first: head.bias\), 0 unknown"),
        (lambda state: state.update(extra=torch.zeros(1)), r"1 unknown \(first: extra\)"),
        (lambda state: state.update({"head.bias": torch.zeros(7)}), r"head.bias has shape \(7,\)"),
        (
            lambda state: state.update({"head.bias": state["head.bias"].to(torch.int8)}),
            "head.bias is of type torch.int8, the network needs torch.float32",
        ),
    ],
)
def test_checkpoint_of_another_network_is_refused(tmp_path, change, message):
    state = build_classifier(RESNET).network.state_dict()
    change(state)
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=message):
        load_classifier(RESNET, tmp_path / "other.pt")


class Malicious:
    def __reduce__(self):
        return print, ("this must never run",)


def test_checkpoint_cannot_run_code(tmp_path, capsys):
    torch.save({"head": Malicious()}, tmp_path / "bad.pt")
    with pytest.raises(
        ValueError,
        match=r"bad.pt: not a readable checkpoint: it holds Python objects \(print\), which are",
    ):
        load_classifier(RESNET, tmp_path / "bad.pt")
    assert capsys.readouterr().out == ""


STATE = {"weight": torch.full((2, 3), 2.0), "bias": torch.full((2,), 3.0)}


def saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def behind(prefix, state=STATE):
    return {prefix + name: tensor for name, tensor in state.items()}


ZIP, OLD, SAFE = saved(STATE), saved(STATE, _use_new_zipfile_serialization=False), save(STATE)


def test_a_package_that_reads_weights_and_is_missing_is_named_with_the_command(
    tmp_path, monkeypatch
):
    path = tmp_path / "w.safetensors"
    path.write_bytes(SAFE)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ModuleNotFoundError, match=r"^safetensors is needed: pip install .*models"):
        load_weights(nn.Linear(2, 2), path)


@pytest.mark.parametrize("content", [ZIP, OLD, SAFE], ids=["zip", "pickle", "safetensors"])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "w.safetensors?download=true", "w"])
def test_formats_are_told_by_their_first_bytes(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    network = nn.Linear(3, 2)
    load_weights(network, tmp_path / name)
    assert all(map(torch.equal, network.state_dict().values(), STATE.values()))


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("1.png", "1")
    return file.getvalue()


FOREIGN = {
    "empty": (b"", "is an empty file; download or copy it again"),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\n",
        "is a Git LFS pointer, .*git lfs p",
    ),
    "page": (b"<!doctype html><html>", "is an HTML page; download or copy it again"),
    "json": (b'{"weight_map": {}}', "is no file of torch.save or safetensors"),
    "noise": (b"\x89HDF" + bytes(99), "is no file of torch.save or safetensors"),
    "gzip": (gzip.compress(ZIP), "is compressed by gzip; unpack it"),
    "images": (zipped(), "is no file of torch.save, or is cut off or damaged"),
    "cut zip": (ZIP[:-100], "is no file of torch.save, or is cut off or damaged; download"),
    "cut pickle": (OLD[:-5], "is no file of torch.save, or is cut off or damaged; download"),
    "stub of a pickle": (OLD[:60], "is no file of torch.save, or is cut off or damaged; down"),
    "cut safetensors": (SAFE[:-5], "is a safetensors file that is cut off or damaged .*; downlo"),
    "stub of safetensors": (SAFE[:20], "is a safetensors file that is cut off or damaged"),
    "whole network": (
        saved(nn.Linear(3, 2)),
        r"holds Python objects \(torch.nn.mod.*state_dict\(\)",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_what_is_no_checkpoint_is_said_in_one_line(tmp_path, kind, name):
    content, reason = FOREIGN[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        ValueError, match=f"^[^\n]*{name}: not a readable checkpoint: it {reason}"
    ) as e:
        load_weights(nn.Linear(3, 2), tmp_path / name)
    assert "\n" not in str(e.value)
    assert "weights_only" not in str(e.value)


OTHER = {"weight": torch.zeros(9, 9), "running": torch.zeros(1)}
TRAINING = {"epoch": 3, "best": torch.tensor(0.5), "args": argparse.Namespace(lr=1.0),
            "optimizer": {"state": {0: {"step": torch.ones(2)}}, "param_groups": [{"lr": 1.0}]},
            "names": ["cat", "dog"], 7: torch.ones(1)}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (STATE | {"epoch": 3, "args": None}, {}),
        (TRAINING | {"state_dict": behind("module.")}, {}),
        (TRAINING | {"model": behind("_orig_mod.module."), "other": OTHER}, {}),
        (TRAINING | {"nets": {"ema": {"model": STATE, "decay": 0.9}}}, {}),
        ({"model": OTHER | STATE | {"bias": STATE["bias"]}, "net.model": STATE}, {}),
        ({"model": behind("net.")}, {"strip_prefix": "net."}),
        (behind("model.") | behind("ema.", OTHER) | {"loss.weight": torch.ones(1)},
         {"strip_prefix": "model."}),
        (behind("module.model.") | behind("module.ema.", OTHER), {"strip_prefix": "model."}),
        (behind("model.module.") | behind("ema.", OTHER), {"strip_prefix": "model."}),
        (behind("module.") | OTHER, {"strip_prefix": "module."}),
        ({"model": {"a": 1}, "ema": STATE}, {"key": "ema"}),
        ({"model": behind("", OTHER), "ema": {"v.1": behind("module.")}}, {"key": "ema.v.1"}),
        (STATE | {"ema": STATE}, {}),
    ],
)  # fmt: skip
def test_the_state_dict_is_found_where_it_lies(tmp_path, content, where):
    torch.save(content, tmp_path / "w.pt")
    network = nn.Linear(3, 2)
    load_weights(network, tmp_path / "w.pt", **where)
    assert all(map(torch.equal, network.state_dict().values(), STATE.values()))


SHADOW = {"decay": 0.9, "shadow_params": list(STATE.values())}
BOTH = behind("online_model.") | behind("ema_model.") | {"step": torch.ones(1)}


@pytest.mark.parametrize(
    ("content", "where", "said"),
    [
        ({"model": STATE, "ema": SHADOW}, {}, "entry model is loaded, not ema, which"),
        ({"model": STATE, "ema": BOTH}, {}, "entry model is loaded, not ema, which"),
        ({"net": {"raw": STATE, "model_EMA": SHADOW}}, {}, "net.raw is loaded, not net.model_EMA"),
        (STATE | {"ema": SHADOW}, {}, "the whole file is loaded, not ema, which"),
        ({"model": STATE, "ema": SHADOW}, {"key": "model"}, None),
        ({"model": STATE, "ema": BOTH}, {"key": "ema", "strip_prefix": "ema_model."}, None),
        ({"model": OTHER, "ema": STATE, "ema_step": SHADOW}, {}, None),
        ({"model": STATE, "ema_decay": 0.9, "args": {"ema": [0.9]}}, {}, None),
    ],
)
def test_an_average_that_is_passed_over_is_named(tmp_path, content, where, said):
    torch.save(content, tmp_path / "w.pt")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        load_weights(nn.Linear(3, 2), tmp_path / "w.pt", **where)
    assert len(found) == (said is not None)
    assert all(said in str(one.message) for one in found)


@pytest.mark.parametrize(
    ("content", "where", "reason"),
    [
        ({"model": STATE, "ema": {"model": STATE}}, {},
         "entries model and ema.model fit the network; say which by its key"),
        ([1, 2], {}, "holds no state dict, a mapping of names to tensors; it is of type list"),
        (torch.ones(2), {}, "holds no state dict, a mapping of names to tensors; it is of type Te"),
        ({"epoch": 3, "state_dict": [1]}, {}, "holds no state dict, .*; it has epoch, state_dict"),
        ({}, {}, "holds no state dict, a mapping of names to tensors; it has no entries"),
        ([1, 2], {"key": "model"}, "no entry 'model'; it is of type list"),
        ({"epoch": 3}, {"key": "model"}, "no entry 'model'; it has epoch"),
        ({"model": [1]}, {"key": "model"}, "entry 'model' is no mapping of .*; it is of type list"),
        ({"ema": {"model": STATE}}, {"key": "ema"}, "entry 'ema' is no mapping .*; it has model"),
        ({"ema": {"model": STATE}}, {"key": "ema.x"}, "no entry 'ema.x'; it has ema"),
        ({"model": behind("net.")}, {}, "2 names missing .*; strip_prefix net. would make names f"),
        (behind("model.") | behind("ema."), {}, "; strip_prefix ema. or model. would make names"),
        ({"module.weight": STATE["weight"], **STATE}, {"strip_prefix": "module."},
         r"1 unknown \(first: module.weight\)"),
    ],
)  # fmt: skip
def test_a_checkpoint_without_the_one_state_dict_is_refused(tmp_path, content, where, reason):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=f"^[^\n]*w.pt: [^\n]*{reason}"):
        load_weights(nn.Linear(3, 2), tmp_path / "w.pt", **where)


@pytest.mark.parametrize(
    ("entry", "is_all"),
    [(BEIT, True), (RESNET, True), (VIT, False)],  # transformers fills tokens as it makes them
    ids=["timm", "wide_resnet", "transformers"],
)
def test_weights_that_are_loaded_are_not_drawn_before(entry, is_all, tmp_path):
    torch.manual_seed(1)
    trained = build_classifier(entry)
    save_weights(trained.network, tmp_path / "weights.pt")
    before = torch.get_rng_state()
    loaded = load_classifier(entry, tmp_path / "weights.pt")
    assert torch.equal(torch.get_rng_state(), before) or not is_all
    tensors = dict(trained.named_parameters()) | dict(trained.named_buffers())
    found = dict(loaded.named_parameters()) | dict(loaded.named_buffers())
    assert tensors.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_what_is_no_parameter_is_drawn_before_weights_are_loaded():
    with AwaitingWeights():
        torch.manual_seed(1)
        drawn = torch.empty(5).normal_()
        scaled = nn.BatchNorm1d(3).weight
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.empty(5).normal_())
    assert torch.equal(scaled, torch.ones(3))
