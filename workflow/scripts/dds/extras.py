"""What is installed beside the library only if one asks for it, and how to ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

#: The distribution's extra (pyproject.toml) that brings a package.
EXTRAS = {
    "torch": "torch",
    "diffusers": "models",
    "matplotlib": "plot",
    "guided_diffusion": "models",
    "PIL": "models",
    "safetensors": "models",
    "timm": "models",
    "transformers": "models",
    "yaml": "models",
}


@contextmanager
def needed() -> Iterator[None]:
    """Say of an extra's package that is not installed how to install it.

    Raises
    ------
    ModuleNotFoundError
        In place of Python's own, naming the package and the command.

    Examples
    --------
    >>> with needed():
    ...     raise ModuleNotFoundError("No module named 'timm'", name="timm")
    Traceback (most recent call last):
    ModuleNotFoundError: timm is needed: pip install "diffusion-denoised-smoothing[models]"
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        extra = f'pip install "diffusion-denoised-smoothing[{EXTRAS[error.name]}]"'
        raise ModuleNotFoundError(f"{error.name} is needed: {extra}", name=error.name) from None
