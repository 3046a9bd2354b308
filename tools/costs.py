"""Say what a study takes before it is run, without a GPU: `make costs`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from project import ROOT, open_study

# isort: split
from paper.costs import (
    CPU_CORE,
    ESTIMATED_PLANS,
    GPUS,
    START_SECONDS,
    Estimate,
    Gpu,
    Rate,
    attack_hours,
    estimate,
    read_rates,
    training_hours,
)
from paper.quantities import duration, metric
from study.checks import needed_models
from study.load import like_of, shipped_studies
from study.paths import RATES
from study.study import Study


def table(study: Study, estimates: list[Estimate]) -> str:
    """Lay estimates out, an experiment a line, with a line of totals."""
    plans = list(dict.fromkeys([*ESTIMATED_PLANS, *(one.chosen for one in estimates)]))
    header = (
        f"{'experiment':<24}{'images':>8}{'samples':>10}{'PFLOP':>10}{'shards':>8}{'h/shard':>9}"
        f"  {'precision':<11}{'unshared':>10}"
        + "".join(f"{Path(plan).stem:>12.11}" for plan in plans)
    )
    lines = [f"{'':<80}GPU-hours", header]
    for one in estimates:
        lines.append(
            f"{one.experiment:<24}{one.images:>8,}{metric(one.expected_samples[one.chosen]):>10}"
            f"{one.expected_flops[one.chosen] / 1e15:>10,.3g}{one.shards:>8,}"
            f"{one.hours_a_shard:>9.2g}  {study.experiments[one.experiment].precision:<11}"
            f"{one.gpu_hours_unshared:>10,.4g}"
            + "".join(f"{hours(one, plan):>12}" for plan in plans)
            + f" {basis(one)}"
        )
    lines.append(
        f"{'total':<24}{'':>8}{metric(sum(e.expected_samples[e.chosen] for e in estimates)):>10}"
        f"{sum(e.expected_flops[e.chosen] for e in estimates) / 1e15:>10,.3g}"
        f"{sum(e.shards for e in estimates):>8,}{'':>22}"
        f"{sum(e.gpu_hours_unshared for e in estimates):>10,.4g}"
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


def basis(one: Estimate) -> str:
    """Say how much of an estimate's hours rests on measured rates."""
    share = f"{one.measured:.0%}"
    return {"100%": "measured", "0%": "assumed"}.get(share, f"{share} measured")


def beside(
    of_studies: Iterable[tuple[Study, list[Estimate]]], gpu: Gpu, rates: Sequence[Rate]
) -> str:
    """Lay studies out beside each other, with their estimates, a study a line."""
    heads = (
        f"{'samples':>8}{'shards':>8}{'GPU-hours':>11}{'starts':>8}"
        f"{'attacks':>9}{'training':>10}{'all':>10}"
    )
    rows = [("study", "plan", "precision", heads)]
    for study, estimates in of_studies:
        of_sampling = sum(one.expected[one.chosen] for one in estimates)
        of_starts = sum(one.start_hours for one in estimates)
        of_attacks, of_training = attack_hours(study, gpu, rates), training_hours(study, gpu, rates)
        plans, precisions = (
            ", ".join(dict.fromkeys(getattr(e, key) for e in study.experiments.values()))
            for key in ("plan", "precision")
        )
        numbers = (
            f"{metric(sum(one.expected_samples[one.chosen] for one in estimates)):>8}"
            f"{sum(one.shards for one in estimates):>8,}{of_sampling:>11,.4g}{of_starts:>8,.2g}"
            f"{of_attacks:>9,.2g}{of_training:>10,.2g}"
            f"{of_sampling + of_starts + of_attacks + of_training:>10,.4g}"
        )
        rows.append((study.name, plans, precisions, numbers))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        for row in rows
    )


def sampled_part(study: Study) -> Study:
    """Return a study without the experiments whose votes are in deposits, their models, attacks."""
    experiments = {name: study.experiments[name] for name in study.sampled}
    attacks = {name: study.attacks[name] for name in study.attacked}
    part = study.model_copy(update={"experiments": experiments, "attacks": attacks})
    models = {name: study.models[name] for name in needed_models(part)}
    return part.model_copy(update={"models": models})


def relatives(study: Study) -> Iterator[Study]:
    """Yield the studies that ship and are like a study, or that it is like."""
    like = {name: like_of(name, ROOT) for name in shipped_studies(ROOT)}
    for name, other in like.items():
        if name != study.name and (other == study.name or like.get(study.name) == name):
            yield open_study(name)


def environment_bytes() -> int:
    """Return what this environment takes on disk; what conda makes of envs/ takes as much."""
    folder = Path(sys.prefix)
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", help="by default the one config/config.yaml names")
    parser.add_argument("--deposit", help="that it takes votes from (docs/deposits.md)")
    parser.add_argument("--gpu", choices=GPUS, default="a100-paper",
                        help="the kind that it will run on")  # fmt: skip
    parser.add_argument("--tflops", type=float,
                        help="of the GPU on these networks, as bench.py measures it")  # fmt: skip
    return parser.parse_args(arguments)


def main() -> None:
    """Estimate the study and print the table."""
    arguments = parse()
    study, name = open_study(arguments.study, arguments.deposit), arguments.gpu
    if taken := ", ".join(study.deposited):
        print(f"votes from deposits, without a GPU: {taken}\n")
    if not study.sampled:
        print(f"costs: {study.name} takes minutes of a CPU, for none of its votes is drawn")
        return
    study = sampled_part(study)
    try:
        gpu, rates = GPUS[name], [r for r in read_rates(ROOT / RATES) if r.gpu == name]
        if arguments.tflops is not None:
            name, rates = "that GPU", []
            gpu = Gpu.of_rate(arguments.tflops * 1e12, "given")
        estimates = estimate(study, gpu, rates)
    except ValueError as error:
        sys.exit(f"error: {error}")
    except ModuleNotFoundError as error:  # in an environment for deposits: TORCH=none
        sys.exit(f"error: {error.name} is needed to count operations; make clean, then make costs")
    print(table(study, estimates))
    rest = f"else {gpu.source}" if rates else gpu.source
    print(
        f"""
GPU-hours of {name}: {f"measured where {RATES} has rates, " if rates else ""}{rest}.
unshared: every classifier denoises for itself, n samples of every image. * marks the
plan that the experiment asks for, of which samples, PFLOP and h/shard are; those that
stop early are simulated on images as certain as those of the paper's Tables 2 and 4b, on
the radii of the experiment. A shard takes {START_SECONDS:g} s to start, which h/shard has in it."""
    )
    others = [(other, estimate(other, gpu, rates)) for other in relatives(study)]
    print(f"\n{beside([(study, estimates), *others], gpu, rates)}\n")
    print("starts: of all shards; attacks: at most, if every image withstands them; training: of")
    print("the study's own models.")
    counts, software = sum(one.disk_bytes for one in estimates), environment_bytes()
    print(f"disk: {counts / 1e9:.2g} GB of counts, beside {software / 1e9:.2g} GB of software")
    total = sum(one.hours for one in estimates)
    starts = sum(one.start_hours for one in estimates) * 3600
    core = sum(one.expected_flops[one.chosen] for one in estimates) / CPU_CORE + starts
    print(
        f"costs: certifying {study.name} takes about {duration(total * 3600)} of one {name}, "
        f"or {duration(core)} of one CPU core, starts included, as it stands; attacks and training "
        "come on top"
    )


if __name__ == "__main__":
    main()
