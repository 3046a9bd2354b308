"""What `make bench` can measure: the names of its rows, in the order in which they are measured."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

#: What a matrix product can be computed in; each has a ceiling. TF32 is for GPUs.
CEILINGS = ("bfloat16", "tf32", "float32")

#: The plain ways: whether matrix products and whether convolutions may use TF32. The second
#: is how PyTorch comes.
PLAIN = {
    "plain_tf32": (True, True),
    "plain_default": (False, True),
    "plain_float32": (False, False),
}

#: What makes no difference on a CPU, which has no TF32.
NEEDS_GPU = ("plain_tf32", "plain_default")


@dataclass(frozen=True)
class Data:
    """Images of one shape, and the networks of the model registry that are for them.

    Attributes
    ----------
    shape : tuple of int
        Channels, height and width of an image.
    denoiser : str
        Its name in the registry.
    classifiers : tuple of str
        Their names; the first makes a pair with the denoiser.
    batch_size : dict of str to int
        Images in a batch, on a ``"cpu"`` and a GPU (``"cuda"``).
    batches : dict of str to int
        How many make one count: on a GPU enough for it to be kept busy, as a shard's are, while the
        first is queued and the last is counted.
    trained : tuple of str
        What is trained or fine-tuned of the registry.
    training_images : int
        Among how many.
    """

    shape: tuple[int, int, int]
    denoiser: str
    classifiers: tuple[str, ...]
    batch_size: dict[str, int]
    batches: dict[str, int]
    trained: tuple[str, ...] = ()
    training_images: int = 0

    @property
    def pair(self) -> tuple[str, str]:
        """The denoiser and the first classifier."""
        return self.denoiser, self.classifiers[0]


DATA = {
    "digits": Data(
        (1, 8, 8), "digits_unet", ("digits_vit", "digits_cnn"), {"cpu": 1000, "cuda": 4096},
        {"cpu": 8, "cuda": 16},
        ("digits_cnn", "digits_vit", "digits_unet", "digits_vit_finetuned"), 1437,
    ),
    "cifar10": Data(
        (3, 32, 32), "cifar10_unet", ("cifar10_vit", "cifar10_wide_resnet"),
        {"cpu": 16, "cuda": 1000}, {"cpu": 6, "cuda": 16},
        ("cifar10_wide_resnet", "cifar10_unet", "cifar10_vit_finetuned",
         "cifar10_wide_resnet_finetuned"), 50_000,
    ),
    "imagenet": Data(
        (3, 224, 224), "imagenet_unet", ("imagenet_beit",), {"cpu": 1, "cuda": 32},
        {"cpu": 2, "cuda": 16},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One thing that is measured.

    Attributes
    ----------
    kind : str
        ``network`` alone; ``pair``, certification with a denoiser and a classifier;
        ``train``; ``start`` of a shard's job.
    data : str
        A key of `DATA`.
    models : tuple of str
        The registry's names of the networks that are measured.
    way : str
        Of a pair or a start: how.
    """

    kind: str
    data: str
    models: tuple[str, ...]
    way: str = ""

    @property
    def name(self) -> str:
        """How the command line, the lines and the files call it."""
        return "/".join((self.kind, self.data, self.way) if self.way else (self.kind, *self.models))


@dataclass(frozen=True)
class Settings:
    """How every row is measured.

    Attributes
    ----------
    device, precision : str
        As in a study, ``"auto"`` too.
    threads : int or None
        Of a CPU; None for as many as torch takes.
    batch_size : int or None
        Of every row; None for the row's own.
    repeats : int
        At least so many.
    seconds : float
        At least so long, in all.
    cache : str
        A folder for compiled programs, of this run alone.
    official : str or None
        The folder of the authors' code.
    """

    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    batch_size: int | None = None
    repeats: int = 3
    seconds: float = 1.0
    cache: str = ""
    official: str | None = None


def every_row(*, official: bool = False) -> list[Row]:
    """Return the rows, the cheapest first; the authors' own classes only if asked for."""
    rows = []
    for name, data in DATA.items():
        ways = ("ours", *PLAIN, *(("official",) if official and name != "digits" else ()))
        rows += [Row("network", name, (model,)) for model in (*data.classifiers, data.denoiser)]
        rows += [Row("pair", name, data.pair, way) for way in ways]
        rows += [Row("train", name, (model,)) for model in data.trained]
        rows += [Row("start", name, data.pair, way) for way in ("cold", "warm")]
    return rows


def choose(rows: list[Row], patterns: list[str]) -> list[Row]:
    """Return the rows that patterns name, in the order of the rows.

    Parameters
    ----------
    rows : list of Row
        What there is.
    patterns : list of str
        Names, in which ``*`` stands for anything.

    Raises
    ------
    ValueError
        If a pattern names none.
    """
    for pattern in patterns:
        if not any(fnmatch(row.name, pattern) for row in rows):
            allowed = ", ".join(row.name for row in rows)
            raise ValueError(f"--rows: no row is called {pattern}; allowed: {allowed}")
    return [row for row in rows if any(fnmatch(row.name, pattern) for pattern in patterns)]
