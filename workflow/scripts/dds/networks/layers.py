"""Networks whose layers come in order, as a ViT's: learning rates by layer."""

from __future__ import annotations

from typing import Any

from torch import nn

from dds.extras import needed


def layer_groups(
    network: nn.Module, *, layer_decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Return a network's parameters in groups for an optimizer, one or two a layer.

    Parameters
    ----------
    network : Module
        Its method ``group_matcher`` tells the layers in order, as timm's networks do, and
        ``no_weight_decay``, if it has it, the names of parameters that no weight decay is for.
    layer_decay : float
        In (0, 1]. The last layer, the head, learns at the optimizer's rate, each one below at
        that share of the rate of the layer above.
    weight_decay : float
        Of all but biases, norms and what ``no_weight_decay`` names.

    Returns
    -------
    list of dict
        Each with ``params``, their ``weight_decay``, and ``lr_scale``, the factor on the
        learning rate.

    Raises
    ------
    ValueError
        If the network does not tell its layers.

    References
    ----------
    Clark, Luong, Le and Manning (2020): ELECTRA: Pre-training text encoders as discriminators
    rather than generators. ICLR. Appendix B, the layer-wise learning rate decay.
    Bao, Dong, Piao and Wei (2022): BEiT: BERT pre-training of image transformers. ICLR.

    Examples
    --------
    >>> class Network(nn.Sequential):
    ...     def group_matcher(self, coarse=False):
    ...         return {"layers": r"^([01])"}
    >>> network = Network(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    >>> groups = layer_groups(network, layer_decay=0.5, weight_decay=0.1)
    >>> [(group["lr_scale"], group["weight_decay"]) for group in groups][::2]
    [(0.25, 0.1), (0.5, 0.1), (1.0, 0.1)]
    """
    if not hasattr(network, "group_matcher"):
        raise ValueError(
            f"layer_decay needs layers in order, which {type(network).__name__} does not tell; "
            "leave it out, or give the network a method group_matcher, as timm's networks have"
        )
    with needed():
        from timm.optim import param_groups_layer_decay
    spared = getattr(network, "no_weight_decay", tuple)()
    return param_groups_layer_decay(
        network, weight_decay, no_weight_decay_list=spared, layer_decay=layer_decay
    )
