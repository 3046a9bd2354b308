"""The paper's study from end to end, on small networks and made-up images.

Same rules, registry, formats and downloads as the paper's; a server on this machine
stands in for the publishers, and misbehaves.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from projects import ROOT, Project, python_without
from safetensors.torch import save
from samples import CIFAR10, cifar10_archive, imagenet_flat, imagenet_folders

from dds.networks.registry import build_classifier, build_denoiser
from project import written_out

pytestmark = pytest.mark.slow

SIGMAS = [0.5]
RECIPE = {"iterations": 6, "batch_size": 16, "precision": "bfloat16", "augmentation": "crop_flip"}
INPUT = {"channels": 3, "size": 32, "mean": [0.5], "std": [0.5]}
UNET = {"image_size": 32, "in_channels": 3, "out_channels": 6, "model_channels": 32,
        "num_res_blocks": 1, "attention_resolutions": [16], "channel_mult": [1, 2]}  # fmt: skip

#: What the small models have of their own; the rest is as in the registry.
SMALL = {
    "cifar10_unet": {"arguments": UNET | {"num_heads": 4, "dropout": 0.3}},
    "imagenet_unet": {"arguments": UNET | {"num_head_channels": 32, "resblock_updown": True}},
    "cifar10_vit": {
        "arguments": {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
        },
        "input": INPUT,
    },
    "imagenet_beit": {
        "arguments": {
            "model": "beit_large_patch16_512", "img_size": 32, "patch_size": 8, "embed_dim": 32,
            "depth": 2, "num_heads": 2,
        },
        "input": INPUT,
    },
    "cifar10_wide_resnet": {"arguments": {"depth": 10, "width": 1}},
}  # fmt: skip
REGISTRY = yaml.safe_load((ROOT / "config/models.yaml").read_text())
#: Without which the publisher of ImageNet gives nothing.
SECRET = "not-to-be-told"
WNIDS = (ROOT / "config/classes/imagenet.txt").read_text().split()


class Publishers(ThreadingHTTPServer):
    """Serves files by path; cuts the first connection for a file of `cut`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.requests: list[tuple[str, int]] = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        content = self.server.files.get(self.path)
        if content is None:
            self.server.requests.append((self.path, 404))
            self.send_error(404)
            return
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        status = 206 if start else 200
        self.server.requests.append((self.path, status))
        self.send_response(status)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        end = None
        if self.path in self.server.cut:
            self.server.cut.remove(self.path)
            end, self.close_connection = len(content) // 2, True
        self.wfile.write(content[start:end])

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def publishers():
    server = Publishers()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def path_of(url: str) -> str:
    """Return where the server has what is published at an address."""
    return "/" + url.removeprefix("https://")


def publish_data(files: dict[str, bytes], folder: Path) -> dict[str, dict]:
    """Publish CIFAR-10 and ImageNet, made up; return the entries of the datasets."""
    datasets = written_out("paper_exact")["datasets"]
    archive = folder / "cifar-10-python.tar.gz"
    cifar10_archive(archive, images=40)
    source = datasets["cifar10"]["files"]["images"]
    files[path_of(source["url"])] = archive.read_bytes()
    source["md5"] = hashlib.md5(archive.read_bytes()).hexdigest()
    datasets["cifar10"]["splits"] = {"train": 160, "validation": 40, "test": 20}
    imagenet_flat(folder / "val.tar", folder / "kit.tar.gz", WNIDS[::-1], per_class=1)
    for name, file in (("images", "val.tar"), ("devkit", "kit.tar.gz")):
        url = f"https://image-net.org/get?file={file}&token={SECRET}"
        files[path_of(url)] = (folder / file).read_bytes()
        datasets["imagenet"]["files"][name] = {"url": url}
    datasets["imagenet"] |= {"resize": 40, "crop": 32}
    imagenet_folders(folder / "val", WNIDS, per_class=1)
    datasets["imagenet_folders"] = datasets["imagenet"] | {
        "files": {"images": {"file": str(folder / "val")}}
    }
    return datasets


def publish_models(files: dict[str, bytes]) -> dict[str, dict]:
    """Publish weights of the small networks as the real ones are; return their entries."""
    entries = {}
    for name, entry in REGISTRY.items():
        family = entry.get("like", name)
        if family not in SMALL:
            continue
        small = entries[f"small_{name}"] = {"like": name} | SMALL[family]
        ((source, weights),) = entry["weights"].items()
        if source != "download":
            small["weights"] = {source: weights | RECIPE}
            for key in {"from", "denoiser"} & weights.keys():
                small["weights"][source][key] = f"small_{weights[key]}"
            continue
        content = checkpoint(name, {**entry, **SMALL[name]})
        # The first address of the ViT is that of a short revision, which the server lacks.
        urls = [weights["url"], *weights.get("mirrors", [])]
        files[path_of(urls[-1])] = content
        if "labels" in weights:
            labels = json.dumps({"id2label": {str(i): name for i, name in enumerate(CIFAR10)}})
            files[path_of(weights["labels"]["mirrors"][-1])] = labels.encode()
        if "sha256" in weights:
            digest = hashlib.sha256(content).hexdigest()
            small["weights"] = {"download": {"url": weights["url"], "sha256": digest}}
    return entries


def checkpoint(name: str, entry: dict) -> bytes:
    """Return a checkpoint of a small network, in the format and names of the published one."""
    torch.manual_seed(0)
    if entry["kind"] == "denoiser":
        network = build_denoiser(entry).network
        for parameter in network.parameters():  # some are zero before training
            torch.nn.init.normal_(parameter, std=0.05)
        state = network.state_dict()
    else:
        classes = WNIDS if isinstance(entry["classes"], str) else entry["classes"]
        network = build_classifier(entry | {"classes": classes}).network
        state = dict(network.state_dict())
    if name == "imagenet_beit":
        tables = {key: t for key, t in network.named_buffers() if key not in state}
        assert tables
        return save(state | tables)
    if name == "cifar10_vit":
        from transformers.core_model_loading import revert_weight_conversion

        state = revert_weight_conversion(network, state)
        assert "vit.encoder.layer.1.attention.attention.query.weight" in state
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


def rehearse(study: dict, datasets: dict, models: dict) -> dict:
    """Return the paper's study with small models, few images and few samples."""
    text = yaml.safe_dump(study, sort_keys=False)
    for name in sorted(REGISTRY, key=len, reverse=True):
        text = text.replace(f"classifier: {name}\n", f"classifier: small_{name}\n")
        text = text.replace(f"denoiser: {name}\n", f"denoiser: small_{name}\n")
        text = text.replace(f"- {name}\n", f"- small_{name}\n")
    study = yaml.safe_load(text)
    study |= {"datasets": datasets, "models": models, "notebooks": [], "checks": []}
    del study["tables"]["table_ablation"]
    study["experiments"] = {name: study["experiments"][name] for name in ("cifar10", "imagenet")}
    costs = study["tables"]["table_costs"]
    costs["methods"] = [m for m in costs["methods"] if m["experiment"] in study["experiments"]]
    for experiment in study["experiments"].values():
        experiment |= {"sigmas": SIGMAS, "n": 100, "images": 10, "images_per_shard": 10}
    # As in the study that stops early: 400 samples certify the largest radius of the tables.
    radii = [0.0, 0.25, 0.5, 0.75, 1.0]
    study["experiments"]["cifar10"] |= {"n": 400, "plan": "sequential", "radii": radii}
    return study


@pytest.fixture(scope="module")
def rehearsal(publishers, tmp_path_factory):
    """The rehearsal, run to the end; what it makes and gets lies on other disks."""
    project = Project(tmp_path_factory.mktemp("rehearsal"))
    for name in ("results", "downloads"):
        scratch = tmp_path_factory.mktemp("scratch") / "of" / "a-user" / name
        scratch.mkdir(parents=True)
        (project.folder / name).symlink_to(scratch)
    (archives := project.folder / "made").mkdir()
    datasets = publish_data(publishers.files, archives)
    models = publish_models(publishers.files)
    project.study = rehearse(written_out("paper_exact"), datasets, models)
    project.results = project.folder / "results" / "rehearsal"
    (project.folder / "rehearsal.yaml").write_text(yaml.safe_dump(project.study, sort_keys=False))
    config = project.folder / "config" / "config.yaml"
    server = f"http://127.0.0.1:{publishers.server_port}/"
    settings = yaml.safe_load(config.read_text()) | {"url_overrides": {"https://": server}}
    config.write_text(yaml.safe_dump(settings))
    publishers.cut = {path for path in publishers.files if "cifar-10" in path}
    project.run = project.snakemake("all", study="rehearsal.yaml")
    return project


def test_every_table_and_figure_is_made(rehearsal):
    for table in rehearsal.study["tables"]:
        for form in ("csv", "md", "tex", "html"):
            assert (rehearsal.results / "tables" / f"{table}.{form}").stat().st_size > 100
    assert {"figure_2", "figure_pictures_cifar10", "figure_pictures_imagenet"} == set(
        rehearsal.study["figures"]
    )
    for figure in rehearsal.study["figures"]:
        assert (rehearsal.results / "figures" / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
    assert (rehearsal.results / "paper.pdf").read_bytes().startswith(b"%PDF")
    assert json.loads((rehearsal.results / "checks.json").read_text())["failed"] == 0


def test_published_numbers_stand_beside_ours(rehearsal):
    table = pd.read_csv(rehearsal.results / "tables" / "table_2.csv")
    cell = table[(table["sigma"] == 0.5) & (table["radius"] == 1.0)].iloc[0]
    assert cell["published_percent"] == 54.3
    assert cell["images"] == 10


def test_the_publishers_misbehaved(rehearsal, publishers):
    answers = {}
    for path, status in publishers.requests:
        answers.setdefault(path, []).append(status)
    (archive,) = [path for path in answers if path.endswith("cifar-10-python.tar.gz")]
    assert answers[archive] == [200, 206]
    assert {statuses[0] for path, statuses in answers.items() if "/63acc43/" in path} == {404}
    assert [statuses for path, statuses in answers.items() if "/main/" in path] == [[200]] * 3


def test_links_made_in_folders_that_are_links_lead_to_files(rehearsal):
    links = [path for path in rehearsal.results.rglob("*") if path.is_symlink()]
    assert len(links) >= 4
    assert all(link.is_file() for link in links)


def test_what_stands_in_an_addresss_query_is_told_to_the_publisher_alone(rehearsal, publishers):
    asked = {path for path, _ in publishers.requests if path.endswith(SECRET)}
    assert len(asked) == 2
    assert SECRET not in rehearsal.run.stdout + rehearsal.run.stderr
    for folder in (rehearsal.results, rehearsal.folder / "downloads"):
        for path in folder.rglob("*"):
            assert SECRET not in str(path)
            assert path.is_dir() or SECRET.encode() not in path.read_bytes()


def test_both_layouts_of_imagenet_give_the_same_classes(rehearsal):
    target = "results/rehearsal/data/imagenet_folders/test.npz"
    rehearsal.snakemake(target, study="rehearsal.yaml")
    flat, folders = (
        np.load(rehearsal.results / "data" / name / "test.npz")
        for name in ("imagenet", "imagenet_folders")
    )
    assert flat["classes"].tolist() == folders["classes"].tolist() == WNIDS
    assert flat["labels"].tolist() == folders["labels"].tolist() == list(range(0, 1000, 50))
    assert flat["images"].shape == (20, 3, 32, 32)


def test_accuracies_are_measured_beside_the_published_ones(rehearsal):
    measured = {}
    for path in rehearsal.results.glob("models/**/*.accuracy.json"):
        record = json.loads(path.read_text())
        measured[record["classifier"]] = record["images"], record["expected_accuracy"]
    assert measured == {
        "small_cifar10_vit": (20, 0.979),
        "small_cifar10_wide_resnet": (20, 0.952),
        "small_cifar10_vit_finetuned/sigma_0.5": (20, None),
        "small_cifar10_wide_resnet_finetuned/sigma_0.5": (20, None),
        "small_imagenet_beit": (20, 0.886),
    }


#: Packages that run networks, which no job needs that starts from votes.
OF_NETWORKS = ["torch", "torchvision", "timm", "transformers", "safetensors", "guided_diffusion"]


@pytest.fixture(scope="module")
def deposited(rehearsal, publishers, tmp_path_factory):
    """The rehearsal as somebody else has it who has no torch: rebuilt from its deposit."""
    archive = [sys.executable, "tools/archive.py", "rehearsal.yaml"]
    subprocess.run(archive, cwd=rehearsal.folder, check=True)
    project = Project(tmp_path_factory.mktemp("elsewhere"))
    project.python = python_without(OF_NETWORKS, tmp_path_factory.mktemp("python"))
    # Notebooks decide no vote, so that another study may show the deposited ones in some.
    project.study = rehearsal.study | {"notebooks": ["one_image", "figures"]}
    project.results = project.folder / "results" / "rehearsal"
    (project.folder / "rehearsal.yaml").write_text(yaml.safe_dump(project.study, sort_keys=False))
    project.deposit = rehearsal.folder / "dist" / "rehearsal.tar.gz"
    before = len(publishers.requests)
    project.snakemake("all", study="rehearsal.yaml", deposit=str(project.deposit))
    assert len(publishers.requests) == before
    return project


def test_from_a_deposit_every_artefact_is_rebuilt_without_torch(rehearsal, deposited):
    folders = ("certificates", "tables", "figures", "costs")
    made = {path for folder in folders for path in rehearsal.results.glob(f"{folder}/*")}
    made |= {
        *rehearsal.results.glob("counts/*.*"),
        *rehearsal.results.glob("models/**/*.accuracy.json"),
    }
    made |= {rehearsal.results / name for name in ("paper.pdf", "provenance.html", "checks.json")}
    assert len(made) >= 50
    for path in made:
        there = deposited.results / path.relative_to(rehearsal.results)
        if path.suffix == ".json" and path.parent.name in ("tables", "figures"):
            ours, theirs = (json.loads(file.read_text()) for file in (path, there))
            assert ours["entry"] == theirs["entry"]  # what else it says is of the job
            assert ours["experiments"] == theirs["experiments"]
        else:
            assert there.read_bytes() == path.read_bytes(), path
    assert not [*deposited.results.glob("**/*.npz"), *deposited.results.glob("**/*.pt")]


def test_notebooks_show_what_a_deposit_has(deposited):
    for name in deposited.study["notebooks"]:
        text = (deposited.results / "notebooks" / f"{name}.ipynb").read_text()
        assert text.count('"image/png"') >= 2


def test_a_deposit_of_another_study_ends_in_one_line_that_names_the_difference(deposited):
    study = yaml.safe_load(yaml.safe_dump(deposited.study))
    study["experiments"]["imagenet"]["n"] = 200
    (deposited.folder / "other.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    target, deposit = "results/other/counts/imagenet.parquet", str(deposited.deposit)
    run = deposited.snakemake(target, study="other.yaml", deposit=deposit, check=False)
    assert run.returncode != 0
    assert "Traceback" not in run.stderr
    assert (
        f"take_counts: {deposit}: counts/imagenet was made with another votes.n: 100, not 200"
        in run.stderr
    )
    assert not (deposited.folder / target).exists()
