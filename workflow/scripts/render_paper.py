"""Typeset the study's paper."""

import json
import shutil
import tempfile
from pathlib import Path

import typst

from dds.files import atomic_path
from jobs.job import job
from jobs.provenance import read_summaries
from paper.figures import FIGURES
from paper.sheets import to_json
from paper.tables import lay_out, read_table
from study.study import Study


def tables(paths, entries):
    """Return the tables' sheets and captions, in the order of the study file."""
    placed = []
    for path in paths:
        entry = entries[path.stem]
        sheets = lay_out(entry, read_table(path))
        placed.append(to_json(sheets, entry.caption) | {"label": label(path.stem)})
    return placed


def figures(paths, entries, folder):
    """Copy the figures beside the paper's source, and return their captions and widths."""
    placed = []
    for path in paths:
        shutil.copy(path, folder)
        entry = entries[path.stem]
        width = 0.75 if FIGURES[entry.kind].PICTURES else 1.0
        facts = {"path": path.name, "label": label(path.stem), "caption": entry.caption}
        placed.append(facts | {"width": width})
    return placed


def label(name):
    """Return what a table or figure is called: ``table_4`` is Table 4."""
    kind, _, rest = name.partition("_")
    return f"{kind.capitalize()} {rest.replace('_', ' ')}".strip()


def experiments(study):
    """Return what each experiment samples, one row each below a row of heads."""
    rows = [
        {
            "experiment": name.replace("_", " "),
            "dataset": e.dataset,
            "denoising": denoising(e),
            "classifiers": str(len(e.classifiers)),
            "σ": ", ".join(f"{sigma:g}" for sigma in e.sigmas),
            "n₀": f"{e.n0:,}",
            "n": f"{e.n:,}",
            "α": f"{e.alpha:g}",
            "images": f"{e.images:,}",
            "plan": e.plan,
            "precision": e.precision,
        }
        for name, e in study.experiments.items()
    ]
    return [list(rows[0]), *(list(row.values()) for row in rows)]


def denoising(experiment):
    """Return in words how an experiment denoises."""
    if experiment.denoiser == "none":
        return "none"
    return "one shot" if experiment.steps == 1 else "multi step"


def accuracies(records):
    """Return each classifier's accuracy on clean images, as rows of a name and a text."""
    rows = []
    for record in records:
        share, low, high = (100 * record[key] for key in ("accuracy", "ci_low", "ci_high"))
        text = f"{share:.2f}% ({low:.2f} to {high:.2f}) of {record['images']:,} clean images right"
        if record["expected_accuracy"] is not None:
            text += f"; published: {100 * record['expected_accuracy']:.1f}%"
        rows.append((record["classifier"], text))
    return rows


def provenance(records, seed):
    """Return what was run, on what, with what, as rows of a name and a text."""
    versions = {}
    for record in records.values():
        for found in _all(record["versions"]):
            versions |= found
    rows = [
        ("code", _joined(records, "commit") or "not under version control"),
        ("seed", str(seed)),
        ("protocol", _joined(records, "protocol")),
        ("hardware", f"{_joined(records, 'processor')}; {_joined(records, 'device')}"),
        ("backend", f"{_joined(records, 'backend')}, {_joined(records, 'precision')}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    for name, record in records.items():
        rate = record["samples"] / record["seconds"]
        energy = f"{record['joules'] / 3.6e6:,.4g} kWh, " if "joules" in record else ""
        text = (
            f"{record['samples']:,.0f} samples in {record['parts']} shards, "
            f"{record['seconds']:,.0f} s of work ({rate:,.0f} samples/s), "
            f"{energy}{record['started']} to {record['finished']}"
        )
        rows.append((name.replace("_", " "), text))
    weights = {}
    for record in records.values():
        for models in _all(record["models"]):
            for model, digest in models.items():
                weights.setdefault(model, set()).add(digest[:12])
    rows += [
        (model, "weights sha256 " + ", ".join(f"{digest}…" for digest in sorted(digests)))
        for model, digests in sorted(weights.items())
    ]
    return rows


def _all(value):
    return value if isinstance(value, list) else [value]


def _joined(records, key):
    values = [value for record in records.values() for value in _all(record[key])]
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))


with job(globals()) as snakemake:
    # Datasets are left out of what the paper depends on, and are not looked at.
    study = Study.from_json(snakemake.params.depends["study"] | {"datasets": {}})
    inputs = snakemake.input
    records = read_summaries(inputs.provenance)
    measured = [json.loads(Path(p).read_text("utf-8")) for p in inputs.accuracies]
    with tempfile.TemporaryDirectory() as folder:
        template = Path(shutil.copy(inputs.template, folder))
        shutil.copy(inputs.references, folder)
        data = {
            "title": study.title or f"Certified accuracy: study “{study.name}”",
            "subtitle": f"Study “{study.name}”" if study.title else "",
            "authors": study.authors,
            "experiments": experiments(study),
            "tables": tables(map(Path, inputs.tables), study.tables),
            "figures": figures(map(Path, inputs.figures), study.figures, folder),
            "provenance": provenance(records, study.seed) + accuracies(measured),
        }
        template.with_name("data.json").write_text(json.dumps(data), "utf-8")
        with atomic_path(snakemake.output[0]) as temporary:
            typst.compile(template, output=temporary)
