"""Measure what precision, batch shapes and compilers do to decisions: `make decisions`.

Runs the first noisy samples of a study's certification in several ways, on the study's own
weights, and counts the samples that change their class and the certified accuracies that change
with them. Needs no Snakemake. What cannot be run here is left out, with a line that says why.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from project import open_study

# isort: split
from dds.data.packs import check_classes, read_pack
from dds.decisions import Answers, CannotRun, Samples, Variant, variants
from dds.files import atomic_path, sha256, write_json
from dds.networks.denoisers import Denoiser, NoDenoiser
from dds.seeds import BLOCK
from jobs.device import device_name, prepare_device
from jobs.models import load_classifier, load_denoiser
from jobs.provenance import Provenance
from paper.sheets import Cell, Sheet, to_markdown, to_text
from study import depends
from study.paths import Paths
from study.study import Study

#: What networks, devices and compilers raise where they cannot do something.
FAULTS = (CannotRun, ImportError, OSError, ValueError, ArithmeticError, RuntimeError)

NOTE = (
    "Samples that get another class than in the reference; in brackets their share, with its 95% "
    "interval (Clopper and Pearson), over the noise on these images. Cells: certified "
    "accuracies, at the radii of the study's tables and the experiment's plan that so few samples "
    "can reach, that differ from the reference's. Points: by how much at most."
)


class Trained:
    """An experiment, with those of its networks that there are weights of.

    Parameters
    ----------
    study : Study
        The study.
    name : str
        The experiment.
    weights, images : mapping of str to str
        Files in place of the study's results, by model (or MODEL/sigma_0.25) and by dataset.

    Attributes
    ----------
    classifiers : list of str
        Those that have weights for every noise level.
    missing : dict of str
        The first missing file of each model that has not.
    hashes : dict of str
        The SHA-256 of every file that was read.

    Raises
    ------
    OSError
        If there are no images, no weights of the denoiser, or of no classifier.
    ValueError
        If a file is not what it should be.
    """

    def __init__(
        self, study: Study, name: str, weights: Mapping[str, str], images: Mapping[str, str]
    ) -> None:
        self.name, self.settings = name, study.experiments[name]
        self._study, self._paths, self._weights = study, Paths(study), weights
        self.missing: dict[str, str] = {}
        for model in self.settings.models:
            paths = [self._path(model, sigma) for sigma in self.settings.sigmas]
            if absent := [path for path in paths if not Path(path).is_file()]:
                self.missing[model] = absent[0]
        self.classifiers = [c for c in self.settings.classifiers if c not in self.missing]
        if self.settings.denoiser in self.missing or not self.classifiers:
            model, path = list(self.missing.items())[-1]
            raise FileNotFoundError(
                f"no weights of {model} at {path}; build the study, or give --weights {model}=FILE"
            )
        dataset = self.settings.dataset
        pack = images.get(dataset, self._paths.pack(dataset, self.settings.split))
        self.pack, self.hashes = read_pack(pack), {"images": sha256(pack)}
        self._loaded: dict[str, Any] = {}
        for classifier in self.classifiers:
            known = depends.model(study, classifier)["description"]["classes"]
            check_classes(known, self.pack.classes, of=classifier)

    def networks(self, sigma: float) -> tuple[dict[str, nn.Module], Denoiser]:
        """Return the classifiers and the denoiser at a noise level."""
        settings, denoiser = self.settings, NoDenoiser()
        if settings.denoiser != "none":
            chain = {"timestep": settings.timestep, "steps": settings.steps}
            denoiser = self._load(load_denoiser, settings.denoiser, sigma, **chain)
        loaded = {name: self._load(load_classifier, name, sigma) for name in self.classifiers}
        return loaded, denoiser

    def samples(self, sigma: float, images: int, n: int) -> Samples:
        """Return the first noisy samples of images, as certification draws them.

        Packs may be in the order of their classes, so images are taken from all over.
        """
        certified = min(self.settings.images, len(self.pack.images))
        ids = [number * certified // images for number in range(images)]
        return Samples(
            self.pack.pixels(ids),
            self.pack.labels[ids],
            ids,
            len(self.pack.classes),
            sigma,
            self.n0(n),
            n,
            self._study.seed,
            self.settings.noise,
        )

    def n0(self, n: int) -> int:
        """Return how many selection samples go with so many of estimation."""
        return min(self.settings.n0, -(-n // 10))

    def radii(self, sigma: float) -> list[float]:
        """Return 0, the radii of the experiment's plan, and those of tables that show it."""
        plan = getattr(self.settings, "radii", None) or ()
        found = {0.0, *(plan[sigma] if isinstance(plan, Mapping) else plan)}
        for table in self._study.tables.values():
            if self.name in table.experiments:
                found.update(getattr(table, "radii", ()))
        return sorted(found)

    def _path(self, model: str, sigma: float) -> str:
        for name in (self._paths.weights_name(model, sigma), model):
            if name in self._weights:
                return self._weights[name]
        return self._paths.weights(model, sigma)

    def _load(self, load: Callable[..., Any], model: str, sigma: float, **more: Any) -> Any:
        path = self._path(model, sigma)
        if path not in self._loaded:
            self._loaded[path] = load(depends.model(self._study, model), path, **more)
            self.hashes[self._paths.weights_name(model, sigma)] = sha256(path)
        return self._loaded[path]


@dataclass
class Findings:
    """What was measured, written anew after every way of running an experiment.

    Attributes
    ----------
    folder : Path
        Where samples.csv, cells.csv, decisions.md and decisions.json lie.
    facts : dict
        What holds of the whole measurement, for the record.
    """

    folder: Path
    facts: dict[str, Any]
    samples: pd.DataFrame = field(default_factory=pd.DataFrame)
    cells: pd.DataFrame = field(default_factory=pd.DataFrame)
    ran: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    provenance: Provenance = field(default_factory=Provenance)

    def leave_out(self, what: str, why: object) -> None:
        """Say of something that it is not measured, and why."""
        reason = " ".join(str(why).split())[:300] or type(why).__name__
        self.left_out.append(f"{what}: {reason}")
        print(f"left out: {what}: {reason}", flush=True)

    def add(self, at: Mapping[str, Any], samples: pd.DataFrame, cells: pd.DataFrame) -> None:
        """Add what changed, with columns that say where."""
        for name, rows in {"samples": samples, "cells": cells}.items():
            labelled = pd.DataFrame(dict(at), index=rows.index).join(rows)
            earlier = getattr(self, name)
            setattr(self, name, pd.concat([earlier, labelled], ignore_index=True))

    def write(self) -> None:
        """Write the record and, once there is a comparison, the tables."""
        record = self.facts | {"ran": self.ran, "left_out": self.left_out}
        write_json(self.folder / "decisions.json", self.provenance.finish(**record))
        if self.samples.empty:
            return
        for name, table in {"samples": self.samples, "cells": self.cells}.items():
            with atomic_path(self.folder / f"{name}.csv") as temporary:
                table.to_csv(temporary, index=False)
        with atomic_path(self.folder / "decisions.md") as temporary:
            temporary.write_text(to_markdown(self.sheets(), self.caption), encoding="utf-8")

    @property
    def caption(self) -> str:
        """What the numbers are of."""
        return (
            f"Decisions of study {self.facts['study']} on {self.facts['device']}, torch "
            f"{torch.__version__}: the same noisy samples run in several ways"
        )

    def sheets(self) -> list[Sheet]:
        """Lay out a sheet an experiment, classifier and reference, with a row a way of running."""
        sheets, by = [], ["experiment", "classifier", "reference"]
        cells = dict(list(self.cells.groupby([*by, "variant"])))
        for (experiment, classifier, reference), part in self.samples.groupby(by, sort=False):
            rows = []
            for way, lines in part.groupby("variant", sort=False):
                compared = cells.get((experiment, classifier, reference, way))
                changed = map(_changed, lines.to_dict("records"))
                rows.append([Cell(way), *changed, *_differing(compared)])
            of = f"of {part['samples'].iloc[0]:,}"
            heads = [f"σ = {sigma:g}, {of}" for sigma in part["sigma"].unique()]
            title = f"{experiment}, {classifier}, against {reference}"
            sheets.append(Sheet(title, ["Run as", *heads, "Cells", "Points"], rows, [NOTE]))
        return sheets

    @property
    def summary(self) -> str:
        """The largest changes, in a line."""
        worst = self.samples.loc[self.samples["share"].idxmax()]
        differing = int((self.cells["points"] != 0).sum())
        most = self.cells["points"].abs().max() if len(self.cells) else 0.0
        return (
            f"at most {100 * worst['share']:.2g}% of samples change class ({worst['variant']}, "
            f"sigma {worst['sigma']:g}, {worst['classifier']}); in {differing} of "
            f"{len(self.cells)} comparisons a certified accuracy differs, by at most {most:.2g} "
            "points"
        )


def _changed(row: Mapping[str, Any]) -> Cell:
    low, share, high = (100 * row[name] for name in ("low", "share", "high"))
    return Cell(f"{row['changed']:,} ({share:.3f}%, {low:.3f} to {high:.3f})")


def _differing(cells: pd.DataFrame | None) -> list[Cell]:
    if cells is None:
        return [Cell("none in reach"), Cell("")]
    differing, most = (cells["points"] != 0).sum(), cells["points"].abs().max()
    return [Cell(f"{differing} of {len(cells)}"), Cell(f"{most:.1f}")]


def measure(
    name: str,
    study: Study,
    findings: Findings,
    options: argparse.Namespace,
    device: torch.device,
) -> None:
    """Run an experiment in every way, and compare each with the first ones, the references.

    These are the first way of all, and the first of each precision.
    """
    try:
        trained = Trained(study, name, options.weights, options.data)
    except (OSError, ValueError) as error:
        findings.leave_out(name, error)
        return
    for model, path in trained.missing.items():
        findings.leave_out(f"{name}: {model}", f"no weights at {path}")
    settings = trained.settings
    images = min(options.images, settings.images, len(trained.pack.images))
    batch_size = options.batch_size or settings.batch_size
    n = min(options.samples, settings.n)
    noisy = {sigma: trained.samples(sigma, images, n) for sigma in settings.sigmas}
    drawn = {"images": images, "n0": trained.n0(n), "n": n, "alpha": settings.alpha}

    def run(way: Variant) -> dict[float, Answers]:
        started = time.perf_counter()
        answers = {
            sigma: samples.answers(*trained.networks(sigma), way, device)
            for sigma, samples in noisy.items()
        }
        seconds = time.perf_counter() - started
        facts = {"experiment": name, **asdict(way), **drawn, "seconds": round(seconds, 3)}
        findings.ran.append(facts)
        print(f"{name}: {way}: {seconds:.1f} s", flush=True)
        return answers

    references: dict[Variant, dict[float, Answers]] = {}
    for way in variants(BLOCK if batch_size == "auto" else batch_size, device):
        what = f"{name}: {way}"
        if way.compiled and device.type == "cpu" and not options.compiled:
            findings.leave_out(what, "certification compiles on GPUs alone; --compiled tries it")
            continue
        try:
            answers = run(way)
        except FAULTS as error:
            findings.leave_out(what, error)
            if not references:
                return
            continue
        for reference, expected in references.items():
            about = {"experiment": name, "reference": str(reference), "variant": str(way)}
            for sigma, samples in noisy.items():
                at = about | asdict(way) | {"sigma": sigma}
                pair = expected[sigma], answers[sigma]
                changed = samples.compare(*pair)
                cells = samples.compare_certified(*pair, trained.radii(sigma), settings.alpha)
                findings.add(at, changed, cells)
        if way.precision not in {reference.precision for reference in references}:
            references[way] = answers
        findings.facts["files"] |= trained.hashes
        findings.write()


def pairs(texts: list[str]) -> dict[str, str]:
    """Read NAME=FILE, once or more."""
    if wrong := [text for text in texts if not all(text.partition("="))]:
        sys.exit(f"error: {wrong[0]!r} is not of the form NAME=FILE")
    return {name: file for name, _, file in (text.partition("=") for text in texts)}


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of at least 1")
    return int(text)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", help="by default the one config/config.yaml names")
    parser.add_argument("--experiments", nargs="+", metavar="NAME", help="by default all")
    parser.add_argument("--images", type=positive, default=100)
    parser.add_argument("--samples", type=positive, default=100,
                        help="estimation samples of an image; a tenth more select")  # fmt: skip
    parser.add_argument("--batch-size", type=positive, help="by default the experiment's")
    parser.add_argument("--compiled", action="store_true",
                        help="compile on a CPU, too, which takes minutes")  # fmt: skip
    parser.add_argument("--weights", nargs="+", default=[], metavar="MODEL=FILE",
                        help="in place of the study's results")  # fmt: skip
    parser.add_argument("--data", nargs="+", default=[], metavar="DATASET=FILE",
                        help="prepared images (.npz) in place of the study's")  # fmt: skip
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=positive, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, help="by default results/STUDY/decisions")
    options = parser.parse_args()
    options.weights, options.data = pairs(options.weights), pairs(options.data)
    return options


def main() -> None:
    """Measure the experiments, print and write what came out."""
    options = parse()
    study = open_study(options.study)
    chosen = options.experiments or list(study.experiments)
    models = [name.partition("/")[0] for name in options.weights]
    for known, names in (
        (study.experiments, chosen),
        (study.models, models),
        (study.datasets, options.data),
    ):
        if unknown := [name for name in names if name not in known]:
            sys.exit(f"error: {study.name} has no {unknown[0]}; allowed: {', '.join(known)}")
    try:
        device = prepare_device(options.device, options.threads)
    except ValueError as error:
        sys.exit(f"error: {error}")
    folder = options.output or Path(Paths(study).results, "decisions")
    about = {"study": study.name, "device": device_name(device), "torch": torch.__version__}
    findings = Findings(folder, about | {"seed": study.seed, "files": {}})
    try:
        folder.mkdir(parents=True, exist_ok=True)  # before the work, in case it cannot be made
        for name in chosen:
            measure(name, study, findings, options, device)
            findings.write()
    except OSError as error:
        sys.exit(f"error: {error}; what is in {folder} stays")
    if findings.samples.empty:
        sys.exit("error: nothing could be measured; the lines above say why")
    print(f"\n{to_text(findings.sheets(), findings.caption)}")
    print(f"decisions: {findings.summary}; see {folder}")


if __name__ == "__main__":
    main()
