"""Families of networks, one module each, which bears the name that entries give as `network`.

A module holds

- ``ROLE``: ``"classifier"`` or ``"denoiser"``;
- ``Keys``: what an entry may write under ``arguments``;
- ``build(arguments, *, classes, channels)``: the network, untrained. A classifier maps
  normalised images to logits; a denoiser is called with images and times. `classes` is
  None for a denoiser;
- ``RECIPE``, where the networks can be trained with it: of ``"layer_decay"`` (the network tells
  its layers in order by a method ``group_matcher``, as timm's networks do) and ``"drop_path"``
  (``Keys`` take an argument ``drop_path_rate``);
- ``check(arguments)``, where the types of ``Keys`` do not say it all: raises ValueError, whose
  message begins with the argument that is wrong. Called wherever a study is read, so it imports
  nothing heavy, and finds nothing wrong where what it needs is not installed.
"""

from dds.kinds import Kinds

FAMILIES = Kinds(__name__)

#: What a module must hold.
CONTRACT = ("ROLE", "Keys", "build")
