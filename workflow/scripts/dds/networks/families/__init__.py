"""Families of networks, one module each, which bears the name that entries give as `network`.

A module holds

- ``ROLE``: ``"classifier"`` or ``"denoiser"``;
- ``Keys``: what an entry may write under ``arguments``;
- ``build(arguments, *, classes, channels)``: the network, untrained. A classifier maps
  normalised images to logits; a denoiser is called with images and times. `classes` is
  None for a denoiser.
"""

from dds.kinds import Kinds

FAMILIES = Kinds(__name__)
