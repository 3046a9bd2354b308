"""How `make bench` measures a row: on one device, with random weights, by the clock on the wall.

Nothing here prints: a row's record is a dict that JSON can hold.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import platform
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from bench_plain import OfficialCertifier, PlainCertifier, as_published
from bench_rows import CEILINGS, DATA, PLAIN, Data, Row, Settings
from bench_timing import Stopwatch, arithmetic, peak_memory, repeat, reset_peak_memory
from project import ROOT

# isort: split
from dds.networks.denoisers import NoDenoiser
from dds.networks.registry import build_classifier, build_denoiser
from dds.networks.training import Recipe, denoised, train_classifier, train_denoiser
from dds.progress import Interrupted
from dds.sampling.kernels import matmul_rate, tf32
from dds.sampling.smoothing import SmoothedClassifier
from dds.statistics.plans.fixed import Fixed
from jobs.device import device_name, prepare_device
from paper.costs import network_flops

SIGMA = 0.5
PACKAGES = ("torch", "triton", "timm", "transformers", "guided-diffusion-sdk", "numpy")

#: Sides of the matrices whose product is timed. Small ones do not fill a GPU.
SIZES = {"cpu": (512, 1024, 2048), "cuda": (1024, 2048, 4096, 8192, 16384)}

#: For denoisers that the registry has no recipe for: of Nichol and Dhariwal (2021), with
#: batches of 256.
DENOISER_RECIPE = Recipe(
    iterations=500_000, batch_size=256, learning_rate=1e-4, ema=0.9999, precision="bfloat16"
)


def prepare(settings: Settings) -> torch.device:
    """Choose the device, and how many threads of a CPU."""
    return prepare_device(settings.device, settings.threads or torch.get_num_threads())


def measure_ceilings(settings: Settings) -> list[dict[str, Any]]:
    """Return the highest rate of matrix products of any size, a record a precision."""
    device = prepare(settings)
    records = []
    for kind in CEILINGS:
        if kind == "tf32" and device.type == "cpu":
            continue
        precision = "bfloat16" if kind == "bfloat16" else "float32"
        rates = {}
        with tf32(kind == "tf32", kind == "tf32"):
            for size in SIZES[device.type]:
                with contextlib.suppress(torch.OutOfMemoryError):
                    rates[size] = matmul_rate(precision, device, size, 2 * settings.repeats)
        best = max(rates, key=rates.get)
        records.append(
            {"row": f"ceiling/{kind}", "precision": kind, "batch_size": best, "compiled": False,
             "tflops": rates[best] / 1e12,
             "tflops_by_size": {size: rate / 1e12 for size, rate in rates.items()}}
            | circumstances(device)
        )  # fmt: skip
    _tidy(device)
    return records


def measure(row: Row, settings: Settings, ceilings: Mapping[str, float]) -> dict[str, Any]:
    """Measure a row and return its record.

    Parameters
    ----------
    row : Row
        What to measure.
    settings : Settings
        How.
    ceilings : mapping of str to float
        The highest rate of matrix products, in TFLOP/s, by what they are computed in.

    Returns
    -------
    dict
        With ``per_s``, items a second; ``flops_per_item``; ``tflops``, their product; and
        ``share``, of the ceiling of the row's precision.
    """
    device = prepare(settings)
    torch.manual_seed(0)
    reset_peak_memory(device)
    ways = {"network": _network, "pair": _pair, "train": _train}
    try:
        record = ways[row.kind](row, DATA[row.data], settings, device)
        peak = peak_memory(device)
    finally:
        _tidy(device)
    record = {"row": row.name, "models": list(row.models)} | record | circumstances(device)
    record["peak_bytes"] = peak
    record["tflops"] = record["per_s"] * record["flops_per_item"] / 1e12
    precision = "tf32" if "tf32" in record["precision"] else record["precision"]
    record["ceiling_tflops"] = ceilings[precision]
    record["share"] = record["tflops"] / record["ceiling_tflops"]
    return record


def _network(row: Row, data: Data, settings: Settings, device: torch.device) -> dict[str, Any]:
    """Sample with one network alone: a denoiser before no classifier, or none before one."""
    (name,) = row.models
    entry = read_entry(name)
    if entry["kind"] == "denoiser":
        ours = smoothed(_denoiser(entry), _FirstPixels(), data, settings, device)
        return _sample(ours, data, network_flops(entry, data.shape), 10, settings, device)
    ours = smoothed(NoDenoiser(), build_classifier(entry), data, settings, device)
    classes = len(entry["classes"])
    return _sample(ours, data, network_flops(entry, data.shape), classes, settings, device)


def _pair(row: Row, data: Data, settings: Settings, device: torch.device) -> dict[str, Any]:
    """Certify with a denoiser and a classifier: as we do, the plain way, as the authors do."""
    denoiser, classifier, flops, classes = build_pair(data)
    if row.way == "ours":
        ours = smoothed(denoiser, classifier, data, settings, device)
        return _sample(ours, data, flops, classes, settings, device)
    denoiser, classifier = denoiser.to(device).eval(), classifier.to(device).eval()
    allowed = PLAIN.get(row.way, PLAIN["plain_default"])
    if row.way == "official":
        folder = Path(settings.official) / row.data
        certifier = OfficialCertifier(folder, denoiser, classifier, classes, SIGMA, device)
    else:
        certifier = PlainCertifier(as_published(denoiser), as_published(classifier), SIGMA, device)
    image, size = torch.rand(data.shape, device=device), _batch_size(data, settings, device)
    with tf32(*allowed):
        seconds = repeat(lambda: certifier.count(image, size, size, classes), settings, device)
        precision = arithmetic("float32", device)
    return {"precision": precision, "batch_size": size, "compiled": False,
            "flops_per_item": flops, "per_s": size / seconds}  # fmt: skip


def _train(row: Row, data: Data, settings: Settings, device: torch.device) -> dict[str, Any]:
    """Train or fine-tune through the library's own loop; a step is three passes forward."""
    (name,) = row.models
    entry = read_entry(name)
    recipe = _recipe(entry)
    size = settings.batch_size or min(recipe.batch_size, data.batch_size[device.type])
    recipe = dataclasses.replace(recipe, batch_size=size)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (data.training_images, *data.shape), np.uint8)
    watch = Stopwatch(settings, device)
    how = {"recipe": recipe, "seed": 0, "label": name, "device": device, "resume": watch}
    with contextlib.suppress(Interrupted):
        if entry["kind"] == "denoiser":
            flops = 3 * network_flops(entry, data.shape)
            denoiser = build_denoiser(entry)
            network = denoiser.network
            train_denoiser(denoiser, images, **how)
        else:
            flops, corruption = 3 * network_flops(entry, data.shape), None
            if before := entry["weights"].get("finetune", {}).get("denoiser"):
                before = read_entry(before)
                flops += network_flops(before, data.shape)
                corruption = denoised(_denoiser(before).to(device).eval(), SIGMA)
            labels = random.integers(0, len(entry["classes"]), len(images))
            classifier = build_classifier(entry)
            network = classifier.network
            train_classifier(classifier, images, labels, corruption=corruption, **how)
    precision = arithmetic(recipe.precision, device)
    compiled = network._compiled_call_impl is not None  # training was cut, so it still is
    return {"precision": precision, "batch_size": size, "compiled": compiled,
            "flops_per_item": flops, "per_s": size * watch.iterations / watch.seconds}  # fmt: skip


def _sample(
    ours: SmoothedClassifier,
    data: Data,
    flops: int,
    classes: int,
    settings: Settings,
    device: torch.device,
) -> dict[str, Any]:
    """Count the votes of one image's samples, several batches a time."""
    n, image = ours.plan.n0 + ours.plan.n, np.random.default_rng(0).random(data.shape)

    def count() -> None:
        ours.count_votes(image[None], [None], [0], classes=classes)

    seconds = repeat(count, settings, device)
    return {"precision": arithmetic(ours.precision, device), "batch_size": ours.batch_size,
            "compiled": ours.runner.compiled, "flops_per_item": flops,
            "per_s": n / seconds}  # fmt: skip


def smoothed(
    denoiser: Any, classifier: nn.Module, data: Data, settings: Settings, device: torch.device
) -> SmoothedClassifier:
    """Return the smoothed classifier that draws several batches of samples of an image.

    Its networks are compiled on a GPU however few these are: a study's shards have more to do.
    """
    size = _batch_size(data, settings, device)
    plan = Fixed(size, (data.batches[device.type] - 1) * size)
    return SmoothedClassifier(
        {"classifier": classifier}, denoiser, SIGMA, plan, 0,
        batch_size=size, precision=settings.precision, device=device,
        compiled=device.type == "cuda",
    )  # fmt: skip


def build_pair(data: Data) -> tuple[nn.Module, nn.Module, int, int]:
    """Return a denoiser and a classifier, the FLOP of both on an image, and the classes."""
    before, after = map(read_entry, data.pair)
    flops = network_flops(before, data.shape) + network_flops(after, data.shape)
    return _denoiser(before), build_classifier(after), flops, len(after["classes"])


def read_entry(name: str) -> dict[str, Any]:
    """Return an entry of the model registry, whole."""
    registry = yaml.safe_load((ROOT / "config" / "models.yaml").read_text("utf-8"))
    entry = registry[name]
    entry = registry[entry["like"]] | entry if "like" in entry else entry
    if isinstance(entry.get("classes"), str):
        entry["classes"] = (ROOT / entry["classes"]).read_text("utf-8").splitlines()
    return entry


def _denoiser(entry: Mapping[str, Any]) -> nn.Module:
    """Return a denoiser with random weights, no layer of them all zero."""
    denoiser = build_denoiser(entry)
    for parameter in denoiser.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return denoiser


def _recipe(entry: Mapping[str, Any]) -> Recipe:
    (how,) = entry["weights"].values()
    if "iterations" not in how:
        return DENOISER_RECIPE
    fields = {field.name for field in dataclasses.fields(Recipe)}
    return Recipe(**{key: value for key, value in how.items() if key in fields})


def _batch_size(data: Data, settings: Settings, device: torch.device) -> int:
    return settings.batch_size or data.batch_size[device.type]


class _FirstPixels(nn.Module):
    """Takes the first pixels of an image for its logits: a classifier that costs nothing."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :10]


def _tidy(device: torch.device) -> None:
    """Give back what a row has left: programs, CUDA graphs, memory."""
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def circumstances(device: torch.device) -> dict[str, Any]:
    """Return what every record says: on what, with what and when it was measured."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "measured": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": versions,
    }
