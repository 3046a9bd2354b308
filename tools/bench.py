"""Measure certification against the plain way of Figure 1, side by side: `make bench`.

Both ways run the same networks with random weights, in one process, in turn, on
batches of the same size; medians of several repeats are reported. The plain way is
what Figure 1 says and no more: float32, one image a batch, PyTorch as it comes.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import yaml
from torch import nn

from project import ROOT

# isort: split
from dds.files import write_json
from dds.networks.registry import build_classifier, build_denoiser
from dds.sampling.kernels import matmul_rate, wait_for
from dds.sampling.smoothing import SmoothedClassifier
from dds.statistics.plans.fixed import Fixed
from jobs.device import device_name, prepare_device
from paper.costs import classifier_flops, denoiser_flops

#: Denoiser, classifier, image, batch size on a CPU and a GPU, and batches in a repeat.
PAIRS = {
    "digits": ("digits_unet", "digits_vit", (1, 8, 8), {"cpu": 1000, "cuda": 4096}, 8),
    "cifar10": ("cifar10_unet", "cifar10_vit", (3, 32, 32), {"cpu": 16, "cuda": 1000}, 6),
    "imagenet": ("imagenet_unet", "imagenet_beit", (3, 224, 224), {"cpu": 1, "cuda": 32}, 2),
}
SIGMA = 0.5
PACKAGES = ("torch", "timm", "transformers", "guided-diffusion-sdk", "numpy")


class PlainCertifier:
    """Figure 1, line by line: noise, timestep, denoise, classify, count."""

    def __init__(self, denoiser, classifier, device) -> None:
        self.denoiser, self.classifier, self.device = denoiser, classifier, device
        self.start = denoiser.schedule.timestep(SIGMA, "authors")

    @torch.no_grad()
    def count(self, image: torch.Tensor, samples: int, batch_size: int, classes: int) -> np.ndarray:
        """Return the class counts of noisy copies of one image."""
        counts = np.zeros(classes, np.int64)
        while samples > 0:
            size = min(batch_size, samples)
            samples -= size
            batch = image.repeat(size, 1, 1, 1)
            x = batch + self.start.noise_sigma * torch.randn_like(batch)
            x = (2 * x - 1) * self.start.alpha_bar**0.5
            logits = self.classifier(self.denoise(x))
            counts += np.bincount(logits.argmax(1).cpu().numpy(), minlength=classes)
        return counts

    def denoise(self, x: torch.Tensor) -> torch.Tensor:
        """Predict the clean images, in [0,1], from scaled noisy ones."""
        time = torch.tensor([self.denoiser.schedule.network_time(self.start.t)] * len(x))
        noise = self.denoiser.network(x, time.to(self.device))[:, : x.shape[1]]
        clean = x - (1 - self.start.alpha_bar) ** 0.5 * noise
        return ((clean / self.start.alpha_bar**0.5).clamp(-1, 1) + 1) / 2


class OfficialCertifier:
    """The classes of a checkout of ethz-spylab/diffusion_denoised_smoothing, on our weights."""

    def __init__(self, folder: Path, denoiser, classifier, classes: int, device) -> None:
        if not (folder / "DRM.py").exists():
            sys.exit(f"error: --official: no file {folder / 'DRM.py'}")
        self.device = device
        with self._as_they_expect(), mock.patch.object(sys, "path", [str(folder), *sys.path]):
            theirs, core = importlib.import_module("DRM"), importlib.import_module("core")
            arguments = theirs.args_to_dict(
                theirs.Args(), theirs.model_and_diffusion_defaults().keys()
            )
            model = theirs.DiffusionRobustModel.__new__(theirs.DiffusionRobustModel)
            nn.Module.__init__(model)
            model.model, model.diffusion = theirs.create_model_and_diffusion(**arguments)
            model.model.load_state_dict(denoiser.network.state_dict())
            model.model.eval().to(device)
            model.classifier = classifier.network
        t = int(denoiser.schedule.timestep(SIGMA, "authors").t)
        self.smooth = core.Smooth(model, classes, SIGMA, t)

    def count(self, image: torch.Tensor, samples: int, batch_size: int, classes: int) -> np.ndarray:
        """Return the class counts of noisy copies of one image."""
        with self._as_they_expect(), torch.no_grad():
            return self.smooth._sample_noise(image, samples, batch_size)

    @contextlib.contextmanager
    def _as_they_expect(self) -> Iterator[None]:
        """Stand in for a GPU where there is none, and for statistics that no sample needs."""
        import scipy.stats

        with contextlib.ExitStack() as stack:
            names = ("statsmodels", "statsmodels.stats", "statsmodels.stats.proportion")
            stack.enter_context(
                mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in names})
            )
            stack.enter_context(mock.patch.object(scipy.stats, "binom_test", None, create=True))
            if self.device.type == "cpu":
                for kind in (torch.Tensor, nn.Module):
                    stack.enter_context(mock.patch.object(kind, "cuda", lambda self: self))
            yield


def read_entries(*names: str) -> list[dict]:
    """Return entries of the model registry."""
    registry = yaml.safe_load((ROOT / "config" / "models.yaml").read_text("utf-8"))
    entries = [registry[name] for name in names]
    for entry in entries:
        if isinstance(entry.get("classes"), str):
            entry["classes"] = (ROOT / entry["classes"]).read_text("utf-8").splitlines()
    return entries


def build_pair(denoiser_entry: dict, classifier_entry: dict, device: torch.device):
    """Return a denoiser and a classifier with random weights, no layer of them all zero."""
    torch.manual_seed(0)
    denoiser, classifier = build_denoiser(denoiser_entry), build_classifier(classifier_entry)
    for parameter in denoiser.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return denoiser.to(device).eval(), classifier.to(device).eval()


def as_published(denoiser):
    """Return a denoiser with the modules its network's own library comes with."""
    from guided_diffusion.nn import GroupNorm32
    from guided_diffusion.unet import AttentionBlock, QKVAttentionLegacy

    plain = copy.deepcopy(denoiser)
    for module in plain.modules():
        if isinstance(module, AttentionBlock):
            module.attention = QKVAttentionLegacy(module.num_heads)
        elif isinstance(module, nn.GroupNorm):
            module.__class__ = GroupNorm32
    return plain


def measure(ways: dict[str, Callable[[], None]], device, repeats: int):
    """Run every way in turn; return medians of seconds, and peaks of memory in bytes."""
    seconds, peaks = {name: [] for name in ways}, dict.fromkeys(ways, 0)
    for repeat in range(repeats + 1):
        for name, run in ways.items():
            reset_peak_memory(device)
            started = time.perf_counter()
            run()
            wait_for(device)
            if repeat:  # the first warms up
                seconds[name].append(time.perf_counter() - started)
            peaks[name] = max(peaks[name], peak_memory(device))
    return {name: statistics.median(times) for name, times in seconds.items()}, peaks


def reset_peak_memory(device: torch.device) -> None:
    """Forget the highest use of memory so far, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int:
    """Return the highest use of memory in bytes: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if "VmHWM" in line)


def bench(pair: str, arguments: argparse.Namespace, device: torch.device) -> dict:
    """Measure one pair and return its record."""
    *names, shape, batch_sizes, batches = PAIRS[pair]
    entries = read_entries(*names)
    denoiser, classifier = build_pair(*entries, device)
    classes = len(entries[1]["classes"])
    image = torch.rand(shape)
    plain = PlainCertifier(as_published(denoiser), classifier, device)
    batch_size = arguments.batch_size or batch_sizes[device.type]
    on_device, n = image.to(device), batches * batch_size
    ours = SmoothedClassifier(
        {"classifier": classifier}, denoiser, SIGMA, Fixed(batch_size, n - batch_size), 0,
        batch_size=batch_size, precision=arguments.precision, device=device,
        compiled=device.type == "cuda",  # as long work is, however short this is
    )  # fmt: skip
    ways = {
        "reference": lambda: plain.count(on_device, n, batch_size, classes),
        "ours": lambda: ours.count_votes(image[None].numpy(), [None], [0], classes=classes),
    }
    if arguments.official and pair != "digits":
        folder = arguments.official / pair
        theirs = OfficialCertifier(folder, denoiser, classifier, classes, device)
        ways["official"] = lambda: theirs.count(on_device, n, batch_size, classes)
    seconds, peaks = measure(ways, device, arguments.repeats)
    per_second = {name: n / taken for name, taken in seconds.items()}
    flops = denoiser_flops(entries[0], shape) + classifier_flops(entries[1], shape)
    matmul = matmul_rate(ours.precision, device)
    record = {
        "pair": pair,
        "device": device_name(device),
        "precision": ours.precision,
        "reference_per_s": per_second["reference"],
        "ours_per_s": per_second["ours"],
        "ratio": per_second["ours"] / per_second["reference"],
        "matmul_flops": matmul,
        "mfu": per_second["ours"] * flops / matmul,
        "flops_per_sample": flops,
        "ours_flops": per_second["ours"] * flops,
        "reference_flops": per_second["reference"] * flops,
        "reference_matmul_flops": plain_matmul_rate(device),
        "batch_size": ours.batch_size,
        "compiled": ours.runner.compiled,
        "samples": n,
        "repeats": arguments.repeats,
        "reference_peak_bytes": peaks["reference"],
        "ours_peak_bytes": peaks["ours"],
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
    }
    if "official" in ways:
        record |= {
            "official_per_s": per_second["official"],
            "ratio_to_official": per_second["ours"] / per_second["official"],
        }
    return record


def plain_matmul_rate(device: torch.device, size: int = 2048) -> float:
    """Return the float32 rate, in FLOP/s, of matrix products as PyTorch comes."""
    factor = torch.randn(size, size, device=device)
    seconds, _ = measure({"matmul": lambda: factor @ factor}, device, 3)
    return 2 * size**3 / seconds["matmul"]


def report(record: dict) -> str:
    """Describe a record in a few lines."""
    lines = [
        f"{record['pair']} on {record['device']}, batches of {record['batch_size']}",
        f"  reference (float32)  {record['reference_per_s']:10.3f} samples/s"
        f"  {record['reference_flops'] / 1e9:8.0f} GFLOP/s"
        f"  {record['reference_peak_bytes'] / 2**30:6.2f} GiB",
        f"  ours ({record['precision']})".ljust(23)
        + f"{record['ours_per_s']:10.3f} samples/s"
        + f"  {record['ours_flops'] / 1e9:8.0f} GFLOP/s"
        + f"  {record['ours_peak_bytes'] / 2**30:6.2f} GiB",
    ]
    if "official_per_s" in record:
        lines.append(
            f"  authors' classes     {record['official_per_s']:10.3f} samples/s"
            f"  ours is {record['ratio_to_official']:.2f} times as fast"
        )
    lines.append(
        f"  ratio {record['ratio']:.2f}; {record['mfu']:.0%} of the machine's matrix product rate,"
        f" {record['matmul_flops'] / 1e9:.0f} GFLOP/s in {record['precision']}"
    )
    return "\n".join(lines)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS),
                        help="imagenet takes two minutes on a CPU, and 8 GB")  # fmt: skip
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, help="of every pair, on both ways")
    parser.add_argument("--official", type=Path, metavar="FOLDER",
                        help="checkout of the authors' code, to time as well")  # fmt: skip
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "bench")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure the pairs, print and write what came out."""
    arguments = parse()
    try:
        device = prepare_device(arguments.device, arguments.threads)
    except ValueError as error:
        sys.exit(f"error: {error}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    ratios = []
    for pair in arguments.pairs:
        record = bench(pair, arguments, device)
        path = arguments.output / f"{pair}.json"
        write_json(path, record)
        print(report(record), flush=True)
        ratios.append(f"{pair} {record['ratio']:.2f}")
    print(f"bench: times as fast as the plain way: {', '.join(ratios)}; see {arguments.output}")


if __name__ == "__main__":
    main()
