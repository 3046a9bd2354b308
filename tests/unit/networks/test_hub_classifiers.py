"""Networks of the hub's libraries see what their own libraries would show them."""

import json
import random
from warnings import catch_warnings, filterwarnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from safetensors.torch import load_file, save_file
from torch import compile, nn
from torch.optim.swa_utils import AveragedModel
from torchvision import transforms

from dds import Classifier, certify, hub_classifier
from dds.networks.hub_classifiers import as_classifier, wanted_by

#: What a network of timm's is told by.
pytestmark = pytest.mark.filterwarnings("ignore:.*is taken as timm publishes it")

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 4}
SIZES |= {"intermediate_size": 8, "image_size": 16}


def photograph(size):
    bytes_ = np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8)
    pixels = torch.from_numpy(bytes_).movedim(-1, 0)[None] / 255
    return Image.fromarray(bytes_), pixels


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    config = transformers.ViTConfig(**SIZES, id2label={0: "cat", 1: "dog", 2: "owl"})
    return transformers.ViTForImageClassification(config).eval()


@pytest.fixture
def processor():
    return transformers.ViTImageProcessor(
        size={"height": 16, "width": 16}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.3]
    )


@pytest.fixture
def folder(vit, processor, tmp_path):
    vit.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    return tmp_path


def shown(processor, size):
    """Return a photograph's pixels, and what a processor of transformers makes of it."""
    image, pixels = photograph(size)
    return pixels, processor(image, return_tensors="pt")["pixel_values"]


@torch.inference_mode()
def test_a_network_of_transformers_sees_what_its_processor_makes(vit, processor):
    pixels, made = shown(processor, 16)
    classifier = as_classifier(vit, processor)
    torch.testing.assert_close(classifier(pixels), vit(made).logits)
    assert classifier.classes == ("cat", "dog", "owl")
    pixels, made = shown(processor, 48)  # bilinear, as the processor says; bytes in between
    torch.testing.assert_close(classifier(pixels), vit(made).logits, atol=1e-3, rtol=0)
    assert wanted_by(processor).interpolation == "bilinear"


@torch.inference_mode()
def test_its_processor_is_found_where_it_was_loaded_from(folder, processor):
    network = transformers.AutoModelForImageClassification.from_pretrained(folder)
    pixels, made = shown(processor, 16)
    wanted = network(made).logits
    torch.testing.assert_close(as_classifier(network)(pixels), wanted)
    ready = hub_classifier(str(folder))
    torch.testing.assert_close(ready(pixels), wanted)
    assert ready.classes == ("cat", "dog", "owl")
    assert not ready.training


def test_weights_in_half_precision_are_loaded_in_float32(vit, processor, tmp_path):
    half = transformers.ViTForImageClassification(vit.config).half()
    half.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    kinds = {p.dtype for p in hub_classifier(str(tmp_path)).parameters()}
    assert kinds == {torch.float32}


def test_a_program_of_torch_export_is_refused():
    image = torch.rand(1, 3, 8, 8)
    program = torch.export.export(nn.Flatten(), (image,)).module()
    for network in (program, Classifier(program)):
        with pytest.raises(ValueError, match="program of torch.export, .* give the network that"):
            certify(image, network, None, 0.5, n=10)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (lambda name: "" if "classifier" in name else name, r"2 names missing \(first: classifier"),
        (lambda name: f"net.{name}", r"24 names missing \(first: classifier.bias\)$"),
        (lambda name: name, r"network: 1 of another shape \(first: classifier.bias\)$"),
    ],
)
def test_weights_that_leave_some_of_a_network_random_are_refused(folder, changed, problem):
    path = folder / "model.safetensors"
    weights = {changed(name): weight for name, weight in load_file(path).items() if changed(name)}
    if "classifier.bias" in weights:
        weights["classifier.bias"] = torch.zeros(7)
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"classifier {folder} cannot be loaded: its .*{problem}"):
        hub_classifier(str(folder))


def test_a_processor_that_is_missing_is_asked_for(vit, tmp_path):
    vit.save_pretrained(tmp_path)
    network = transformers.AutoModelForImageClassification.from_pretrained(tmp_path)
    for call in (lambda: as_classifier(network), lambda: hub_classifier(str(tmp_path))):
        with pytest.raises(ValueError, match="no image processor is to be had beside") as caught:
            call()
        assert "\n" not in str(caught.value)
    assert as_classifier(network, transformers.ViTImageProcessor()).size == 224


@torch.inference_mode()
def test_a_network_of_timm_sees_what_timm_would_show_it():
    network = timm.create_model("test_resnet", pretrained=False).eval()
    config = timm.data.resolve_model_data_config(network)
    transform = timm.data.create_transform(**config)
    image, pixels = photograph(config["input_size"][-1])
    *_, normalise = transform.transforms
    with pytest.warns(UserWarning, match="ResNet is taken as timm .* images of 160 .*trained on"):
        classifier = as_classifier(network)
    torch.testing.assert_close(classifier(pixels), network(normalise(pixels)))
    assert (classifier.size, classifier.interpolation) == (160, config["interpolation"])
    assert len(classifier.classes) == 1000
    assert "goldfish" in classifier.classes[1]
    found = wanted_by(transform)
    assert (found.size, found.interpolation) == (160, config["interpolation"])
    torch.testing.assert_close(torch.tensor(found.mean), torch.tensor(config["mean"]))
    torch.testing.assert_close(torch.tensor(found.std), torch.tensor(config["std"]))


def test_what_networks_of_papers_call_their_default_is_read():
    """As those of BEiT's authors, which are no networks of timm's but written after them."""
    network = nn.Flatten()
    network.default_cfg = {"input_size": (3, 32, 32), "mean": (0.5,), "std": (0.25,)}
    classifier = as_classifier(network)
    assert (classifier.size, classifier.mean.item(), classifier.std.item()) == (32, 0.5, 0.25)


@torch.inference_mode()
def test_a_network_of_timm_in_transformers_is_read_as_timm_reads_it():
    settings = timm.create_model("test_resnet", pretrained=False).pretrained_cfg
    processor = transformers.TimmWrapperImageProcessor(settings, architecture="test_resnet")
    config = transformers.TimmWrapperConfig(architecture="test_resnet", pretrained_cfg=settings)
    network = transformers.TimmWrapperForImageClassification(config).eval()
    pixels, made = shown(processor, 160)
    classifier = as_classifier(network, processor)
    torch.testing.assert_close(classifier(pixels), network(made).logits)
    assert (classifier.size, classifier.interpolation) == (160, settings["interpolation"])


def test_edges_that_timm_cuts_off_are_told_as_those_of_a_processor():
    network = timm.create_model("test_resnet", pretrained=False)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    image = photograph(200)[1][0]
    told = f"the middle 160 of {wanted_by(transform).cut_from} pixels; .* images of 200 x 200"
    with pytest.warns(UserWarning, match=told):
        certify(image, network, None, 0.5, n=10)
    with catch_warnings(action="error"):
        filterwarnings("ignore", ".*is taken as timm publishes it")
        certify(image[:, 20:-20, 20:-20], network, None, 0.5, n=10)


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, compile, AveragedModel, lambda net: nn.DataParallel(compile(net))]
)
def test_what_is_wrapped_is_read_as_what_is_in_it(wrap, vit, processor, folder):
    def read(network, *processor):
        found = as_classifier(network, *processor)
        return found.size, found.mean.tolist(), found.std.tolist(), found.classes

    bare = timm.create_model("test_resnet", pretrained=False)
    found = transformers.AutoModelForImageClassification.from_pretrained(folder)
    for network, *given in ((bare,), (vit, processor), (found,)):
        assert read(wrap(network), *given) == read(network, *given)
    classifier = wrap(Classifier(bare))
    assert as_classifier(classifier) is classifier


def test_a_wrapped_network_of_timm_is_certified():
    network = timm.create_model("test_resnet", pretrained=False, num_classes=3).eval()
    images = np.random.default_rng(0).random((1, 3, 160, 160))
    found = [certify(images, each, None, 0.5, n=10) for each in (network, nn.DataParallel(network))]
    assert (found[0].estimation == found[1].estimation).all()


@pytest.mark.parametrize("names", [["cat", "dog"], {"1": "dog", "0": "cat"}])
def test_names_of_classes_that_timm_has_are_known(names):
    network = timm.create_model("test_resnet", pretrained=False, num_classes=2)
    network.pretrained_cfg["label_names"] = names
    assert as_classifier(network).classes == ("cat", "dog")


def test_names_of_other_classes_are_left_out():
    network = timm.create_model("test_resnet", pretrained=False, num_classes=7)
    assert as_classifier(network).classes is None


def test_features_are_no_logits():
    with pytest.raises(ValueError, match="ResNet has no classes: it returns features"):
        as_classifier(timm.create_model("test_resnet", pretrained=False, num_classes=0))


def test_nothing_is_normalised_twice():
    network = timm.create_model("test_resnet", pretrained=False)
    wrapped, inside = Classifier(network, mean=[0.5], std=[0.5]), nn.Sequential(network)
    assert as_classifier(wrapped) is wrapped
    assert as_classifier(inside) is inside


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        # Each does more than a mean and a std in [0,1].
        (lambda: transformers.EfficientNetImageProcessor(rescale_offset=True, resample=0), None),
        (lambda: transformers.ViTImageProcessor(do_rescale=False), None),
        (lambda: transformers.ViTImageProcessor(do_normalize=False), None),
        (lambda: transformers.ConvNextImageProcessor(size={"shortest_edge": 224}), 224),
        (lambda: transformers.ViTImageProcessor(do_resize=False), None),
    ],
)
def test_any_processor_is_read_by_what_it_makes(make, wanted):
    processor = make()
    found = wanted_by(processor)
    pixels, made = shown(processor, found.size or 32)
    normalised = Classifier(nn.Identity(), mean=found.mean, std=found.std)(pixels)
    if wanted is None:  # no crop, so the pixels are the same
        torch.testing.assert_close(normalised, made, atol=2e-3, rtol=1e-3)
    assert wanted in (None, found.size)


@pytest.mark.parametrize("normalised", [True, False])
@torch.inference_mode()
def test_a_processor_that_makes_blue_of_red_is_followed(normalised, tmp_path):
    sizes = {"image_size": 32, "hidden_sizes": [8, 8, 8], "neck_hidden_sizes": [8] * 7}
    sizes |= {"num_attention_heads": 1, "last_hidden_dim": 8}
    network = transformers.MobileViTForImageClassification(transformers.MobileViTConfig(**sizes))
    network.eval().save_pretrained(tmp_path)
    transformers.MobileViTImageProcessor(
        size={"shortest_edge": 36}, crop_size=32, do_flip_channel_order=True,
        do_normalize=normalised, image_mean=[0.3, 0.4, 0.5], image_std=[0.1, 0.2, 0.3],
    ).save_pretrained(tmp_path)  # fmt: skip
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    pixels, made = shown(processor, 36)
    classifier = hub_classifier(str(tmp_path))
    assert classifier.size == 32
    torch.testing.assert_close(classifier(pixels[..., 2:-2, 2:-2]), network(made).logits)


@pytest.mark.parametrize(
    ("resized", "cut"), [(32, 32), (37, 32), (36, 33), (256, 224), (40, 24), (2, 2), (600, 600)]
)
def test_edges_may_be_cut_off(resized, cut):
    size = transforms.Resize(resized), transforms.CenterCrop(cut)
    found = wanted_by(transforms.Compose([*size, tensor_of]))
    cut_from = resized if resized > cut else None
    assert found == (cut, (0, 0, 0), (1, 1, 1), "bilinear", False, cut_from)


def test_edges_that_are_not_cut_off_are_told(vit, tmp_path):
    """Once images are cut as the processor cuts them, the network sees what it would show."""
    sizes = {"size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 16}}
    processor = transformers.MobileViTImageProcessor(**sizes, do_flip_channel_order=False)
    vit.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    image = photograph(24)[1][0]
    told = r"meant to see the middle 16 of 20 pixels; .* images of 24 x 24 are .*to 16 x 16"
    for classifier, its in ((vit, processor), (hub_classifier(str(tmp_path)), None)):
        with pytest.warns(UserWarning, match=told) as caught:
            certify(image, classifier, None, 0.5, n=10, processor=its)
        assert [each.filename for each in caught] == [__file__]
        with catch_warnings(action="error"):
            certify(image[:, 4:-4, 4:-4], classifier, None, 0.5, n=10, processor=its)


@pytest.mark.parametrize("way", ["nearest", "bilinear", "bicubic"])
def test_how_a_processor_resizes_is_tried_where_it_does_not_say_so(way):
    resize = transforms.Resize(28, interpolation=transforms.InterpolationMode(way))
    cut = transforms.Compose([transforms.Compose([resize, transforms.CenterCrop(24)]), tensor_of])
    grey = transforms.Compose([transforms.Grayscale(), transforms.ToTensor()])
    for hidden in (lambda image: tensor_of(resize(image)), cut, lambda image: grey(resize(image))):
        assert wanted_by(hidden).interpolation == way


def test_a_processor_may_make_grey_images():
    grey = transforms.Compose([transforms.Grayscale(), transforms.ToTensor()])
    assert wanted_by(grey)[:3] == (None, (0,), (1,))


def tensor_of(image):
    return torch.from_numpy(np.array(image)).movedim(-1, 0) / 255


def augmented(step):
    return transforms.Compose([step, tensor_of])


@pytest.mark.parametrize(
    ("processor", "problem"),
    [
        (lambda image: tensor_of(image) ** 2, "something else than to resize and to normalise"),
        (lambda image: tensor_of(image)[:, :9], "makes images of 96 x 9 pixels; only square"),
        (lambda image: 1 / 0, "the processor fails on an image: division by zero"),
        (lambda image: np.array(image), "must make a tensor of pixels"),
        (lambda image: torch.zeros(5, 3, 8, 8), "must make a tensor of pixels"),
        (lambda image: {"pixels": tensor_of(image)}, "must make a tensor of pixels"),
        (lambda image: tensor_of(image.resize((1, 1))), "images of a single pixel"),
        (lambda image: tensor_of(image).flip(2), "something else than to resize"),
        (lambda image: tensor_of(image).flip(1), "something else than to resize"),
        (lambda image: tensor_of(image).mT, "something else than to resize"),
        (lambda image: tensor_of(image)[[0, 2, 1]], "something else than to resize"),
        (lambda image: tensor_of(image).roll(1, 2), "something else than to resize"),
        (lambda image: tensor_of(image.filter(ImageFilter.GaussianBlur(1))), "something else than"),
        (transforms.Compose([transforms.Grayscale(3), tensor_of]), "something else than to resize"),
        (augmented(transforms.RandomHorizontalFlip()), "draws random numbers, .* for evaluation"),
        (augmented(transforms.ColorJitter(0.2)), "draws random numbers"),
        (augmented(transforms.RandomResizedCrop(32)), "draws random numbers"),
        (augmented(transforms.RandomCrop(96, padding=4)), "draws random numbers"),
        (lambda image: tensor_of(image) + random.random(), "draws random numbers"),
        (lambda image: tensor_of(image) + np.random.rand(), "draws random numbers"),
        (lambda image: tensor_of(image.resize((32, 32), 1)), "resized by lanczos, .* bicubic, bil"),
        (transformers.ViTImageProcessor(resample=1), "images resized by lanczos, which is not"),
    ],
)
def test_a_processor_that_cannot_be_followed_is_refused(processor, problem):
    with pytest.raises(ValueError, match=problem):
        wanted_by(processor)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("timm:no_such_network", "timm:no_such_network cannot be loaded: Unknown model"),
        ("resnet50", "write timm:NAME, hf:OWNER/NAME or a folder"),
        ("hub:a/b", "write timm:NAME, hf:OWNER/NAME or a folder"),
    ],
)
def test_names_that_are_none_are_refused_in_a_line(name, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        hub_classifier(name)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_network_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"classifier {tmp_path} cannot be loaded: ") as caught:
        hub_classifier(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_code_of_a_repository_is_refused_and_nobody_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda prompt: "yes")
    (tmp_path / "theirs.py").write_text("raise SystemExit('this was run')")
    auto = {"AutoConfig": "theirs.Config", "AutoModelForImageClassification": "theirs.Network"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "theirs", "auto_map": auto}))
    with pytest.raises(ValueError, match="cannot be loaded: The repository .* custom code"):
        hub_classifier(str(tmp_path))


@pytest.mark.parametrize("revision", ["abc", None])
def test_a_commit_of_the_hub_is_asked_for(vit, processor, monkeypatch, revision):
    asked = []

    def load(result):
        def from_pretrained(origin, *, revision, **options):
            asked.append((origin, revision))
            return result

        return from_pretrained

    model, images = transformers.AutoModelForImageClassification, transformers.AutoImageProcessor
    loaded = {"missing_keys": set(), "mismatched_keys": set()}
    monkeypatch.setattr(model, "from_pretrained", load((vit, loaded)))
    monkeypatch.setattr(images, "from_pretrained", load(processor))
    assert hub_classifier("hf:owner/name", revision=revision).size == 16
    assert asked == [("owner/name", revision or "main")] * 2
