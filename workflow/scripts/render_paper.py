"""Typeset the study's paper."""

import json
import shutil
import tempfile
from pathlib import Path

import typst

from dds.files import atomic_path
from jobs.job import job
from jobs.provenance import read_summaries
from paper.document import document
from paper.pages import provenance_page
from study.study import Study

with job(globals()) as snakemake, tempfile.TemporaryDirectory() as folder:
    inputs = snakemake.input
    # Datasets are left out of what the paper depends on, and are not looked at.
    study = Study.from_json(snakemake.params.depends["study"] | {"datasets": {}})
    template, *_ = [
        Path(shutil.copy(path, folder))
        for path in (inputs.template, inputs.references, *inputs.figures)
    ]
    measured = [json.loads(Path(path).read_text("utf-8")) for path in inputs.accuracies]
    tables, figures = map(Path, inputs.tables), map(Path, inputs.figures)
    data = document(study, tables, figures, read_summaries(inputs.provenance), measured)
    template.with_name("data.json").write_text(json.dumps(data), "utf-8")
    with atomic_path(snakemake.output.pdf) as temporary:
        typst.compile(template, output=temporary)
    artefacts = {name: e.experiments for name, e in (study.tables | study.figures).items()}
    with atomic_path(snakemake.output.provenance) as temporary:
        temporary.write_text(provenance_page(data, artefacts), "utf-8")
