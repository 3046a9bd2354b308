"""What the typeset paper shows, as plain data for its template, workflow/report/paper.typ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paper.figures import FIGURES
from paper.sheets import to_json
from paper.tables import lay_out, read_table

#: Share of the text's width that a figure takes.
_PICTURES_WIDTH, _CURVES_WIDTH = 0.75, 1.0

Record = Mapping[str, Any]
Row = tuple[str, str]


def document(
    study: Any,
    tables: Iterable[Path],
    figures: Iterable[Path],
    records: Mapping[str, Record],
    measured: Iterable[Record],
) -> dict[str, Any]:
    """Return all that the paper's template shows, as JSON can hold it.

    Parameters
    ----------
    study : Study
        Its title, authors, seed, experiments, tables and figures are read.
    tables, figures : iterable of Path
        The study's tables (.csv) and figures, each named as in the study.
    records : mapping of str to mapping
        By experiment, where its counts come from.
    measured : iterable of mapping
        Accuracies on clean images, as rule measure_accuracy writes them.
    """
    return {
        "title": study.title or f"Certified accuracy: study “{study.name}”",
        "subtitle": f"Study “{study.name}”" if study.title else "",
        "authors": study.authors,
        "experiments": _experiments(study.experiments),
        "tables": [_table(path, study.tables[path.stem]) for path in tables],
        "figures": [_figure(path, study.figures[path.stem]) for path in figures],
        "provenance": [
            *_origin(records, study.seed),
            *(_sampling(name, record) for name, record in records.items()),
            *_weights(records),
            *map(_accuracy, measured),
        ],
    }


def _table(path: Path, entry: Any) -> dict[str, Any]:
    sheets = lay_out(entry, read_table(path))
    return to_json(sheets, entry.caption) | {"label": _label(path.stem)}


def _figure(path: Path, entry: Any) -> dict[str, Any]:
    width = _PICTURES_WIDTH if FIGURES[entry.kind].PICTURES else _CURVES_WIDTH
    facts = {"path": path.name, "label": _label(path.stem), "caption": entry.caption}
    return facts | {"width": width}


def _label(name: str) -> str:
    """Return what a table or figure is called: ``table_4`` is Table 4."""
    kind, _, rest = name.partition("_")
    return f"{kind.capitalize()} {rest.replace('_', ' ')}".strip()


def _experiments(experiments: Mapping[str, Any]) -> list[Sequence[str]]:
    """Return what each experiment samples, one row each below a row of heads."""
    rows = [
        {
            "experiment": name.replace("_", " "),
            "dataset": e.dataset,
            "denoising": _denoising(e),
            "classifiers": str(len(e.classifiers)),
            "σ": ", ".join(f"{sigma:g}" for sigma in e.sigmas),
            "n₀": f"{e.n0:,}",
            "n": f"{e.n:,}",
            "α": f"{e.alpha:g}",
            "images": f"{e.images:,}",
            "plan": e.plan,
            "precision": e.precision,
        }
        for name, e in experiments.items()
    ]
    return [list(rows[0]), *(list(row.values()) for row in rows)]


def _denoising(experiment: Any) -> str:
    """Return in words how an experiment denoises."""
    if experiment.denoiser == "none":
        return "none"
    return "one shot" if experiment.steps == 1 else "multi step"


def _origin(records: Mapping[str, Record], seed: int) -> list[Row]:
    """Return what was run, on what, with what."""
    versions: dict[str, str] = {}
    for record in records.values():
        for found in _all(record["versions"]):
            versions |= found
    return [
        ("code", _joined(records, "commit") or "not under version control"),
        ("seed", str(seed)),
        ("protocol", _joined(records, "protocol")),
        ("hardware", f"{_joined(records, 'processor')}; {_joined(records, 'device')}"),
        ("backend", f"{_joined(records, 'backend')}, {_joined(records, 'precision')}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]


def _sampling(name: str, record: Record) -> Row:
    """Return what sampling an experiment took."""
    rate = record["samples"] / record["seconds"]
    energy = f"{record['joules'] / 3.6e6:,.4g} kWh, " if "joules" in record else ""
    text = (
        f"{record['samples']:,.0f} samples in {record['parts']} shards, "
        f"{record['seconds']:,.0f} s of work ({rate:,.0f} samples/s), "
        f"{energy}{record['started']} to {record['finished']}"
    )
    return name.replace("_", " "), text


def _weights(records: Mapping[str, Record]) -> list[Row]:
    """Return the hashes of the weights of each model."""
    weights: dict[str, set[str]] = {}
    for record in records.values():
        for models in _all(record["models"]):
            for model, digest in models.items():
                weights.setdefault(model, set()).add(digest[:12])
    return [
        (model, "weights sha256 " + ", ".join(f"{digest}…" for digest in sorted(digests)))
        for model, digests in sorted(weights.items())
    ]


def _accuracy(record: Record) -> Row:
    """Return a classifier's accuracy on clean images, beside the published one."""
    share, low, high = (100 * record[key] for key in ("accuracy", "ci_low", "ci_high"))
    text = f"{share:.2f}% ({low:.2f} to {high:.2f}) of {record['images']:,} clean images right"
    if record["expected_accuracy"] is not None:
        text += f"; published: {100 * record['expected_accuracy']:.1f}%"
    return record["classifier"], text


def _all(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _joined(records: Mapping[str, Record], key: str) -> str:
    values = [value for record in records.values() for value in _all(record[key])]
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))
