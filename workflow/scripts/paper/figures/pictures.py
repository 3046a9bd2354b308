"""Images clean, noisy and denoised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dds.keys import Images, key
from paper.parts import Captioned

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

PICTURES = True

#: Sizes in inches: of the rows' labels, and of an image with its margin.
_LEFT, _CELL = 0.8, 0.5


class Keys(Captioned):
    """Images clean, and noisy and denoised at every sigma."""

    experiment: str = key(
        "Whose denoiser, steps and sigmas to show.", allowed="an experiment with a denoiser"
    )
    images: Images = key(
        "How many images to show, from the first one of the split on.",
        allowed="whole number, 1 to the size of the split",
    )


def check(entry: Keys, study: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield that an entry's experiment has no denoiser, or its split not so many images."""
    experiment = study.experiments[entry.experiment]
    if experiment.denoiser == "none":
        reason = f"{entry.experiment} has no denoiser; allowed are experiments with one"
        yield ("experiment",), reason
    rule = study.datasets[experiment.dataset].splits[experiment.split]
    size = rule if isinstance(rule, int) else rule.images
    if size is not None and entry.images > size:
        reason = (
            f"{entry.images} is out of range; split {experiment.split} of dataset "
            f"{experiment.dataset} has {size} images"
        )
        yield ("images",), reason


def draw(entry: Keys, data: Mapping[str, np.ndarray]) -> Figure:
    """Draw clean images, and below them noisy and denoised ones at every sigma.

    Parameters
    ----------
    entry : Keys
    data : mapping of str to ndarray
        ``clean`` (images, channels, height, width), ``noisy`` and ``denoised`` (sigmas,
        images, channels, height, width), drawn as if cut off at 0 and 1, and ``sigmas``.

    Returns
    -------
    Figure
    """
    import numpy as np
    from matplotlib.figure import Figure

    rows = [("clean", data["clean"])]
    for sigma, noisy, denoised in zip(data["sigmas"], data["noisy"], data["denoised"], strict=True):
        rows += [(rf"$\sigma = {sigma:g}$", noisy), ("denoised", denoised)]
    columns = len(data["clean"])
    figure = Figure(figsize=(_LEFT + _CELL * columns, _CELL * len(rows)))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, (label, images) in zip(grid, rows, strict=True):
        for axis, image in zip(axes, images, strict=True):
            pixels = np.clip(np.moveaxis(image, 0, -1), 0, 1)
            axis.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        axes[0].set_ylabel(label, rotation=0, ha="right", va="center")
    return figure
