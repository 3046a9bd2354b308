"""What the typeset paper shows, as plain data for its template, workflow/report/paper.typ."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paper.quantities import decimal, duration, metric
from paper.sheets import to_json
from paper.tables import lay_out, read_table

Record = Mapping[str, Any]
Row = tuple[str, str, list[str]]


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
    tables, figures = list(tables), list(figures)
    return {
        "title": study.title or f"Certified accuracy: study “{study.name}”",
        "subtitle": f"Study “{study.name}”" if study.title else "",
        "authors": study.authors,
        "experiments": _experiments(study.experiments),
        "tables": [
            _table(path, study.tables[path.stem]) | identity
            for path, identity in zip(tables, _identified("table", tables), strict=True)
        ],
        "figures": [
            _figure(path, study.figures[path.stem]) | identity
            for path, identity in zip(figures, _identified("figure", figures), strict=True)
        ],
        "provenance": [
            *_origin(records, study.seed),
            *(_sampling(name, record, _shown_in(name, study)) for name, record in records.items()),
            *_weights(records),
            *map(_accuracy, measured),
        ],
    }


def _table(path: Path, entry: Any) -> dict[str, Any]:
    return to_json(lay_out(entry, read_table(path)), entry.caption)


def _figure(path: Path, entry: Any) -> dict[str, Any]:
    return {"path": path.name, "caption": entry.caption}


def _identified(kind: str, paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the number and the label of each table or figure.

    ``table_4`` is Table 4, so that those of the paper have its numbers; each of the others has
    the next one that is free.
    """
    own = {}
    for path in paths:
        number = re.fullmatch(rf"{kind}_([1-9]\d{{0,3}})", path.stem)
        own[path.stem] = int(number[1]) if number else None
    taken, last, found = set(own.values()), 0, []
    for name, number in own.items():
        last = number or next(free for free in itertools.count(last + 1) if free not in taken)
        taken.add(last)
        found.append({"number": last, "label": _label(kind, name)})
    return found


def _label(kind: str, name: str) -> str:
    return f"{kind}:{name}"


def _shown_in(experiment: str, study: Any) -> list[str]:
    """Return the labels of the tables and figures that show an experiment."""
    return [
        _label(kind, name)
        for kind, entries in (("table", study.tables), ("figure", study.figures))
        for name, entry in entries.items()
        if experiment in entry.experiments
    ]


def _experiments(experiments: Mapping[str, Any]) -> list[Sequence[str]]:
    """Return what each experiment samples, one row each below a row of heads."""
    rows = [
        {
            "experiment": name.replace("_", " "),
            "dataset": e.dataset,
            "denoising": _denoising(e),
            "classifiers": str(len(e.classifiers)),
            "σ": ", ".join(map(decimal, e.sigmas)),
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
        ("code", _joined(records, "commit") or "not under version control", []),
        ("seed", str(seed), []),
        ("protocol", _joined(records, "protocol"), []),
        ("hardware", f"{_joined(records, 'processor')}; {_joined(records, 'device')}", []),
        ("backend", f"{_joined(records, 'backend')}, {_joined(records, 'precision')}", []),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items()), []),
    ]


def _sampling(name: str, record: Record, shown_in: list[str]) -> Row:
    """Return what sampling an experiment took, and the labels of what shows it."""
    shards = f"{record['parts']} shard{'s' * (record['parts'] != 1)}"
    rate = metric(record["samples"] / record["seconds"])
    energy = f"{metric(record['joules'] / 3600, 'Wh')}, " if "joules" in record else ""
    text = (
        f"{record['samples']:,.0f} samples in {shards}, "
        f"{duration(record['seconds'])} of work ({rate} samples/s), "
        f"{energy}{record['started']} to {record['finished']}"
    )
    return name.replace("_", " "), text, shown_in


def _weights(records: Mapping[str, Record]) -> list[Row]:
    """Return the hashes of the weights of each model."""
    weights: dict[str, set[str]] = {}
    for record in records.values():
        for models in _all(record["models"]):
            for model, digest in models.items():
                weights.setdefault(model, set()).add(digest[:12])
    return [
        (model, "weights sha256 " + ", ".join(f"{digest}…" for digest in sorted(digests)), [])
        for model, digests in sorted(weights.items())
    ]


def _accuracy(record: Record) -> Row:
    """Return a classifier's accuracy on clean images, beside what was expected of it."""
    share, low, high = (100 * record[key] for key in ("accuracy", "ci_low", "ci_high"))
    text = (
        f"{share:.2f}% (95% interval {low:.2f} to {high:.2f}) of {record['images']:,} clean "
        "images right"
    )
    if record["expected_accuracy"] is not None:
        text += f"; expected: {100 * record['expected_accuracy']:.1f}%"
    return record["classifier"], text, []


def _all(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _joined(records: Mapping[str, Record], key: str) -> str:
    values = [value for record in records.values() for value in _all(record[key])]
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))
