"""The worked example of config/README.md, followed to the letter."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from projects import ROOT, Project
from torch import nn

pytestmark = pytest.mark.slow


STUDY = "../pets/my_study.yaml"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside") / "project"
    folder.mkdir()
    return Project(folder)


@pytest.fixture(scope="module")
def folder(project):
    """A folder beside the project's, with what the example says the user has."""
    folder = project.folder.parent / "pets"
    folder.mkdir()
    text = (ROOT / "config/README.md").read_text()
    example = text.split("## Bring your own")[1].split("\n## ")[0]
    blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```$", example, re.MULTILINE | re.DOTALL))
    (folder / "my_networks.py").write_text(blocks["python"])
    (folder / "my_study.yaml").write_text(blocks["yaml"])
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for name, shade in (("cat", 40), ("dog", 220)):
            for number in range(1, 11):
                content = io.BytesIO()
                Image.new("RGB", (48, 40 + number), (shade,) * 3).save(content, format="PNG")
                archive.writestr(f"test/{name}/{number}.png", content.getvalue())
    state = weights(yaml.safe_load(blocks["yaml"]))
    torch.save({"state_dict": state}, folder / "checkpoint.pth.tar")
    finds_no_noise = {"weight": torch.zeros(3, 4, 3, 3), "bias": torch.zeros(3)}
    torch.save({f"convolution.{k}": v for k, v in finds_no_noise.items()}, folder / "denoiser.pt")
    return folder


def weights(study):
    """Return weights that call dark images cats and bright ones dogs."""
    width = study["models"]["pets_cnn"]["arguments"]["width"]
    convolution, head = nn.Conv2d(3, width, 3), nn.Linear(width, 2)
    with torch.no_grad():
        for parameter in (*convolution.parameters(), *head.parameters()):
            parameter.zero_()
        convolution.weight[:, :, 1, 1] = torch.tensor([1.0, -1.0] * (width // 2))[:, None]
        head.weight[0, 1::2] = head.weight[1, 0::2] = 1.0
    return {
        f"module.{place}.{name}": tensor
        for place, layer in ((0, convolution), (4, head))
        for name, tensor in layer.state_dict().items()
    }


def test_the_example_certifies(project, folder):
    results = project.folder / "results" / "my_study"
    accuracy = results / "models" / "pets_cnn.accuracy.json"
    project.snakemake("table_pets", str(accuracy.relative_to(project.folder)), study=STUDY)
    measured = json.loads(accuracy.read_text())
    assert (measured["images"], measured["accuracy"]) == (20, 1.0)
    assert measured["expected_accuracy"] == 0.9
    counts = pd.read_parquet(results / "counts" / "pets.parquet")
    assert len(counts) == 8 * 2
    assert (counts["estimation"].map(np.sum) == 1000).all()
    certificates = pd.read_parquet(results / "certificates" / "pets.parquet")
    assert certificates["correct"].all()
    assert (results / "tables" / "table_pets.md").exists()


def test_classes_in_another_order_are_one_line(project, folder):
    study = folder / "my_study.yaml"
    kept = study.read_text()
    study.write_text(kept.replace("[cat, dog]", "[dog, cat]"))
    try:
        result = project.snakemake("all", "--until", "certify_shard", study=STUDY, check=False)
    finally:
        study.write_text(kept)
    assert result.returncode != 0
    reason = "certify_shard: class 0 of pets_cnn is 'dog', of the dataset 'cat' (log: "
    assert [line for line in result.stderr.splitlines() if line.startswith(reason)]
    assert "Traceback" not in result.stderr


def test_its_deposit_rebuilds_it_as_the_page_on_deposits_says(project, folder, tmp_path):
    """Without images and weights, the user's own files where the study has them."""
    project.snakemake("all", study=STUDY)
    archive = [sys.executable, "tools/archive.py", STUDY]
    subprocess.run(archive, cwd=project.folder, check=True, env=project.environment)
    with tarfile.open(project.folder / "dist/my_study.tar.gz") as deposit:
        deposit.extractall(tmp_path, filter="data")
    there = tmp_path / "my_study"
    shutil.copytree(there / "outside" / folder.relative_to("/"), tmp_path / "pets")
    assert {path.name for path in (tmp_path / "pets").iterdir()} == {
        "my_study.yaml", "my_networks.py"
    }  # fmt: skip
    table = there / "results" / "my_study" / "tables" / "table_pets.csv"
    kept = table.read_bytes()
    table.unlink()
    command = [sys.executable, "-m", "snakemake", "all", "--cores", "2", "--config",
               f"study={STUDY}", "deposit=."]  # fmt: skip
    answer = subprocess.run(command, cwd=there, check=False, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert table.read_bytes() == kept
