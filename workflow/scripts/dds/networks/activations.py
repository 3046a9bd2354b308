"""Activations that compilers make shorter programs of."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

# Of the approximation of erfc by a polynomial in 1 / (1 + p x) times exp(-x^2).
_P = 0.3275911
_COEFFICIENTS = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


def gelu(x: Tensor) -> Tensor:
    """Return ``x Phi(x)``, Phi the distribution function of the standard normal.

    On a GPU and compiled, where nothing is differentiated, it is `gelu_by_erfc`.
    """
    if x.is_cuda and torch.compiler.is_compiling() and not torch.is_grad_enabled():
        return gelu_by_erfc(x)
    return functional.gelu(x)


def gelu_by_erfc(x: Tensor) -> Tensor:
    """Return the same by an approximation that takes half of the operations.

    Under matrix products a GPU's clock falls so far that ``erf`` takes longer than reading and
    writing its numbers, which the activation of a vision transformer is bound by otherwise.

    Parameters
    ----------
    x : Tensor
        In any floating type.

    Returns
    -------
    Tensor
        In the shape and type of `x`: computed in float32, off by at most 3e-7 ``|x|``, as
        PyTorch's own is.

    References
    ----------
    Abramowitz and Stegun (1964): Handbook of mathematical functions. Formula 7.1.26.
    Hendrycks and Gimpel (2016): Gaussian error linear units.
    """
    values = x.float()
    size = values.abs()
    t = 1 / (1 + _P * math.sqrt(0.5) * size)
    polynomial = torch.zeros_like(t)
    for coefficient in _COEFFICIENTS:
        polynomial = t * (polynomial + coefficient)
    tail = 0.5 * polynomial * torch.exp(-0.5 * values * values)  # Phi(-|x|)
    return (values.relu() - size * tail).to(x.dtype)
