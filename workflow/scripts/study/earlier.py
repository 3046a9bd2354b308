"""Experiments of earlier study files, which say some things otherwise.

``method`` follows from ``denoiser`` and ``steps``; ``steps: 0`` is ``steps: all``; a fixed
plan with ``curtail: true`` is ``plan: curtailed``; a sequential plan with ``looks``,
``last_share`` or ``futility`` is ``plan: union_sequential``. Such files are read as long as
what they say goes together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dds.statistics.plans import UNION_KEYS
from study.errors import Place, StudyError, show, suggestion

_METHODS = ("one_shot", "multi_step", "none")


def read_earlier(experiment: Mapping[str, Any], at: Place) -> dict[str, Any]:
    """Return an experiment's entry with the keys that `study.experiments.Experiment` has.

    Parameters
    ----------
    experiment : mapping
        As a study file holds it.
    at : Place
        Where it stands.

    Raises
    ------
    StudyError
        If keys of earlier files do not go together with the others.
    """
    entry = dict(experiment)
    _read_steps(entry)
    _read_method(entry, at)
    _read_curtail(entry, at)
    if entry.get("plan") == "sequential" and UNION_KEYS & entry.keys():
        entry["plan"] = "union_sequential"
    return entry


def _read_steps(entry: dict[str, Any]) -> None:
    if entry.get("steps") == 0 and entry["steps"] is not False:
        entry["steps"] = "all"


def _read_method(entry: dict[str, Any], at: Place) -> None:
    if "method" not in entry:
        return
    method, denoiser = entry.pop("method"), entry.get("denoiser")
    if method not in _METHODS:
        raise StudyError(
            f"{at / 'method'}: {show(method)} is not allowed; {suggestion(method, _METHODS)}"
        )
    if method == "none" and denoiser != "none":
        raise StudyError(
            f"{at / 'denoiser'}: {show(denoiser)} does not go with method none; "
            "write denoiser: none"
        )
    if method != "none" and denoiser == "none":
        raise StudyError(
            f"{at / 'denoiser'}: none needs method: none; name a denoiser, or leave method out"
        )
    if method == "multi_step":
        _check_chain(entry, at)
    elif entry.get("steps", 1) != 1:
        raise StudyError(
            f"{at / 'steps'}: {show(entry['steps'])} is for method multi_step alone; "
            "leave steps or method out"
        )


def _check_chain(entry: Mapping[str, Any], at: Place) -> None:
    if "steps" not in entry:
        raise StudyError(f"{at / 'method'}: multi_step needs steps beside it: 2 or more, or all")
    if entry["steps"] == 1:
        raise StudyError(f"{at / 'steps'}: 1 must be 2 or more, or all for every timestep")


def _read_curtail(entry: dict[str, Any], at: Place) -> None:
    if "curtail" not in entry:
        return
    curtail, plan = entry.pop("curtail"), entry.get("plan")
    if not isinstance(curtail, bool):
        raise StudyError(f"{at / 'curtail'}: {show(curtail)} is not true or false")
    if plan == "fixed" and curtail:
        entry["plan"] = "curtailed"
    elif plan == "fixed":
        entry.pop("radii", None)  # a fixed plan has no use for them
    elif plan == "curtailed" and not curtail:
        raise StudyError(f"{at / 'curtail'}: false does not go with plan curtailed; leave it out")
    elif plan != "curtailed" and curtail:
        raise StudyError(
            f"{at / 'curtail'}: true is for plan fixed alone; a sequential plan stops by itself"
        )
