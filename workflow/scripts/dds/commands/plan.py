"""Say what a certification can reach and what it costs, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from dds.commands.models import (
    default_device,
    find_classifier,
    find_denoiser,
    model_options,
    running_options,
)
from dds.commands.running import (
    PATH,
    Command,
    channels_option,
    how_many,
    print_table,
    radii_option,
    size_option,
)
from dds.statistics.reach import down, largest_radius, samples_needed

if TYPE_CHECKING:
    import numpy as np

    from dds.statistics.plans import Plan

#: Shares of its samples in which an image gets its class, for which samples are told.
_SHARES = (0.5, 0.7, 0.9, 0.99, 0.999)
#: Batches that a rate is measured on, after a first one that is slower.
_BATCHES = 5
#: Courses that are simulated of an image, and of images of earlier results.
_COURSES, _IMAGES = 20, 500


@click.command(
    cls=Command,
    example="plan --sigma 0.5 --n 10000 --radii 0.5 1 1.5 --images 500 --rate 800",
)
@click.option("--sigma", type=float, required=True, help="Noise level in [0,1] pixel units.")
@click.option("--n0", type=int, default=100, show_default=True, help="Samples that pick a class.")
@click.option(
    "--n", type=int, default=10_000, show_default=True, help="Samples that bound its probability."
)
@click.option(
    "--alpha", type=float, default=0.001, show_default=True, help="Error of each certificate."
)
@radii_option(help="Radii of interest in [0,1] pixel units.")
@click.option("--images", type=click.IntRange(min=1), default=1, help="How many images.")
@click.option(
    "--rate",
    type=float,
    help="Samples a second, for the time; with --classifier and --size it is measured.",
)
@click.option(
    "--like",
    type=PATH,
    help="Results, certificates or a log of images like yours, for the samples to expect.",
)
@model_options(required=False)
@size_option
@channels_option
@running_options
def plan(
    sigma: float,
    n0: int,
    n: int,
    alpha: float,
    radii: Sequence[float],
    images: int,
    rate: float | None,
    like: Path | None,
    **measured: Any,
) -> None:
    """Tell which radii can be reached, and what it takes.

    Prints the largest radius that n samples can certify; the fewest samples that each radius
    needs, and how many of n must be of one class; and how many samples an image takes on average
    under each sampling plan: one that gets its class in 50, 70, ... percent of them, or images
    like those that --like has certified with the right class.
    """
    _check(sigma, n0, n, alpha, radii, rate)
    if rate is None and measured["classifier"] is not None:
        rate = _measure(sigma, **measured)
    reached = largest_radius(n, alpha, sigma)
    click.echo(f"sigma {sigma:g}, n0 = {n0:,}, n = {n:,}, alpha = {alpha:g}")
    if reached is None:
        click.echo(f"Largest radius: none; {n:,} samples certify no image, whatever they answer")
    else:
        click.echo(f"Largest radius: {down(reached)}")
    click.echo()
    print_table(
        ("radius", "fewest samples", "hits among n", ""),
        [_of_radius(radius, sigma, n, alpha) for radius in sorted(set(radii))],
    )
    click.echo()
    _print_samples(_plans(sigma, n0, n, alpha, radii), images, rate, _certainties(like, sigma))


def _measure(
    sigma: float,
    classifier: str,
    denoiser: str | None,
    classifier_weights: Path | None,
    denoiser_weights: Path | None,
    models: Path | None,
    size: int | None,
    channels: int,
    batch_size: int,
    precision: str,
    device: Sequence[str],
) -> float:
    """Measure how many samples a second networks take on one device, and print it."""
    import numpy as np

    from dds.front.asked import count_classes
    from dds.networks.denoisers import NoDenoiser
    from dds.sampling.smoothing import SmoothedClassifier
    from dds.statistics.plans.fixed import Fixed

    if size is None:
        raise ValueError(
            "--classifier is for measuring the rate, which needs --size, or give --rate"
        )
    network = find_classifier(
        classifier, classifier_weights, models, sigma=sigma, channels=channels
    )
    before = find_denoiser(denoiser, denoiser_weights, models, channels=channels) or NoDenoiser()
    image = np.full((1, channels, size, size), 0.5, np.float32)
    classes = count_classes(network, image, "cpu")
    on = (list(device) or [default_device()])[0]
    smoothed = SmoothedClassifier(
        {"classifier": network}, before, sigma, Fixed(batch_size, _BATCHES * batch_size), 0,
        batch_size=batch_size, precision=precision, device=on,
    )  # fmt: skip
    times = []
    smoothed.count_votes(
        image, [None], [0], classes=classes, after_batch=lambda votes: times.append(monotonic())
    )
    rate = batch_size * (len(times) - 1) / (times[-1] - times[0])
    click.echo(f"Measured on {on}: {rate:,.4g} samples a second")
    return rate


def _check(
    sigma: float, n0: int, n: int, alpha: float, radii: Sequence[float], rate: float | None
) -> None:
    """Check ranges before arithmetic trips over them."""
    from dds.keys import LARGEST_SIGMA
    from dds.statistics.plans._checks import check_samples

    if not 0 < sigma <= LARGEST_SIGMA:
        raise ValueError(
            f"--sigma must be above 0 and at most {LARGEST_SIGMA:g} in [0,1] pixel units, not "
            f"{sigma:g}; divide one for pixels of 0 to 255 by 255"
        )
    check_samples(n0, n)
    if not 0 < alpha < 1:
        raise ValueError(f"--alpha must lie between 0 and 1, both excluded, not {alpha:g}")
    for radius in radii:
        if not 0 <= radius < math.inf:
            raise ValueError(f"--radii must be numbers of at least 0, not {radius:g}")
    if rate is not None and not 0 < rate < math.inf:
        raise ValueError(f"--rate must be above 0, not {rate:g}")


def _of_radius(radius: float, sigma: float, n: int, alpha: float) -> tuple[str, str, str, str]:
    """Return the row of a radius: the fewest samples, and the successes among n."""
    from dds.statistics.bounds import successes_needed

    fewest = samples_needed(radius, alpha, sigma)
    if fewest is None:
        return f"{radius:g}", "-", "-", "out of reach at this sigma; take a larger one"
    if fewest > n:
        return f"{radius:g}", f"{fewest:,}", "-", f"out of reach; --n {fewest} reaches it"
    hits = int(successes_needed(radius, sigma, n, alpha))
    return f"{radius:g}", f"{fewest:,}", f"{hits:,}", f"{100 * hits / n:.2f}%"


def _plans(sigma: float, n0: int, n: int, alpha: float, radii: Sequence[float]) -> dict[str, Plan]:
    """Return the sampling plans, by name; those that look at radii get these."""
    from dds.statistics.plans import PLANS, make_plan

    settings = {"n0": n0, "n": n, "alpha": alpha, "radii": list(radii)}
    return {name: make_plan(settings | {"plan": name}, sigma) for name in PLANS.names}


def _print_samples(
    plans: dict[str, Plan], images: int, rate: float | None, columns: dict[str, np.ndarray]
) -> None:
    """Print the samples of an image by plan, and the time of all images."""
    rows = []
    for name, one in plans.items():
        drawn = [_mean_samples(one, shares) for shares in columns.values()]
        rows.append([name, *(f"{samples:,.0f}" for samples in drawn)])
        if rate is not None:
            total = (images * samples / rate for samples in drawn)
            rows.append([f"  {how_many(images, 'image')}", *map(_duration, total)])
    print_table(["samples of an image", *columns], rows)


def _certainties(like: Path | None, sigma: float) -> dict[str, np.ndarray]:
    """Return probabilities of images' classes to simulate, by what a column is called."""
    import numpy as np

    if like is None:
        return {f"at {100 * share:g}%": np.full(_COURSES, share) for share in _SHARES}
    from dds.commands.results import read_results

    found, _ = read_results([like])
    certified = found[found["correct"].fillna(False).astype(bool) & (found["radius"] > 0)]
    if certified.empty:
        raise ValueError(f"{like}: has no image that is certified and of the right class")
    margins = (certified["radius"] / certified["sigma"].fillna(sigma)).to_numpy(float)
    chosen = np.quantile(margins, (np.arange(_IMAGES) + 0.5) / _IMAGES)
    return {f"as in {like.name}": np.array([NormalDist().cdf(margin) for margin in chosen])}


def _mean_samples(plan: Plan, shares: np.ndarray) -> float:
    """Return how many samples, n0 included, images take on average that are certain like these."""
    import numpy as np

    from dds.statistics.plans import simulate

    random = np.random.default_rng(0)
    return plan.n0 + float(np.mean([simulate(plan, 0, share, random) for share in shares]))


def _duration(seconds: float) -> str:
    for most, size, unit in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < most:
            return f"{seconds / size:.{int(unit == 'h')}f} {unit}"
    return f"{seconds / 86_400:.1f} days"
