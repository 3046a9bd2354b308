"""Make sure that the results are complete and say what they must."""

import logging
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from dds.files import atomic_path, write_json
from dds.sampling.counts import read_counts
from jobs.job import job
from jobs.records import input_faults
from paper.checks import (
    Check,
    check_attack,
    check_comparison,
    check_curtailment,
    check_experiment,
    check_published,
    check_table,
    failures,
)
from paper.literature import read_published
from paper.pages import checks_page
from paper.tables import read_table
from study.study import Study

with job(globals(), trusting=True) as snakemake:
    # Datasets are left out of what the checks depend on, and are not looked at.
    study = Study.from_json(snakemake.params.depends["study"] | {"datasets": {}})
    inputs = snakemake.input
    certificates = {Path(p).stem: pd.read_parquet(p) for p in inputs.certificates}
    wrong = list(input_faults(snakemake, thorough=True))
    checks = [
        Check(
            "every result is what its job wrote, for this study, from what is there",
            not wrong,
            wrong[0] if wrong else f"{len(set(inputs))} files",
        )
    ]
    for path in map(Path, inputs.counts):
        settings, stored = study.experiments[path.stem], certificates[path.stem]
        facts = {"images": settings.images, "alpha": settings.alpha}
        checks += check_experiment(path.stem, *read_counts(path), stored, **facts)
    for path in map(Path, inputs.attacks):
        attacked = certificates[study.attacks[path.stem].experiment]
        checks += check_attack(path.stem, pd.read_parquet(path), attacked)
    for path in (Path(path) for path in inputs.tables if path.endswith(".csv")):
        checks += check_table(path.stem, study.tables[path.stem].kind, read_table(path))
    for entry in study.tables.values():
        if entry.kind == "sampling_plans":
            checks += check_curtailment(entry, study.experiments, certificates)
    published = [read_published(path) for path in inputs.published]
    for entry in study.checks:
        if entry.is_with_paper:
            checks += check_published(entry, certificates, *published)
        else:
            checks += check_comparison(entry, certificates)
    for check in checks:
        logging.info("%s: %s (%s)", "ok" if check.passed else "FAILED", check.name, check.detail)
    if failed := failures(checks):
        raise ValueError(failed)
    record = {"passed": len(checks), "failed": 0, "checks": [asdict(check) for check in checks]}
    with atomic_path(snakemake.output.html) as temporary:
        temporary.write_text(checks_page(checks), "utf-8")
    write_json(snakemake.output.json, record)
