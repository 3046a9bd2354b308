"""Compute one of the paper's tables and lay it out."""

import json
from pathlib import Path

import pandas as pd

from dds.files import atomic_path, write_json
from jobs.job import job
from jobs.provenance import Provenance, add_sampling, of_artefact, read_summaries
from paper.literature import add_logged, add_recomputed, read_published
from paper.parts import read_entry
from paper.sheets import WRITERS, to_json
from paper.tables import TABLES, build_table, lay_out


def read_records(summaries, estimates):
    """Return what is known of each experiment's sampling, with its estimate if there is one."""
    records = read_summaries(summaries)
    for estimate in json.loads(Path(estimates).read_text("utf-8")) if estimates else ():
        if estimate["experiment"] in records:
            records[estimate["experiment"]]["estimate"] = estimate
    return records


with job(globals()) as snakemake:
    provenance = Provenance()
    entry = read_entry(TABLES, snakemake.params.depends["entry"])
    certificates = {Path(p).stem: pd.read_parquet(p) for p in snakemake.input.certificates}
    published = None
    if snakemake.input.get("published"):
        published = read_published(snakemake.input.published)
        published = add_logged(published, snakemake.input.links)
        logs = snakemake.config["published_logs"]
        published = add_recomputed(published, snakemake.input.links, logs) if logs else published
    records = read_records(snakemake.input.provenance, snakemake.input.get("estimates"))
    records = add_sampling(records, snakemake.params.depends["sampling"])
    table = build_table(entry, certificates, published, records)
    sheets = lay_out(entry, table)
    with atomic_path(snakemake.output.csv) as temporary:
        table.to_csv(temporary, index=False)
    names = {
        "label": f"tab:{snakemake.wildcards.table}",
        "references": snakemake.params.depends["references"],
    }
    for form, write in WRITERS.items():
        with atomic_path(snakemake.output[form]) as temporary:
            temporary.write_text(write(sheets, entry.caption, **names), "utf-8")
    shown = {"table": to_json(sheets, entry.caption)}
    write_json(snakemake.output.provenance, of_artefact(provenance, snakemake) | shown)
