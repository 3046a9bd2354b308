"""One of each kind of thing, added by a file of the user's own and nothing else."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml
from projects import Project

pytestmark = pytest.mark.slow

FILES = {
    # A source of images.
    "shades.py": '''
from dds.data.sources import Images
from dds.data.splits import Splits
from dds import keys


class Keys(keys.Keys):
    """Dark images and bright ones."""

    splits: Splits[keys.Count] = keys.key("How many images each split gets.")
    side: keys.Count = keys.key("Height and width in pixels.", 4)


def images(keys):
    return Images(classes=2, channels=1, size=(keys.side, keys.side))


def prepare(keys, files, *, seed):
    import numpy as np

    from dds.data.packs import Pack

    packs = {}
    for split, number in keys.splits.items():
        labels = np.arange(number) % 2
        shades = np.where(labels == 0, 60, 190).astype(np.uint8)
        pixels = np.broadcast_to(shades[:, None, None, None], (number, 1, keys.side, keys.side))
        ids = np.array([f"{split}/{index}" for index in range(number)])
        packs[split] = Pack(pixels.copy(), labels, ids, np.array(["dark", "bright"]))
    return packs
''',
    # A family of networks.
    "threshold.py": '''
from dds import keys

ROLE = "classifier"


class Keys(keys.Keys):
    """Bright is what is brighter than a threshold."""

    threshold: float = keys.key("Between 0 and 1.", 0.5)


def build(arguments, *, classes, channels):
    import torch

    class Threshold(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("threshold", torch.tensor(arguments.threshold))

        def forward(self, images):
            excess = images.mean(dim=(1, 2, 3)) - self.threshold
            return torch.stack([-excess, excess], dim=1)

    return Threshold()
''',
    # A sampling plan.
    "half.py": '''
from dds import keys
from dds.statistics.plans import fixed

SPENDS_ALPHA = False


class Keys(keys.Keys):
    """Draw a share of the n samples of every image."""

    share: keys.Fraction = keys.key("The share.", 0.5)


def make(keys, *, n0, n, alpha, sigma):
    return Half(n0, round(n * keys.share), n, keys.share)


class Half(fixed.Fixed):
    def __init__(self, n0, n, most, share):
        super().__init__(n0, n)
        object.__setattr__(self, "asked", {"n": most, "share": share})

    def to_dict(self):
        return {"plan": "half.py", "n0": self.n0, **self.asked}
''',
    # A kind of table.
    "largest.py": '''
from dds import keys
from paper.parts import Captioned, Shown


class Keys(Captioned):
    """The largest radius of each classifier."""

    shown: list[Shown] = keys.key("The classifiers.")


def build(entry, certificates, published, records):
    import pandas as pd

    return pd.DataFrame({
        "classifier": [part.classifier for part in entry.shown],
        "radius": [certificates[part.experiment]["radius"].max() for part in entry.shown],
    })


def lay_out(table):
    from paper.sheets import Cell, Sheet

    rows = [[Cell(row.classifier), Cell(f"{row.radius:.3f}")] for row in table.itertuples()]
    return [Sheet("", ["Classifier", "Radius"], rows)]
''',
    # A kind of figure.
    "radii.py": '''
from dds import keys
from paper.parts import Captioned

PICTURES = False


class Keys(Captioned):
    """The radii of all images, in order."""

    experiment: str = keys.key("Whose images.", allowed="a name of `experiments`")


def draw(entry, data):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot(sorted(data[entry.experiment]["radius"]))
    return figure
''',
}

STUDY = {
    "seed": 1,
    "datasets": {"shades": {"source": "shades.py", "splits": {"test": 6}}},
    "models": {"threshold": {
        "kind": "classifier", "network": "threshold.py", "input": {"channels": 1, "size": 4},
        "classes": ["dark", "bright"], "weights": {"file": "threshold.pt"}}},
    "experiments": {"own": {
        "dataset": "shades", "denoiser": "none", "classifiers": ["threshold"], "sigmas": [0.25],
        "n0": 100, "n": 400, "alpha": 0.001, "images": 6, "images_per_shard": 6,
        "plan": "half.py"}},
    "tables": {"table_largest": {
        "kind": "largest.py", "caption": "The largest radius.",
        "shown": [{"experiment": "own", "classifier": "threshold"}]}},
    "figures": {"figure_radii": {
        "kind": "radii.py", "caption": "All radii.", "experiment": "own"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    import torch

    project = Project(tmp_path_factory.mktemp("plugins"))
    project.results = project.folder / "results" / "own"
    for name, text in FILES.items():
        (project.folder / name).write_text(text)
    torch.save({"threshold": torch.tensor(0.5)}, project.folder / "threshold.pt")
    (project.folder / "own.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    project.snakemake("all", study="own.yaml")
    return project


def test_each_plays_its_part(project):
    counts = pd.read_parquet(project.results / "counts/own.parquet")
    assert counts["estimation"].map(sum).unique().tolist() == [200]
    certificates = pd.read_parquet(project.results / "certificates/own.parquet")
    assert certificates["correct"].all()
    table = pd.read_csv(project.results / "tables/table_largest.csv")
    assert table["radius"][0] == certificates["radius"].max()
    assert (project.results / "figures/figure_radii.pdf").read_bytes().startswith(b"%PDF")
    assert (project.results / "paper.pdf").exists()
    assert json.loads((project.results / "checks.json").read_text())["failed"] == 0


def planned(project):
    preview = project.snakemake("--dry-run", "all", study="own.yaml")
    return {
        line.split()[1].rstrip(":")
        for line in (preview.stdout + preview.stderr).splitlines()
        if line.startswith("rule ")
    }


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        ("shades.py", {"prepare_data_shades", "certify_shard"}),
        ("threshold.py", {"certify_shard"}),
        ("half.py", {"certify_shard", "merge_counts", "compute_certificates"}),
        ("largest.py", {"render_table"}),
        ("radii.py", {"render_figure"}),
    ],
)
def test_what_such_a_file_does_is_part_of_what_results_depend_on(project, file, rules):
    assert planned(project) == set()
    path = project.folder / file
    path.write_text(f"# A remark.\n{FILES[file]}")
    assert planned(project) == set()
    path.write_text(f"{FILES[file]}\nMENDED = True\n")
    try:
        found = planned(project)
        assert rules <= found
        assert "certify_shard" in rules or "certify_shard" not in found
    finally:
        path.write_text(FILES[file])
