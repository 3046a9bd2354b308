"""Say what a study takes before it is run, without a GPU: `make costs`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from project import open_study

# isort: split
from paper.costs import CPU_CORE, ESTIMATED_PLANS, GPUS, Estimate, estimate
from paper.quantities import duration


def table(estimates: list[Estimate]) -> str:
    """Lay estimates out, an experiment a line, with a line of totals."""
    plans = list(dict.fromkeys([*ESTIMATED_PLANS, *(one.chosen for one in estimates)]))
    header = (
        f"{'experiment':<24}{'images':>8}{'samples':>16}{'PFLOP':>12}{'shards':>8}"
        f"{'h/shard':>9}{'counts MB':>11}{'unshared':>12}"
        + "".join(f"{Path(plan).stem:>12.11}" for plan in plans)
    )
    lines = [f"{'':88}GPU-hours", header]
    for one in estimates:
        lines.append(
            f"{one.experiment:<24}{one.images:>8,}{one.samples:>16,}{one.flops / 1e15:>12,.3g}"
            f"{one.shards:>8,}{one.hours_a_shard:>9.3g}{one.disk_bytes / 1e6:>11.3g}"
            f"{one.gpu_hours_unshared:>12,.4g}"
            + "".join(f"{hours(one, plan):>12}" for plan in plans)
        )
    lines.append(
        f"{'total':<24}{'':>8}{sum(e.samples for e in estimates):>16,}"
        f"{sum(e.flops for e in estimates) / 1e15:>12,.3g}{sum(e.shards for e in estimates):>8,}"
        f"{'':>9}{sum(e.disk_bytes for e in estimates) / 1e6:>11.3g}"
        f"{sum(e.gpu_hours_unshared for e in estimates):>12,.4g}"
        + "".join(
            f"{sum(e.expected[plan] for e in estimates):>11,.4g} " for plan in ESTIMATED_PLANS
        )
    )
    return "\n".join(line.rstrip() for line in lines)


def hours(one: Estimate, plan: str) -> str:
    """Return what a plan takes, marked where it is the one asked for; nothing if not estimated."""
    if plan not in one.expected:
        return ""
    return f"{one.expected[plan]:,.4g}{'*' if plan == one.chosen else ' '}"


def environment_bytes() -> int:
    """Return what this environment takes on disk; what conda makes of envs/ takes as much."""
    folder = Path(sys.prefix)
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", help="by default the one config/config.yaml names")
    parser.add_argument("--gpu", choices=GPUS, default="a100-paper",
                        help="the kind that it will run on")  # fmt: skip
    parser.add_argument("--tflops", type=float,
                        help="of the GPU on these networks, as bench.py measures it")  # fmt: skip
    return parser.parse_args(arguments)


def main() -> None:
    """Estimate the study and print the table."""
    arguments = parse()
    rate, source = GPUS[arguments.gpu]
    if arguments.tflops is not None:
        rate, source = arguments.tflops * 1e12, "given"
    study = open_study(arguments.study)
    try:
        estimates = estimate(study, rate)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(table(estimates))
    print(
        f"""
GPU-hours at {rate / 1e12:.1f} TFLOP/s: {arguments.gpu}, {source}.
unshared: every classifier denoises for itself, n samples of every image. * marks the
plan that the experiment asks for; plans that stop early are simulated on images as
certain as those of the paper's Table 2, on the radii of the experiment."""
    )
    counts, software = sum(one.disk_bytes for one in estimates), environment_bytes()
    print(f"disk: {counts / 1e9:.2g} GB of counts, beside {software / 1e9:.2g} GB of software")
    total = sum(one.expected[one.chosen] for one in estimates)
    gpu = arguments.gpu if arguments.tflops is None else "that GPU"
    core = duration(total * 3600 * rate / CPU_CORE.flops)
    print(
        f"costs: certifying {study.name} takes about {duration(total * 3600)} of one {gpu}, "
        f"or {core} of one CPU core, as it stands; training comes on top"
    )


if __name__ == "__main__":
    main()
