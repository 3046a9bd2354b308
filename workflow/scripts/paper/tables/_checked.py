"""What certificates must be before a table is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def check_certificates(
    certificates: Mapping[str, pd.DataFrame], records: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse certificates that no sampling gives, or not the one that they are shown under.

    Parameters
    ----------
    certificates : mapping of str to DataFrame
        By experiment.
    records : mapping of str to mapping
        By experiment; ``sampling``, where it is there, is what the study says.

    Raises
    ------
    ValueError
        Naming the experiment, the first row that is wrong, and what is allowed.
    """
    for name, rows in certificates.items():
        _check_values(name, rows)
        _check_images(name, rows)
        if settings := records.get(name, {}).get("sampling"):
            _check_sampling(name, rows, settings)


def _check_values(name: str, rows: pd.DataFrame) -> None:
    import numpy as np
    import pandas as pd

    for column in ("sigma", "radius"):
        if not pd.api.types.is_numeric_dtype(rows[column]):
            raise ValueError(f"certificates of {name}: {column} must be numbers")
    if not pd.api.types.is_bool_dtype(rows["correct"]):
        raise ValueError(f"certificates of {name}: correct must be True or False in every row")
    sigma, radius = (
        rows[column].to_numpy(float, na_value=np.nan) for column in ("sigma", "radius")
    )
    computed = rows["computed"].to_numpy(bool) if "computed" in rows else np.True_
    _refuse(name, rows, ~(np.isfinite(sigma) & (sigma > 0)), "sigma", "a number above 0")
    wrong = np.where(np.isnan(radius), computed, ~(np.isfinite(radius) & (radius >= 0)))
    _refuse(name, rows, wrong, "radius", "a number of at least 0")


def _check_images(name: str, rows: pd.DataFrame) -> None:
    twice = rows.duplicated(["sigma", "classifier", "image"]).to_numpy()
    _refuse(name, rows, twice, "image", "there once at every sigma by every classifier")
    images = {frozenset(part["image"]) for _, part in rows.groupby(["sigma", "classifier"])}
    if len(images) > 1:
        raise ValueError(
            f"certificates of {name}: its sigmas and classifiers have different images; "
            "all must have the same"
        )


def _check_sampling(name: str, rows: pd.DataFrame, settings: Mapping[str, Any]) -> None:
    """Compare certificates with what the study says that they rest on."""
    drawn = rows["n"]
    found = {
        "images": rows["image"].nunique(),
        "n0": int(rows["n0"].max()),
        # Other plans stop early: only more than n is wrong.
        "n": int(drawn.max()) if settings["plan"] == "fixed" else settings["n"],
    }
    if drawn.max() > settings["n"]:
        found["n"] = int(drawn.max())
    for key, value in found.items():
        if value != settings[key]:
            raise ValueError(
                f"certificates of {name} have {key} {value:,}, the study says {settings[key]:,}; "
                "certify the experiment again, or show it under its own settings"
            )


def _refuse(name: str, rows: pd.DataFrame, wrong: Any, column: str, allowed: str) -> None:
    if wrong.any():
        row = rows[wrong].iloc[0]
        raise ValueError(
            f"certificates of {name}: image {row['image']} by {row['classifier']} at sigma "
            f"{row['sigma']:g} has {column} {row[column]}; it must be {allowed}"
        )
