"""Votes on disk: what certification writes, and what certificates are computed from.

A counts file holds integers only: how many votes each class got. Radii, alpha and every
other statistic come later, so that a statistical choice never costs another sample.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dds.differences import Difference, first_difference
from dds.files import atomic_path, parquet_path
from dds.reasons import first_line
from dds.statistics.plans import make_plan, plan_name

_METADATA_KEY = b"dds"
_KEY = ["image", "sigma", "classifier"]
_SCHEMA = pa.schema(
    {
        "image": pa.int32(),
        "label": pa.int32(),
        "sigma": pa.float64(),
        "classifier": pa.string(),
        "selection": pa.list_(pa.int64()),
        "estimation": pa.list_(pa.int64()),
    }
)

#: Metadata that differs between the shards of one experiment.
_OF_A_SHARD = ("sigma", "models")

#: Metadata that names things and decides nothing.
_NAMES = ("study", "experiment")

#: What files of version 0.1 say of what their votes depend on, under the names of `depends`.
_SETTINGS = (
    "dataset",
    "split",
    "denoiser",
    "timestep",
    "classifiers",
    "n0",
    "n",
    "noise",
    "precision",
    "deterministic",
)

#: How many small tables are kept until they become one, as each takes kilobytes beside its rows.
_TABLES_AT_ONCE = 1000


def write_counts(path: str | Path, counts: pd.DataFrame, metadata: Mapping[str, Any]) -> None:
    """Write class counts, atomically.

    Parameters
    ----------
    path : str or Path
        The parquet file.
    counts : DataFrame
        One row an image, sigma and classifier: ``image`` (index in the dataset),
        ``label``, ``sigma`` ([0,1] pixel units), ``classifier``, ``selection`` and
        ``estimation`` (class counts, as lists of equal length).
    metadata : mapping
        What all rows share: protocol, study, experiment, dataset, sigma, seed, n0, n,
        plan, precision, backend, num_classes, models, data, depends (what the votes depend
        on). Values that JSON can hold.

    Raises
    ------
    ValueError
        If the file's name does not end in .parquet, or is that of a folder.
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> row = {"image": 0, "label": 1, "sigma": 0.25, "classifier": "cnn"}
    >>> votes = {"selection": [1, 9], "estimation": [20, 980]}
    >>> path = Path(tempfile.mkdtemp(), "images_00000-00000.parquet")
    >>> write_counts(path, pd.DataFrame([row | votes]), {"seed": 2023})
    >>> counts, metadata = read_counts(path)
    >>> counts["estimation"][0].tolist(), metadata
    ([20, 980], {'seed': 2023})
    """
    path = parquet_path(path)
    table = pa.Table.from_pandas(counts, schema=_SCHEMA, preserve_index=False)
    table = table.replace_schema_metadata({_METADATA_KEY: json.dumps(metadata).encode()})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def read_counts(path: str | Path | BinaryIO) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read class counts and what they share; the inverse of `write_counts`.

    Parameters
    ----------
    path : str, Path or binary file
        The parquet file.

    Returns
    -------
    counts : DataFrame
        One row an image, sigma and classifier.
    metadata : dict
        What all rows share.

    Raises
    ------
    ValueError
        If the file is no counts file.
    OSError
        If it is not there, or cannot be read.
    """
    table, metadata = _read_table(path)
    return table.to_pandas(), metadata


def merge_counts(
    paths: Sequence[str | Path],
    expected: Mapping[str, Any] | None = None,
    places: Sequence[tuple[float, Iterable[int]]] | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Put the counts of an experiment's shards together, after checking that they fit.

    Parameters
    ----------
    paths : sequence of str or Path
        Counts files, at least one.
    expected : mapping, optional
        What their votes must depend on, as their metadata say under ``depends``.
    places : sequence of (float, iterable of int), optional
        The noise level and the images that each file must hold, and no others.

    Returns
    -------
    counts : DataFrame
        All rows, sorted by sigma, image and classifier.
    metadata : dict
        What all files share; without ``sigma`` and ``models``, which they do not.

    Raises
    ------
    ValueError
        If files differ in protocol, seed, plan, precision, backend, in what their votes
        depend on, ...; if the same noise level was sampled with different weights; if they
        are not what is expected, or of other images; or for what `check_counts` refuses.
    """
    tables, shared, models = [], None, {}
    for index, path in enumerate(paths):
        table, metadata = _read_table(path)
        if expected is not None:
            _check_expected(path, metadata, expected)
        if places is not None:
            _check_place(path, table, metadata, *places[index])
        of_shard = {key: metadata.pop(key, None) for key in _OF_A_SHARD}
        if shared is None:
            shared, first = metadata, path
        elif other := counts_differ(metadata, shared):
            raise ValueError(_unlike(path, first, *other))
        other, weights = models.setdefault(of_shard["sigma"], (path, of_shard["models"]))
        if of_shard["models"] != weights:
            raise ValueError(_unlike(path, other, "models", of_shard["models"], weights))
        tables.append(table)
        if len(tables) == _TABLES_AT_ONCE:
            tables = [pa.concat_tables(tables).combine_chunks()]
    if shared is None:
        raise ValueError("no counts to merge")
    counts = pa.concat_tables(tables).to_pandas()
    counts = counts.sort_values(["sigma", "image", "classifier"], ignore_index=True)
    check_counts(counts, shared)
    return counts, shared


def counts_differ(metadata: Mapping[str, Any], other: Mapping[str, Any]) -> Difference | None:
    """Return where the metadata of two counts files differ, or None for votes of one kind.

    Names of studies and experiments do not count. Files of version 0.1 say less of what
    their votes depend on; of these, all that both files say is compared.

    Parameters
    ----------
    metadata, other : mapping
        As `write_counts` takes them.

    Returns
    -------
    Difference or None
    """
    first, second = _comparable(metadata), _comparable(other)
    if "depends" not in metadata or "depends" not in other:
        both = first["depends"].keys() & second["depends"].keys()
        for one in (first, second):
            one["depends"] = {key: one["depends"][key] for key in both}
    # The kind of plan comes first: the keys that it has follow from it.
    kinds = ({"depends": {"plan": one["depends"].get("plan")}} for one in (first, second))
    return first_difference(*kinds) or first_difference(first, second)


def check_counts(counts: pd.DataFrame, metadata: Mapping[str, Any]) -> None:
    """Make sure that counts are complete and add up.

    Parameters
    ----------
    counts, metadata
        As `write_counts` takes them.

    Raises
    ------
    ValueError
        Naming the first row that is double or missing, whose label is no class or not that
        of the same image elsewhere, whose counts do not sum to n0 and at most n or are for
        another number of classes, or that stops where the plan does not.
    """
    double = counts.duplicated(_KEY)
    if double.any():
        raise ValueError(f"{_name(counts[double])} was counted twice")
    images, sigmas, classifiers = (counts[key].unique() for key in _KEY)
    if len(counts) != len(images) * len(sigmas) * len(classifiers):
        wanted = pd.MultiIndex.from_product([images, sigmas, classifiers], names=_KEY)
        missing = wanted.difference(pd.MultiIndex.from_frame(counts[_KEY]))
        raise ValueError(f"{_name(missing.to_frame())} is missing")
    _check_labels(counts, metadata["num_classes"])
    for phase, most in (("selection", metadata["n0"]), ("estimation", metadata["n"])):
        if set(map(len, counts[phase])) != {metadata["num_classes"]}:
            raise ValueError(f"{phase} counts must be of {metadata['num_classes']} classes")
        votes = stack(counts[phase])
        # Before the sum, which could overflow to what it should be.
        if (impossible := ((votes < 0) | (votes > most)).any(axis=1)).any():
            raise ValueError(
                f"{_name(counts[impossible])} has {phase} counts that are no numbers from 0 "
                f"to {most}"
            )
        sums = votes.sum(axis=1)
        wrong = sums != most if phase == "selection" else sums > most
        if wrong.any():
            raise ValueError(
                f"{_name(counts[wrong])} has {sums[wrong][0]} {phase} samples, the plan {most}"
            )
    _check_finished(counts, metadata["plan"])


def stack(lists: pd.Series) -> np.ndarray:
    """Return a column of class counts as an array.

    Parameters
    ----------
    lists : Series of array_like of int
        One list a row, all of equal length, as `read_counts` returns them.

    Returns
    -------
    ndarray of int, shape (rows, classes)
    """
    return np.stack(lists.to_numpy())


def _check_labels(counts: pd.DataFrame, classes: int) -> None:
    if (wrong := ~counts["label"].between(0, classes - 1)).any():
        row = counts[wrong]
        raise ValueError(
            f"{_name(row)} has label {row['label'].iloc[0]}; its {classes} classes are "
            f"0 to {classes - 1}"
        )
    first = counts.groupby("image")["label"].transform("first")
    if (wrong := counts["label"] != first).any():
        row = counts[wrong]
        raise ValueError(
            f"{_name(row)} has label {row['label'].iloc[0]}, elsewhere {first[wrong].iloc[0]}"
        )


def _check_finished(counts: pd.DataFrame, settings: Mapping[str, Any]) -> None:
    for sigma, rows in counts.groupby("sigma"):
        plan = make_plan(settings, sigma)
        votes = zip(rows["label"], stack(rows["selection"]), stack(rows["estimation"]), strict=True)
        for at, (label, selection, estimation) in enumerate(votes):
            drawn, goal = int(estimation.sum()), plan.goal(label, selection, estimation)
            if drawn != goal:
                raise ValueError(
                    f"{_name(rows.iloc[[at]])} stops after {drawn} estimation samples, "
                    f"the plan asks for {goal}"
                )


def _read_table(path: str | Path | BinaryIO) -> tuple[pa.Table, dict[str, Any]]:
    wrong = f"{path} is not a counts file"
    with open(path, "rb") if isinstance(path, str | Path) else nullcontext(path) as opened:
        try:
            with pq.ParquetFile(opened) as file:  # a fifth of the time of pq.read_table
                table = file.read()
        except (pa.ArrowInvalid, OSError) as error:
            if getattr(error, "errno", None):  # of the disk, not of what lies there
                raise
            raise ValueError(f"{wrong}: it is damaged, or of another format") from error
    metadata = (table.schema.metadata or {}).get(_METADATA_KEY)
    if metadata is None:
        raise ValueError(f"{wrong}: it holds other columns than class counts")
    try:
        return table.cast(_SCHEMA), json.loads(metadata)
    except (pa.ArrowInvalid, ValueError) as error:
        raise ValueError(f"{wrong}: {first_line(error)}") from error


def _check_expected(
    path: str | Path, metadata: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
    other = counts_differ(metadata, {**metadata, "depends": expected})
    # What is said twice must be said alike: certificates are computed from the plan.
    if other := other or first_difference(_drawn_by(metadata), _drawn_by(metadata, expected)):
        place, found, wanted = other
        raise ValueError(
            f"{path} was counted with another {place.removeprefix('depends.')}: "
            f"{found}, not {wanted}; remove it and run again"
        )


def _drawn_by(
    metadata: Mapping[str, Any], expected: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the numbers and the plan that votes were drawn by, or those that are expected."""
    source, classes = metadata, {metadata.get("num_classes")}
    if expected is not None:
        described = [model["description"] for model in expected["models"].values()]
        source = expected
        classes = {len(one["classes"]) for one in described if one.get("classes")} or classes
    facts = {key: source.get(key) for key in ("protocol", "seed", "n0", "n")}
    try:
        plan = make_plan(metadata["plan"] if expected is None else expected, metadata["sigma"])
        drawn = plan.to_dict()
        if expected is not None:  # a plan may draw fewer than the study names
            facts |= {"n0": plan.n0, "n": plan.n}
    except (KeyError, TypeError, ValueError) as error:
        drawn = f"none that can be made ({error})"
    return facts | {"plan": drawn, "num_classes": max(classes)}


def _check_place(
    path: str | Path,
    table: pa.Table,
    metadata: Mapping[str, Any],
    sigma: float,
    images: Iterable[int],
) -> None:
    """Make sure that a file holds the noise level and the images it is named after."""
    images = np.asarray(images)
    wanted = f"images {images[0]} to {images[-1]} at sigma {sigma:g}"
    found = {metadata.get("sigma"), *table["sigma"].unique().to_pylist()}
    if found != {sigma}:
        held = f"sigma {' and '.join(map(str, found - {sigma}))}"
    elif other := set(table["image"].to_pylist()) ^ set(images.tolist()):
        held = f"other images, such as {min(other)}"
    else:
        return
    raise ValueError(f"{path} holds {held}, not {wanted}; remove it and run again")


def _comparable(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides votes, under the same names whichever version wrote the file."""
    kept = {key: value for key, value in metadata.items() if key not in _NAMES}
    settings = kept.pop("settings", {})  # of version 0.1
    steps = {"steps": settings["steps"] or "all"} if "steps" in settings else {}
    said = {key: settings[key] for key in _SETTINGS if key in settings} | steps
    said = kept.pop("depends", said)
    return {**kept, "depends": _by_kind(said), "plan": _by_kind(kept.get("plan", {}))}


def _by_kind(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a plan in which its kind has the name that it goes by."""
    if "plan" not in settings:
        return dict(settings)
    kept = {key: value for key, value in settings.items() if key != "curtail"}
    return kept | {"plan": plan_name(settings)}


def _unlike(path: str | Path, other: str | Path, place: str, value: Any, wanted: Any) -> str:
    return f"{path} and {other} cannot be merged: {place} is {value} in one, {wanted} in the other"


def _name(rows: pd.DataFrame) -> str:
    image, sigma, classifier = (rows.iloc[0][key] for key in _KEY)
    return f"image {image} at sigma {sigma:g} by {classifier}"
