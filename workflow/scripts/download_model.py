"""Fetch the published weights of a model, and compare what is published of it with its entry."""

from dds.files import sha256, write_json
from dds.origins import public
from jobs.configurations import check_configurations
from jobs.download import fetch, link
from jobs.job import job
from jobs.labels import check_labels
from jobs.provenance import Provenance

with job(globals()) as snakemake:
    provenance = Provenance()
    model, overrides = snakemake.params.model, snakemake.config["url_overrides"]
    source = model["weights"]["download"]
    if "labels" in source:
        check_labels(fetch(source["labels"], overrides), model["classes"])
    if "hub" in source:
        check_configurations(model, overrides)
    weights = fetch(source, overrides)
    link(weights, snakemake.output.weights)
    facts = {key: model[key] for key in ("source", "licence", "citation") if key in model}
    record = provenance.finish(
        url=public(source["url"]), file=str(weights), weights=sha256(weights), **facts
    )
    write_json(snakemake.output.provenance, record)
