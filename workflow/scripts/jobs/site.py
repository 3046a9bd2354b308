"""What a site asks of jobs by what they need, where Snakemake's profiles know rules alone.

A profile's ``default-resources`` give way to what a rule asks for, and are the same for every
rule. Here, two kinds do not and are not: ``gpu_X`` becomes resource X of every rule that takes
a GPU, and ``all_X`` that of every rule. ``gpu_model`` keeps its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: The one resource of the SLURM plugin's whose own name begins like that.
_MODEL = "gpu_model"


def give_resources(rules: Iterable[Any], defaults: Any, overwritten: Any) -> None:
    """Give rules the resources that the site sets for jobs of their kind.

    To be called when all rules are there. Where a rule gets ``gres``, which names the GPU, it
    keeps no ``gpu`` beside it, as SLURM would add the two up.

    Parameters
    ----------
    rules : iterable of snakemake.rules.Rule
        The workflow's rules; changed in place.
    defaults : snakemake.resources.Resources
        The profile's default resources.
    overwritten : mapping
        What ``--set-resources`` gives rules, by their names. It wins.
    """
    named = {name: name.partition("_")[::2] for name in defaults}
    special = {name: kind for name, kind in named.items() if kind[0] in ("all", "gpu") and kind[1]}
    for rule in rules:
        takes_gpu = bool(rule.resources.get("gpu").raw)
        fixed = overwritten.get(rule.name, ())
        given = {}
        for name, (kind, resource) in sorted(special.items()):  # gpu_X after all_X
            if name == _MODEL and takes_gpu:
                continue
            if name not in fixed:
                rule.resources[name] = None
            if name != _MODEL and (takes_gpu or kind == "all"):
                given[resource] = defaults[name].raw
        if "gpu" in str(given.get("gres", "")):
            given["gpu"] = 0
        lines = [f"{key}={value}" for key, value in given.items()]
        for key, value in type(defaults).parse(lines, allow_expressions=True).items():
            if key not in fixed:
                rule.resources[key] = value
