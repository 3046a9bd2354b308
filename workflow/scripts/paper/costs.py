"""What certifying a study takes, before anything is run: samples, FLOP, GPU-hours, disk.

Work is counted, by running each network once without weights or data; speed is
assumed, by a GPU's rate in `GPUS` or one given; samples saved by a sampling plan are
simulated on images as certain as the paper's (`MARGINS`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from dds.names import shard_names
from dds.networks.schedules import build_schedule

if TYPE_CHECKING:
    from dds.statistics.plans import Plan

#: Of bfloat16's dense peak, what a GPU is assumed to reach on these networks.
ASSUMED_UTILIZATION = 0.4


class Rate(NamedTuple):
    """How fast a GPU is on these networks.

    Attributes
    ----------
    flops : float
        FLOP/s reached.
    source : str
        Where the figure comes from.
    """

    flops: float
    source: str


def _assumed(peak: float) -> Rate:
    source = f"assumed: {ASSUMED_UTILIZATION:.0%} of {peak:g} TFLOP/s, the dense bfloat16 peak"
    return Rate(ASSUMED_UTILIZATION * peak * 1e12, source)


#: GPUs by name. Peaks are from the vendor's data sheets, without sparsity.
GPUS: dict[str, Rate] = {
    "a100-paper": Rate(825 * 51.9e9, "published: 825 CIFAR-10 images a second (section 4)"),
    "a100": _assumed(312),
    "a40": _assumed(149.7),
    "l40s": _assumed(362),
    "h100": _assumed(989),
    "h200": _assumed(989),
}

#: One core of a server processor, in float32.
CPU_CORE = Rate(34e9, "measured: certifying digits, docs/measurements.md")

#: The plans that every experiment is estimated under, whichever it asks for.
ESTIMATED_PLANS = ("fixed", "curtailed", "sequential")

#: Share of images, by sigma, whose class is right and has a certified radius of at least
#: 0, 1/2, 1, ... sigma: Table 2, interpolated; 4 sigma and more certify nobody.
MARGINS: dict[float, tuple[tuple[float, float], ...]] = {
    0.25: ((0, 0.828), (2, 0.711), (4, 0.0)),
    0.5: ((0, 0.771), (1, 0.678), (2, 0.543), (3, 0.381), (4, 0.0)),
    1.0: ((0, 0.6), (0.5, 0.5), (1, 0.42), (1.5, 0.355), (2, 0.295), (3, 0.131), (4, 0.0)),
}

#: The radii that plans decide where an experiment names none.
RADII = (0.0, 0.25, 0.5, 0.75, 1.0)

_SIMULATED_IMAGES = 300
_BYTES_A_COUNT, _BYTES_A_SHARD = 3, 12_000  # compressed parquet; its fixed part and provenance


@dataclass(frozen=True)
class Estimate:
    """What one experiment takes.

    Attributes
    ----------
    experiment : str
        Its name.
    images, sigmas, shards : int
        Images; noise levels; jobs over all of them.
    samples : int
        Noisy images to denoise under the fixed plan, over all sigmas.
    flops : float
        Floating point operations under the fixed plan, two a multiplication and addition.
    gpu_hours : float
        Under the fixed plan.
    hours_a_shard : float
        Of the longest, under the fixed plan.
    gpu_hours_unshared : float
        Under the fixed plan with every classifier denoising for itself.
    expected : dict of str to float
        GPU-hours under each of `ESTIMATED_PLANS`, and under the chosen one.
    chosen : str
        The plan that the experiment asks for.
    disk_bytes : int
        Of the counts, about.
    """

    experiment: str
    images: int
    sigmas: int
    shards: int
    samples: int
    flops: float
    gpu_hours: float
    hours_a_shard: float
    gpu_hours_unshared: float
    expected: dict[str, float]
    chosen: str
    disk_bytes: int


def estimate(study: Any, rate: float) -> list[Estimate]:
    """Estimate every experiment of a study.

    Parameters
    ----------
    study : Study
        Its ``datasets``, ``models`` and ``experiments``, by name, have the keys that
        config/README.md describes as attributes.
    rate : float
        FLOP/s of a GPU on these networks.

    Returns
    -------
    list of Estimate

    Raises
    ------
    ValueError
        If the rate is not positive.
    """
    if not rate > 0:
        raise ValueError(f"the rate must be above 0 FLOP/s, not {rate}")
    return [
        _estimate_experiment(name, settings, study, rate)
        for name, settings in study.experiments.items()
    ]


def _estimate_experiment(name: str, settings: Any, study: Any, rate: float) -> Estimate:
    classifiers = [study.models[key] for key in settings.classifiers]
    shape = image_shape(study.datasets[settings.dataset], classifiers[0])
    classifying = [classifier_flops(entry, shape) for entry in classifiers]
    denoising = [_denoising_flops(settings, study, shape, sigma) for sigma in settings.sigmas]
    per_sample = [one + sum(classifying) for one in denoising]
    unshared = [len(classifying) * one + sum(classifying) for one in denoising]
    images, sigmas, each = settings.images, len(settings.sigmas), settings.n0 + settings.n
    hours = {
        plan: _expected_flops(settings, plan, per_sample) / rate / 3600
        for plan in dict.fromkeys((*ESTIMATED_PLANS, settings.plan))
    }
    longest = min(images, settings.images_per_shard)
    shards = sigmas * len(shard_names(images, settings.images_per_shard))
    counts = images * sigmas * len(classifying) * 2 * len(classifiers[0].classes)
    return Estimate(
        experiment=name,
        images=images,
        sigmas=sigmas,
        shards=shards,
        samples=images * sigmas * each,
        flops=images * each * sum(per_sample),
        gpu_hours=hours["fixed"],
        hours_a_shard=longest * each * max(per_sample) / rate / 3600,
        gpu_hours_unshared=images * each * sum(unshared) / rate / 3600,
        expected=hours,
        chosen=settings.plan,
        disk_bytes=counts * _BYTES_A_COUNT + shards * _BYTES_A_SHARD,
    )


def _expected_flops(settings: Any, plan: str, per_sample: Sequence[float]) -> float:
    """Return the FLOP of an experiment as if its plan were of another kind."""
    return sum(
        settings.images * expected_samples(_plan(settings, plan, sigma), sigma) * flops
        for sigma, flops in zip(settings.sigmas, per_sample, strict=True)
    )


def image_shape(dataset: Any, classifier: Any) -> tuple[int, int, int]:
    """Return channels, height and width of a dataset's images, before any is read.

    Parameters
    ----------
    dataset : Dataset
        From the study. The size of images that are not cropped is not known and taken
        to be the one that the classifier wants.
    classifier : ClassifierKeys
        From the study's models.

    Returns
    -------
    tuple of int
    """
    from dds.data.sources import SOURCES

    images = SOURCES[dataset.source].images(dataset)
    height, width = images.size or (classifier.input.size, classifier.input.size)
    return images.channels, height, width


def expected_samples(plan: Plan, sigma: float) -> float:
    """Simulate how many samples of an image a plan draws on average, n0 included.

    Parameters
    ----------
    plan : Plan
        See `dds.statistics.plans`.
    sigma : float
        Noise level in [0,1] pixel units; the margins of the nearest in `MARGINS` serve.

    Returns
    -------
    float
        Over images whose certified radii are spread as `MARGINS` says. Those that
        cannot be certified at all count as misclassified.

    References
    ----------
    Carlini et al., "(Certified!!) Adversarial Robustness for Free!", ICLR 2023, Table 2.

    Examples
    --------
    >>> from dds.statistics.plans import make_plan
    >>> plan = make_plan({"plan": "fixed", "n0": 100, "n": 1000}, sigma=0.25)
    >>> expected_samples(plan, sigma=0.25)
    1100.0
    """
    import numpy as np
    from scipy.stats import norm

    from dds.statistics.plans import simulate

    margins = MARGINS[min(MARGINS, key=lambda known: abs(np.log(known / sigma)))]
    radii, shares = zip(*margins, strict=True)
    random = np.random.default_rng(0)
    drawn = 0
    for quantile in (np.arange(_SIMULATED_IMAGES) + 0.5) / _SIMULATED_IMAGES:
        if quantile > shares[0]:
            label, margin = 1, 0.5
        else:  # np.interp wants rising shares
            label, margin = 0, np.interp(quantile, shares[::-1], radii[::-1])
        drawn += plan.n0 + simulate(plan, label, norm.cdf(margin), random)
    return drawn / _SIMULATED_IMAGES


def _plan(settings: Any, kind: str, sigma: float) -> Plan:
    """Return the experiment's plan as if it were of another kind."""
    from dds.statistics.plans import PLANS, make_plan

    names = ("n0", "n", "alpha", *PLANS[kind].Keys.model_fields)
    given = {name: getattr(settings, name, None) for name in names}
    kept = {name: value for name, value in given.items() if value is not None}
    return make_plan({"plan": kind, "radii": RADII} | kept, sigma)


def _denoising_flops(settings: Any, study: Any, shape: Sequence[int], sigma: float) -> int:
    if settings.denoiser == "none":
        return 0
    entry, steps = study.models[settings.denoiser], settings.steps
    if steps == "all":  # from the timestep that matches sigma down to 0
        steps = int(build_schedule(**entry.schedule.model_dump()).timestep(sigma).t) + 1
    return steps * denoiser_flops(entry, shape)


def denoiser_flops(entry: Any, shape: Sequence[int]) -> int:
    """Count the FLOP of one pass of a denoiser's network over one image.

    Parameters
    ----------
    entry : DenoiserKeys or mapping
        What `dds.networks.registry.build_denoiser` takes.
    shape : sequence of int
        Channels, height and width of the image.

    Returns
    -------
    int
        Of matrix products and convolutions; two for a multiplication and its addition.
    """
    return _count(_Hashable("denoiser", entry), tuple(shape))


def classifier_flops(entry: Any, shape: Sequence[int]) -> int:
    """Count the FLOP of a classifier on one image.

    Parameters
    ----------
    entry : ClassifierKeys or mapping
        What `dds.networks.registry.build_classifier` takes.
    shape : sequence of int
        Channels, height and width of the image, before the classifier resizes it.

    Returns
    -------
    int
        As of `denoiser_flops`.
    """
    return _count(_Hashable("classifier", entry), tuple(shape))


class _Hashable:
    """A model's entry as a key of a cache: by what its network is built from."""

    def __init__(self, kind: str, entry: Any) -> None:
        self.kind, self.entry = kind, entry
        get = entry.get if isinstance(entry, Mapping) else partial(getattr, entry)
        built_from = ("network", "arguments", "input", "classes")
        self._key = (kind, repr([get(key, None) for key in built_from]))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hashable) and self._key == other._key


@lru_cache
def _count(key: _Hashable, shape: tuple[int, ...]) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from dds.networks.registry import build_classifier, build_denoiser

    with torch.device("meta"), torch.no_grad():
        image = torch.empty(1, *shape)
        if key.kind == "classifier":
            network, inputs = build_classifier(key.entry), (image,)
        else:
            network, inputs = build_denoiser(key.entry).network, (image, torch.empty(1))
        with FlopCounterMode(display=False) as counter:
            network.eval()(*inputs)
    return counter.get_total_flops()
