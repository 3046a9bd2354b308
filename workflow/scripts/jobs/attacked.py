"""What became of the images of an attack: the shards that rule attack_images wrote, in one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

#: What tells the rows of attacked images apart, and in which order they stand.
KEY = ["sigma", "image", "classifier", "radius"]

#: What all shards share.
_SHARED = ("depends", "precision", "backend", "data")


def merge_attacks(shards: Sequence[str | Path], wanted: Mapping[str, Any]) -> pd.DataFrame:
    """Put the attacked images of an attack's shards together, after checking that they fit.

    Parameters
    ----------
    shards : sequence of str or Path
        What rule attack_images wrote, at least one.
    wanted : mapping
        What `study.depends.merged_attack` returned.

    Returns
    -------
    DataFrame
        All rows, by sigma, image, classifier and radius.

    Raises
    ------
    ValueError
        In one line, if a shard was made for other settings, or in another precision, on another
        kind of device or of other images than the first, or if an image is missing, or there
        twice.
    """
    depends = json.loads(json.dumps(wanted["expected"]))
    frames, first = [], {}
    for path in shards:
        frame = pd.read_parquet(path)
        shared = {key: frame.attrs.get(key) for key in _SHARED}
        frame.attrs, first = {}, first or shared
        if shared["depends"] != depends:
            raise ValueError(f"{path} was made for other settings; remove it and run again")
        for key in _SHARED:
            if shared[key] != first[key]:
                raise ValueError(
                    f"{path} and {shards[0]} cannot be merged: {key} is {shared[key]} in one, "
                    f"{first[key]} in the other"
                )
        frames.append(frame)
    merged = pd.concat(frames).sort_values(KEY, ignore_index=True)
    radii = [0.0, *depends["attack"]["radii"]]
    images, classifiers = range(wanted["images"]), sorted(depends["classifiers"])
    places = product(sorted(wanted["sigmas"]), images, classifiers, radii)
    if list(merged[KEY].itertuples(index=False, name=None)) != list(places):
        raise ValueError(
            f"{Path(shards[0]).parents[1]}: an image is missing, or there twice; remove the "
            "shards and run again"
        )
    return merged
