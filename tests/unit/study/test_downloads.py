"""Where downloaded files are linked to, and what results depend on, without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from study import depends
from study.load import load_config, load_study
from study.paths import Paths

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def study():
    """The paper's, with addresses that differ in their queries alone."""
    paper = load_study(load_config({"study": "paper"}), ROOT)
    plain = paper.to_json()
    images = {name: {"url": f"https://host/get?{name}=SECRET"} for name in ("images", "devkit")}
    plain["datasets"]["imagenet"]["files"] = images
    download = plain["models"]["imagenet_beit"]["weights"]["download"]
    download["url"] = "https://host/model.safetensors?token=SECRET"
    return type(paper).from_json(plain)


def test_files_with_one_name_are_told_apart(study):
    paths = Paths(study)
    assert paths.data_files("imagenet") == {
        "images": "results/paper/data/imagenet/images_get",
        "devkit": "results/paper/data/imagenet/devkit_get",
    }
    (archive,) = paths.data_files("cifar10").values()
    assert archive == "results/paper/data/cifar10/cifar-10-python.tar.gz"
    assert paths.weights("imagenet_beit") == "results/paper/models/imagenet_beit.safetensors"
    assert paths.weights("cifar10_vit") == "results/paper/models/cifar10_vit.bin"


def test_what_results_depend_on_holds_no_secret(study):
    of_data, of_model = depends.data(study, "imagenet"), depends.download(study, "imagenet_beit")
    of_files = [depends.data_file(study, "imagenet", name) for name in of_data["files"]]
    assert of_files == list(of_data["files"].values())
    assert len(set(of_files)) == 2
    assert "SECRET" not in str([of_data, of_model, of_files, depends.costs(study)])
    assert of_model["url"].startswith("https://host/model.safetensors?... (")
    assert type(study).from_json(depends.costs(study)["study"] | {"name": "paper"}).datasets
    vit = depends.download(study, "cifar10_vit")
    published = study.models["cifar10_vit"].weights.download
    assert (vit["url"], vit["labels"]) == (published.url, published.labels.url)
