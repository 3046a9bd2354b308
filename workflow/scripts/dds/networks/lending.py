"""Networks lent for a while and given back as they came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def lent(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Undo, at the end, what running networks has changed of them.

    That is their device, the order of their weights in memory, their mode and whether they are
    compiled. Weights keep their very memory: nothing is copied, and what shares it, such as an
    optimizer, still does.

    Parameters
    ----------
    networks : iterable of Module
        Weights that are moved or reordered are held twice meanwhile.

    Examples
    --------
    >>> import torch
    >>> network = torch.nn.Dropout()
    >>> with lent([network]):
    ...     network.eval().training
    False
    >>> network.training
    True
    """
    networks = list(networks)
    modes = [_is_training(network) for network in networks]
    parts = [_Part(part) for network in networks for part in network.modules()]
    try:
        yield
    finally:
        for network, mode in zip(networks, modes, strict=True):
            network.train(mode)  # which networks override that do more than set it
        for part in parts:
            part.restore()


def _is_training(network: nn.Module) -> bool:
    """Return a network's mode; one that TorchScript has frozen has none, and is in evaluation."""
    return getattr(network, "training", False)


class _Part:
    """A module as it is, without the modules in it."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.training, self.compiled = _is_training(module), module._compiled_call_impl
        self.parameters, self.buffers = dict(module._parameters), dict(module._buffers)
        weights = [weight for weight in self.parameters.values() if weight is not None]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        self.memory = [(tensor, tensor.data) for tensor in (*weights, *gradients)]

    def restore(self) -> None:
        """Bring the module back to how it was."""
        self.module.training, self.module._compiled_call_impl = self.training, self.compiled
        for name, weight in self.parameters.items():  # TorchScript's mappings have no update
            self.module._parameters[name] = weight
        for name, buffer in self.buffers.items():
            self.module._buffers[name] = buffer
        for tensor, data in self.memory:
            tensor.data = data
