"""Certify the images of a folder or archive, or only tell their classes."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from dds.commands.models import (
    default_device,
    find_classifier,
    find_denoiser,
    model_options,
    read_classes,
    running_options,
)
from dds.commands.results import print_accuracy
from dds.commands.running import (
    PATH,
    PIXELS,
    Command,
    added,
    channels_option,
    how_many,
    radii_option,
    size_option,
    to_parquet,
)
from dds.statistics.reach import down, largest_radius

if TYPE_CHECKING:
    from torch import nn

    from dds import Certificates, Predictions
    from dds.data.pictures import Pictures

#: Options that say which images, and in which size.
_picture_options = added(
    click.argument("path", type=PATH, metavar="IMAGES"),
    size_option,
    click.option(
        "--resize",
        type=PIXELS,
        metavar="PIXELS",
        help="What the shorter side is resized to, such as 256 for a --size of 224; by default to "
        "--size.",
    ),
    channels_option,
    click.option(
        "--from", "inside", default="", metavar="FOLDER", help="Takes a folder inside IMAGES."
    ),
    click.option(
        "--every",
        type=click.IntRange(min=1),
        metavar="K",
        help="Takes every K-th image, ordered by class and name.",
    ),
    click.option(
        "--images",
        type=click.IntRange(min=1),
        metavar="N",
        help="Takes N images, chosen at random by --seed.",
    ),
    click.option(
        "--unlabelled",
        "labelled",
        is_flag=True,
        flag_value=False,
        default=True,
        help="Folders name no classes, and may be of any kind.",
    ),
    click.option(
        "--classes",
        "class_file",
        type=PATH,
        metavar="FILE",
        help="Names of the classes, one a line in the order of the network's outputs; by default "
        "those that the model knows, or the folders of IMAGES, sorted.",
    ),
)

#: Options of what is drawn, that both commands have.
_sampling_options = added(
    click.option("--sigma", type=float, required=True, help="Noise level in [0,1] pixel units."),
    click.option(
        "--alpha",
        type=float,
        default=0.001,
        show_default=True,
        help="Error probability of each answer.",
    ),
    click.option(
        "--seed", type=int, default=0, show_default=True, help="Keys the noise, and --images."
    ),
)

_EXAMPLE = """\
{command} photos --size 32 --sigma 0.25 --n 1000 \\
    --classifier model.py:classifier --denoiser model.py:denoiser"""


@click.command(cls=Command, example=_EXAMPLE.format(command="certify"))
@model_options()
@_sampling_options
@_picture_options
@click.option(
    "--n0", type=int, default=100, show_default=True, help="Samples that select an image's class."
)
@click.option(
    "--n", type=int, default=10_000, show_default=True, help="Samples that bound its probability."
)
@click.option(
    "--plan",
    default="fixed",
    show_default=True,
    help="How many of these are drawn: fixed, curtailed, sequential or radius.",
)
@radii_option(
    default=(),
    help="Radii of interest in [0,1] pixel units, which n samples must be able to reach; by "
    "default the multiples of sigma are printed.",
)
@running_options
@click.option(
    "--save-to",
    type=PATH,
    callback=to_parquet,
    default="certificates.parquet",
    show_default=True,
    metavar="FILE",
    help="Where results go. The same command goes on where it was stopped.",
)
@click.option("--each", is_flag=True, help="Prints each image's class and radius.")
def certify(
    n0: int,
    n: int,
    plan: str,
    radii: Sequence[float],
    save_to: Path,
    each: bool,
    **options: Any,
) -> None:
    """Certify images: within which l2 radius does the answer not change?

    IMAGES is a folder, zip or tar archive with a folder for each class; or with all images in one
    folder, and then nothing is known of their classes; or one image.
    """
    import dds

    pictures, settings = _read(**options)
    try:
        found = dds.certify(
            **settings, n0=n0, n=n, plan=plan, radii=list(radii) or None, save_to=save_to
        )
    except KeyboardInterrupt:
        click.echo(f"{save_to} keeps the votes so far; the same command goes on", err=True)
        raise
    if each:
        _print_each(pictures, found, [_within(radius) for radius in found.radius])
    reached = largest_radius(n, options["alpha"], options["sigma"]) or 0.0
    steps = range(floor(reached / found.sigma) + 1)
    print_accuracy(found.to_frame(), radii or [step * found.sigma for step in steps])
    images = how_many(len(found), "image")
    click.echo(f"{save_to}: results of {images}, for accuracy, plot and export-log")


@click.command(cls=Command, example=_EXAMPLE.format(command="predict"))
@model_options()
@_sampling_options
@_picture_options
@click.option("--n", type=int, default=1000, show_default=True, help="Samples of an image.")
@running_options
def predict(n: int, **options: Any) -> None:
    """Tell the class of images, or abstain.

    IMAGES is a folder, zip or tar archive, or one image. Each file is printed with its class, or
    with "abstains" where the votes are too close.
    """
    import dds

    pictures, settings = _read(**options)
    found = dds.predict(**settings, n=n)
    _print_each(pictures, found)


def _read(
    path: Path,
    class_file: Path | None,
    classifier: str,
    denoiser: str | None,
    classifier_weights: Path | None,
    denoiser_weights: Path | None,
    models: Path | None,
    device: Sequence[str],
    channels: int,
    **options: Any,
) -> tuple[Pictures, dict[str, Any]]:
    """Return the images, and what `dds.certify` and `dds.predict` take."""
    from dds.data.pictures import read_pictures

    network = find_classifier(
        classifier, classifier_weights, models, sigma=options["sigma"], channels=channels
    )
    before = find_denoiser(denoiser, denoiser_weights, models, channels=channels)
    of_pictures = ("size", "resize", "inside", "every", "images", "labelled")
    pictures = read_pictures(
        path,
        channels=channels,
        seed=options["seed"],
        **{name: options.pop(name) for name in of_pictures},
    )
    settings = {
        "images": pictures.pixels(),
        "labels": _labels(pictures, network, class_file),
        "ids": pictures.numbers,
        "classifier": network,
        "denoiser": before,
        "device": list(device) or default_device(),
    }
    return pictures, settings | options


def _labels(pictures: Pictures, network: nn.Module, class_file: Path | None) -> list[int] | None:
    """Return the class of each image in the network's numbers; tell the network their names."""
    from dds.front.asked import count_classes, other_order
    from dds.front.images import names_of_classes
    from dds.networks.hub_classifiers import unwrapped

    cure = (
        "name the classes, in the order of the network's outputs, by --classes FILE, or take "
        "folders for no classes by --unlabelled"
    )
    inside = unwrapped(network)
    own = names_of_classes(inside)
    names: Sequence[str] | None = own
    if class_file is not None:
        names = read_classes(class_file)
        if own is not None and (example := other_order(names, own)):
            raise ValueError(
                f"{class_file} and the network have the same classes in another order, such as "
                f"{example}; leave --classes out"
            )
    try:
        labels = pictures.labels(names)
    except ValueError as error:
        raise ValueError(f"{error}; {cure}") from error
    if names is None and labels is not None:
        names, outputs = pictures.all_folders, count_classes(network, pictures.pixels()[:1], "cpu")
        if outputs != len(names):
            raise ValueError(f"{len(names)} folders, and {outputs} classes of the network; {cure}")
    cast(Any, inside).classes = None if names is None else tuple(names)
    return labels


def _within(radius: float) -> str:
    """Return a radius in three decimals that promise no more than it does."""
    return "radius not computed" if isnan(radius) else down(radius)


def _print_each(
    pictures: Pictures, found: Certificates | Predictions, *columns: Sequence[str]
) -> None:
    """Print each image's file and class, and what else is known of it, between tabs."""
    from dds.statistics.certificates import ABSTAIN

    names = found.facts["class_names"]
    for row, (file, number) in enumerate(zip(pictures.names, found.prediction, strict=True)):
        named = str(number) if names is None else names[number]
        answer = "abstains" if number == ABSTAIN else named
        click.echo("\t".join([file, answer, *(column[row] for column in columns)]))
