"""Fetch the published weights of a model, and check that its classes are what we call them."""

import json
from pathlib import Path

from dds.data.packs import check_classes
from dds.files import sha256, write_json
from jobs.download import fetch, link
from jobs.job import job
from jobs.provenance import Provenance


def check_labels(path, classes):
    """Compare the labels in a published configuration with the entry's classes, in order."""
    labels = json.loads(Path(path).read_text(encoding="utf-8"))["id2label"]
    published = [labels[index] for index in sorted(labels, key=int)]
    check_classes(published, classes, of=str(path), by="the model's entry")


with job(globals()) as snakemake:
    provenance = Provenance()
    model, overrides = snakemake.params.model, snakemake.config["url_overrides"]
    source = model["weights"]["download"]
    if "labels" in source:
        check_labels(fetch(source["labels"], overrides), model["classes"])
    weights = fetch(source, overrides)
    link(weights, snakemake.output.weights)
    facts = {key: model[key] for key in ("source", "licence", "citation") if key in model}
    write_json(
        snakemake.output.provenance,
        provenance.finish(url=source["url"], file=str(weights), weights=sha256(weights), **facts),
    )
