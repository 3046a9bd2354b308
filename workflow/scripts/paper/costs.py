"""What certifying a study takes, before anything is run: samples, FLOP, GPU-hours, disk.

Work is counted, by running each network once without weights or data. Its speed is what
was measured of the same networks on the same kind of GPU (config/rates.csv), and assumed
for the rest (`GPUS`). Samples saved by a sampling plan are simulated on images as certain
as the paper's (`MARGINS`).
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dds.names import shard_names
from dds.seeds import BLOCK

if TYPE_CHECKING:
    import numpy as np

    from dds.statistics.plans import Plan

#: Of its dense peak, what a GPU is assumed to reach on networks of which nothing was measured.
ASSUMED_UTILIZATION = 0.4

_PRECISIONS = ("float32", "bfloat16")


class Gpu(NamedTuple):
    """What a kind of GPU is assumed to reach on networks of which nothing was measured.

    Attributes
    ----------
    flops : mapping of str to float
        FLOP/s by precision.
    source : str
        Where the figures come from.
    """

    flops: Mapping[str, float]
    source: str

    @classmethod
    def of_rate(cls, flops: float, source: str) -> Gpu:
        """Return a GPU that is as fast in every precision."""
        return cls(dict.fromkeys(_PRECISIONS, flops), source)


def _assumed(bfloat16: float, float32: float) -> Gpu:
    reached = {"bfloat16": bfloat16, "float32": float32}
    return Gpu(
        {name: ASSUMED_UTILIZATION * peak * 1e12 for name, peak in reached.items()},
        f"assumed: {ASSUMED_UTILIZATION:.0%} of the dense peaks, {bfloat16:g} TFLOP/s in "
        f"bfloat16 and {float32:g} in float32",
    )


#: GPUs by name. Peaks are from the vendor's data sheets: bfloat16 without sparsity and with sums
#: in float32, float32 without tensor cores.
GPUS: dict[str, Gpu] = {
    "a100-paper": Gpu.of_rate(825 * 51.9e9, "published: 825 CIFAR-10 images a second (section 4)"),
    "a100": _assumed(312, 19.5),
    "a40": _assumed(149.7, 37.4),
    "l40s": _assumed(362, 91.6),
    "h100": _assumed(989, 67),
    "h200": _assumed(989, 67),
    "rtx3090": _assumed(71, 35.6),
    "rtx4090": _assumed(165.2, 82.6),
}

#: One core of a server processor, in float32: FLOP/s measured on digits, docs/measurements.md.
CPU_CORE = 34e9

#: Seconds before the first sample of a shard whose networks an earlier one has compiled: measured
#: on an H100 with the CIFAR-10 pair. The first shard of an experiment takes about a minute longer.
START_SECONDS = 14.0

#: The plans that every experiment is estimated under, whichever it asks for.
ESTIMATED_PLANS = ("fixed", "curtailed", "sequential")

#: Share of images, by sigma, whose class is right and has a certified radius of at least
#: 0, 1/2, 1, ... sigma, by the source of the images: Table 4b, of which most is legible among
#: those of CIFAR-10, and Table 2. Between these numbers they are interpolated. Beyond them, six in
#: ten of the images certified at 3 sigma reach 3.8, the most that 100,000 samples certify, as in
#: the logs of Cohen et al. (0.52) and of Consistency (0.65) at sigma 0.25.
MARGINS: dict[str, dict[float, tuple[tuple[float, float], ...]]] = {
    "cifar10": {
        0.25: ((0, 0.873), (1, 0.767), (2, 0.638), (3, 0.495), (3.8, 0.3), (6, 0.0)),
        0.5: (
            (0, 0.783), (0.5, 0.66), (1, 0.561), (1.5, 0.457), (2, 0.364), (3, 0.2), (3.8, 0.12),
            (6, 0.0),
        ),
        1.0: (
            (0, 0.636), (0.25, 0.487), (0.5, 0.423), (0.75, 0.358), (1, 0.3), (2, 0.12), (3, 0.04),
            (4, 0.0),
        ),
    },
    "imagenet": {
        0.25: ((0, 0.828), (2, 0.711), (3, 0.6), (3.8, 0.36), (6, 0.0)),
        0.5: ((0, 0.771), (1, 0.678), (2, 0.543), (3, 0.381), (3.8, 0.23), (6, 0.0)),
        1.0: (
            (0, 0.6), (0.5, 0.5), (1, 0.42), (1.5, 0.355), (2, 0.295), (3, 0.131), (3.8, 0.08),
            (6, 0.0),
        ),
    },
}  # fmt: skip

#: The radii that plans decide where an experiment names none.
RADII = (0.0, 0.25, 0.5, 0.75, 1.0)

_SIMULATED_IMAGES = 1000
_BYTES_A_COUNT, _BYTES_A_SHARD = 3, 12_000  # compressed parquet; its fixed part and provenance

#: Forward passes that training on an image takes as long as. Its FLOP are those of three, forward
#: and twice as much backward; measured on an H100 were 4.2 with the CIFAR-10 UNet and 4.6 with
#: WRN-28-10.
_TRAINING_PASSES = 4.4

#: Passes of a gradient by the image alone: forward, and as much backward.
_GRADIENT_PASSES = 2


class Rate(NamedTuple):
    """How fast networks were on a GPU, one after the other on the same images.

    Attributes
    ----------
    gpu : str
        One of `GPUS`.
    networks : tuple of str
        Their names in config/models.yaml.
    precision : str
        The experiment's key.
    per_s : float
        Images a second through all of them.
    batch_size : int
        Images in a batch.
    source : str
        Where and how it was measured.
    """

    gpu: str
    networks: tuple[str, ...]
    precision: str
    per_s: float
    batch_size: int
    source: str


def read_rates(path: str | Path) -> list[Rate]:
    """Read measured rates, config/rates.csv.

    Raises
    ------
    ValueError
        In one line, if a GPU or a precision is none that is known, or a number is none or not
        positive.
    """
    with Path(path).open(encoding="utf-8", newline="") as file:
        return [
            _read_rate(row, f"{path}: line {number}")
            for number, row in enumerate(csv.DictReader(file), start=2)
        ]


def _read_rate(row: Mapping[str, str], where: str) -> Rate:
    for column, known in (("gpu", GPUS), ("precision", _PRECISIONS)):
        if row[column] not in known:
            raise ValueError(f"{where}: {column} {row[column]} is none of {', '.join(known)}")
    try:
        per_s, batch_size = float(row["per_s"]), int(row["batch_size"])
    except ValueError:
        per_s = batch_size = 0
    if not (per_s > 0 and batch_size > 0):
        raise ValueError(f"{where}: per_s and batch_size must be numbers above 0")
    networks = tuple(row["networks"].split("+"))
    return Rate(row["gpu"], networks, row["precision"], per_s, batch_size, row["source"])


@dataclass(frozen=True)
class Estimate:
    """What one experiment takes.

    Attributes
    ----------
    experiment : str
        Its name.
    images, shards : int
        Images; jobs over all of them and over all noise levels.
    hours_a_shard : float
        Of the longest on average, under the chosen plan, with its start.
    start_hours : float
        What the starts of all shards take together; in none of the other hours but the last.
    gpu_hours_unshared : float
        Under the fixed plan with every classifier denoising for itself.
    expected : dict of str to float
        GPU-hours under each of `ESTIMATED_PLANS`, and under the chosen one.
    expected_samples, expected_flops : dict of str to float
        Noisy images to denoise over all sigmas, and floating point operations, two a
        multiplication and addition, under these plans.
    chosen : str
        The plan that the experiment asks for.
    measured : float
        The share of the chosen plan's hours that rests on measured rates.
    disk_bytes : int
        Of the counts, about.
    """

    experiment: str
    images: int
    shards: int
    hours_a_shard: float
    start_hours: float
    gpu_hours_unshared: float
    expected: dict[str, float]
    expected_samples: dict[str, float]
    expected_flops: dict[str, float]
    chosen: str
    measured: float
    disk_bytes: int

    @property
    def hours(self) -> float:
        """GPU-hours under the chosen plan, with the starts of shards."""
        return self.expected[self.chosen] + self.start_hours


def estimate(study: Any, gpu: Gpu, rates: Sequence[Rate] = ()) -> list[Estimate]:
    """Estimate every experiment of a study.

    Parameters
    ----------
    study : Study
        Its ``datasets``, ``models`` and ``experiments``, by name, have the keys that
        config/README.md describes as attributes.
    gpu : Gpu
        What networks of which nothing was measured are assumed to reach.
    rates : sequence of Rate, optional
        What was measured on this GPU. A rate of several networks goes before those of each, and
        one holds for every model that is built as the named one is.

    Returns
    -------
    list of Estimate

    Raises
    ------
    ValueError
        If a rate that is assumed is not positive.
    """
    for flops in gpu.flops.values():
        if not flops > 0:
            raise ValueError(f"the rate must be above 0 FLOP/s, not {flops}")
    return [
        _estimate_experiment(name, settings, study, _speed(settings, study, gpu, rates))
        for name, settings in study.experiments.items()
    ]


def training_hours(study: Any, gpu: Gpu, rates: Sequence[Rate] = ()) -> float:
    """Return the GPU-hours to train and tune the models of a study."""
    seconds = 0.0
    for name, model in study.models.items():
        recipe = model.weights.recipe
        if recipe is None:
            continue
        times = 1
        if model.is_per_sigma:
            users = [study.experiments[user] for user in study.users(name)]
            times = len({sigma for user in users for sigma in user.sigmas})
        images = times * recipe.iterations * recipe.batch_size
        passes = {_Network(model): _TRAINING_PASSES * images}
        if getattr(recipe, "denoiser", None):
            passes[_Network(study.models[recipe.denoiser])] = images
        shape = image_shape(study.datasets[recipe.dataset], model)
        seconds += sum(_Speed(recipe.precision, shape, study, gpu, rates).seconds(passes))
    return seconds / 3600


def attack_hours(study: Any, gpu: Gpu, rates: Sequence[Rate] = ()) -> float:
    """Return the GPU-hours of the attacks of a study, if each goes on to its largest radius.

    An image that falls is not attacked any further, so that it takes less.
    """
    seconds = 0.0
    for name, entry in study.attacks.items():
        settings, starts = study.experiments[entry.experiment], entry.restarts + 1
        speed = _speed(settings, study, gpu, rates)
        gradients = starts * entry.steps * entry.samples
        chosen = starts * max(entry.samples, BLOCK) if starts > 1 else 0
        found = len(entry.radii) * (_GRADIENT_PASSES * gradients + chosen)
        runs = entry.images * (found + (1 + len(entry.radii)) * entry.n)
        for classifier in study.attacked_classifiers(name):
            alone = settings.model_copy(update={"classifiers": [classifier]})
            for sigma in study.attacked_sigmas(name):
                seconds += sum(speed.seconds(_passes(alone, study, sigma, runs, runs)))
    return seconds / 3600


class _Speed:
    """How long networks of a study take on a GPU, on images of a shape."""

    def __init__(
        self,
        precision: str,
        shape: tuple[int, int, int],
        study: Any,
        gpu: Gpu,
        rates: Sequence[Rate],
    ) -> None:
        self._shape = shape
        # What a GPU takes where it is left to it.
        precision = "bfloat16" if precision == "auto" else precision
        self._flops = gpu.flops[precision]
        known = {name: _Network(entry) for name, entry in study.models.items()}
        self._rates = [
            (Counter(known[name] for name in rate.networks), rate.per_s)
            for rate in sorted(rates, key=lambda rate: -len(rate.networks))
            if rate.precision == precision and set(rate.networks) <= known.keys()
        ]

    def seconds(self, passes: Mapping[_Network, float]) -> tuple[float, float]:
        """Return the seconds that passes of networks over an image take.

        Returns
        -------
        measured, assumed : float
            Those by measured rates and those of what is left, by its FLOP.
        """
        left, measured = dict(passes), 0.0
        for together, per_s in self._rates:
            times = min(left.get(network, 0) / each for network, each in together.items())
            measured += times / per_s
            for network, each in together.items():
                if times:
                    left[network] -= times * each
        return measured, self.flops(left) / self._flops

    def flops(self, passes: Mapping[_Network, float]) -> float:
        """Return the FLOP of passes of networks over an image."""
        return sum(times * _count(network, self._shape) for network, times in passes.items())


def _speed(settings: Any, study: Any, gpu: Gpu, rates: Sequence[Rate]) -> _Speed:
    """Return the speed of an experiment's networks on its images."""
    classifier = study.models[settings.classifiers[0]]
    shape = image_shape(study.datasets[settings.dataset], classifier)
    return _Speed(settings.precision, shape, study, gpu, rates)


def _estimate_experiment(name: str, settings: Any, study: Any, speed: _Speed) -> Estimate:
    classifiers = [study.models[key] for key in settings.classifiers]
    images, sigmas = settings.images, len(settings.sigmas)
    works = {
        plan: [_work(settings, study, plan, sigma) for sigma in settings.sigmas]
        for plan in dict.fromkeys((*ESTIMATED_PLANS, settings.plan))
    }
    seconds = {plan: [speed.seconds(w.passes) for w in of] for plan, of in works.items()}
    hours = {plan: images * sum(map(sum, of)) / 3600 for plan, of in seconds.items()}
    chosen = seconds[settings.plan]
    longest = min(images, settings.images_per_shard)
    shards = sigmas * len(shard_names(images, settings.images_per_shard))
    counts = images * sigmas * len(classifiers) * 2 * len(classifiers[0].classes)
    unshared = [_unshared(settings, study, sigma) for sigma in settings.sigmas]
    return Estimate(
        experiment=name,
        images=images,
        shards=shards,
        hours_a_shard=(longest * max(map(sum, chosen)) + START_SECONDS) / 3600,
        start_hours=shards * START_SECONDS / 3600,
        gpu_hours_unshared=images * sum(sum(speed.seconds(work)) for work in unshared) / 3600,
        expected=hours,
        expected_samples={p: images * sum(w.samples for w in of) for p, of in works.items()},
        expected_flops={
            p: images * sum(speed.flops(w.passes) for w in of) for p, of in works.items()
        },
        chosen=settings.plan,
        measured=sum(first for first, _ in chosen) / sum(map(sum, chosen)),
        disk_bytes=counts * _BYTES_A_COUNT + shards * _BYTES_A_SHARD,
    )


class _Work(NamedTuple):
    """What an image takes on average: noisy images, and passes of each network."""

    samples: float
    passes: Mapping[_Network, float]


def _work(settings: Any, study: Any, plan: str, sigma: float) -> _Work:
    """Return the work of an image as if the experiment's plan were of another kind.

    A sample is denoised once, for as many classifiers as still want it.
    """
    dataset = study.datasets[settings.dataset]
    drawn = courses(_plan(settings, plan, sigma), sigma, dataset)
    samples = mean_longest(drawn, len(settings.classifiers))
    return _Work(samples, _passes(settings, study, sigma, samples, mean_longest(drawn, 1)))


def _unshared(settings: Any, study: Any, sigma: float) -> Mapping[_Network, float]:
    each = settings.n0 + settings.n
    return _passes(settings, study, sigma, len(settings.classifiers) * each, each)


def _passes(
    settings: Any, study: Any, sigma: float, denoised: float, classified: float
) -> Mapping[_Network, float]:
    """Return how often each network runs, by the samples denoised, and those of a classifier."""
    passes = Counter[_Network]()
    for name in settings.classifiers:
        passes[_Network(study.models[name])] += classified
    if settings.denoiser != "none":
        entry, steps = study.models[settings.denoiser], settings.steps
        if steps == "all":  # from the timestep that matches sigma down to 0
            steps = entry.schedule.build().most_steps(sigma)
        passes[_Network(entry)] += steps * denoised
    return passes


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


def courses(plan: Plan, sigma: float, dataset: Any = None) -> np.ndarray:
    """Simulate how many samples a plan draws of each of some images, n0 included.

    Parameters
    ----------
    plan : Plan
        See `dds.statistics.plans`.
    sigma : float
        Noise level in [0,1] pixel units; the margins of the nearest in `MARGINS` serve.
    dataset : Dataset, optional
        From the study; `MARGINS` of its source serve, or else those of CIFAR-10.

    Returns
    -------
    ndarray of int
        Rising numbers, of images whose certified radii are spread as `MARGINS` says. Those that
        cannot be certified at all count as misclassified.

    References
    ----------
    Carlini et al., "(Certified!!) Adversarial Robustness for Free!", ICLR 2023, Tables 2, 4.
    """
    import numpy as np

    known = MARGINS.get(getattr(dataset, "source", ""), MARGINS["cifar10"])
    return np.sort(_draw(known[min(known, key=lambda level: abs(np.log(level / sigma)))], plan))


def mean_longest(courses: np.ndarray, several: int) -> float:
    """Return how many samples are drawn of an image until none of several classifiers wants more.

    How many classifiers want of an image is taken to be independent: long courses are of images
    near a radius, and another classifier has other images there. In the published CIFAR-10 logs
    of three methods at sigma 0.25 the correlation is below 0.1.

    Parameters
    ----------
    courses : ndarray of int
        From `courses`, of one classifier.
    several : int
        How many classifiers.

    Returns
    -------
    float
        On average over images.

    Examples
    --------
    >>> import numpy as np
    >>> mean_longest(np.array([100, 200]), 1), mean_longest(np.array([100, 200]), 2)
    (150.0, 175.0)
    """
    import numpy as np

    # None of them is longer than the first k with probability (k / courses) ** several.
    longer = 1 - (np.arange(1, len(courses)) / len(courses)) ** several
    return float(courses[0] + np.diff(courses) @ longer)


def _draw(margins: Sequence[tuple[float, float]], plan: Plan) -> list[int]:
    """Simulate how many samples a plan draws of images with margins like these."""
    import numpy as np
    from scipy.stats import norm

    from dds.statistics.plans import simulate

    radii, shares = zip(*margins, strict=True)
    random = np.random.default_rng(0)
    drawn = []
    for quantile in (np.arange(_SIMULATED_IMAGES) + 0.5) / _SIMULATED_IMAGES:
        if quantile > shares[0]:
            label, margin = 1, 0.5
        else:  # np.interp wants rising shares
            label, margin = 0, np.interp(quantile, shares[::-1], radii[::-1])
        drawn.append(plan.n0 + simulate(plan, label, norm.cdf(margin), random))
    return drawn


def _plan(settings: Any, kind: str, sigma: float) -> Plan:
    """Return the experiment's plan as if it were of another kind."""
    from dds.statistics.plans import PLANS, make_plan

    names = ("n0", "n", "alpha", *PLANS[kind].Keys.model_fields)
    given = {name: getattr(settings, name, None) for name in names}
    kept = {name: value for name, value in given.items() if value is not None}
    if isinstance(radii := kept.get("radii", RADII), Mapping):  # which not every plan takes
        radii = radii[sigma]
    return make_plan({"plan": kind} | kept | {"radii": radii}, sigma)


def network_flops(entry: Any, shape: Sequence[int]) -> int:
    """Count the FLOP of one pass of a model's network over one image.

    Parameters
    ----------
    entry : ClassifierKeys or DenoiserKeys or mapping
        What `dds.networks.registry` builds it from.
    shape : sequence of int
        Channels, height and width of the image, before a classifier resizes it.

    Returns
    -------
    int
        Of matrix products and convolutions; two for a multiplication and its addition.
    """
    return _count(_Network(entry), tuple(shape))


class _Network:
    """A model's network as a key: models that are built from the same are one."""

    def __init__(self, entry: Any) -> None:
        self.entry = entry
        get = entry.get if isinstance(entry, Mapping) else partial(getattr, entry)
        self.denoises = get("schedule", None) is not None
        built_from = ("network", "arguments", "input", "classes")
        self._key = repr([get(key, None) for key in built_from])

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Network) and self._key == other._key


@lru_cache
def _count(network: _Network, shape: tuple[int, ...]) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from dds.networks.registry import build_classifier, build_denoiser

    with torch.device("meta"), torch.no_grad():
        image = torch.empty(1, *shape)
        if network.denoises:
            model, inputs = build_denoiser(network.entry).network, (image, torch.empty(1))
        else:
            model, inputs = build_classifier(network.entry), (image,)
        with FlopCounterMode(display=False) as counter:
            model.eval()(*inputs)
    return counter.get_total_flops()
