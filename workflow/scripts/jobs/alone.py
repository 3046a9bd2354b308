"""A rule's script without Snakemake around it, for a debugger.

    python workflow/scripts/render_table.py table=table_4
    python workflow/scripts/train_classifier.py weights=digits_cnn --config study=my.yaml

The script gets what Snakemake would give it for these wildcards: its inputs must be there,
made for this study, and its outputs are written where they belong, with their records
(`jobs.records`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from study.errors import suggestion

ROOT = Path(__file__).parents[3]


def stand_in(script: str | Path, arguments: Sequence[str] | None = None) -> SimpleNamespace:
    """Return what Snakemake would hand to a script, by the command line.

    Parameters
    ----------
    script : str or Path
        The rule's script; without ``--rule``, the rule bears its name.
    arguments : sequence of str, optional
        By default those of this process.

    Returns
    -------
    SimpleNamespace
        With ``rule``, ``input``, ``output``, ``params``, ``wildcards``, ``log``,
        ``threads``, ``resources`` and ``config``.
    """
    parser = argparse.ArgumentParser(
        prog=f"python {script}", description="Run the script of a rule, alone."
    )
    parser.add_argument("wildcards", nargs="*", metavar="WILDCARD=VALUE", help="of the rule")
    parser.add_argument("--rule", default=Path(script).stem, help="by default the script's name")
    parser.add_argument(
        "--config", nargs="+", default=[], metavar="KEY=VALUE", help="as Snakemake takes it"
    )
    options = parser.parse_args(arguments)
    try:
        return _expand(_rule(options.rule, _pairs(options.config)), _pairs(options.wildcards))
    except (KeyError, ValueError) as error:
        parser.error(" ".join(str(error).split()))


def _pairs(words: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    if wrong := [name for name, sign, _ in pairs if not sign]:
        raise ValueError(f"{wrong[0]} must be written NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _rule(name: str, config: dict[str, str]) -> Any:
    from snakemake.api import SnakemakeApi
    from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

    with SnakemakeApi(OutputSettings()) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(config=config),
            snakefile=ROOT / "Snakefile",
        )._workflow
    rules = {rule.name: rule for rule in workflow.rules}
    if name not in rules:
        raise ValueError(f"there is no rule {name}; allowed with --rule: {', '.join(rules)}")
    return rules[name]


def _expand(rule: Any, values: dict[str, str]) -> SimpleNamespace:
    from snakemake.iocontainers import Wildcards

    if unknown := sorted(values.keys() - rule.wildcard_names):
        allowed = suggestion(unknown[0], sorted(rule.wildcard_names))
        raise ValueError(f"rule {rule.name} has no {unknown[0]}; {allowed}")
    if missing := sorted(rule.wildcard_names - values.keys()):
        raise ValueError(f"rule {rule.name} needs {', '.join(f'{name}=...' for name in missing)}")
    for path in rule.output:
        for name, pattern in path.wildcard_constraints().items():
            if not pattern.fullmatch(values[name]):
                raise ValueError(
                    f"rule {rule.name} makes nothing for {name}={values[name]}; it must match "
                    f"{pattern.pattern}"
                )
    wildcards = Wildcards(fromdict=values)
    inputs, output = rule.expand_input(wildcards)[0], rule.expand_output(wildcards)[0]
    job = SimpleNamespace(resources=SimpleNamespace(_cores=1))
    for path in (*output, *rule.expand_log(wildcards)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    return SimpleNamespace(
        rule=rule.name,
        input=inputs,
        output=output,
        wildcards=wildcards,
        threads=1,
        params=rule.expand_params(wildcards, inputs, output, job)[0],
        log=rule.expand_log(wildcards),
        resources=job.resources,
        config=rule.workflow.config,
    )
