"""Measure a classifier's accuracy on clean images, beside the expected one."""

import logging

from dds.data.packs import check_classes, read_pack
from dds.files import sha256, write_json
from dds.networks.training import accuracy
from dds.statistics.bounds import binomial_interval
from jobs.device import device_name, prepare_device
from jobs.job import job
from jobs.models import load_classifier
from jobs.provenance import Provenance

with job(globals()) as snakemake:
    provenance = Provenance()
    name, inputs = snakemake.wildcards.weights, snakemake.input
    model, expected = snakemake.params.depends["model"], snakemake.params.depends["expected"]
    device = prepare_device(snakemake.config["device"], snakemake.threads)
    pack = read_pack(inputs.pack)
    check_classes(model["description"]["classes"], pack.classes, of=name)
    classifier = load_classifier(model, inputs.weights)
    share = accuracy(classifier, pack.images, pack.labels, device=device)
    interval = binomial_interval(round(share * len(pack.images)), len(pack.images))
    low, high = map(float, interval)
    logging.info("%s: accuracy %.4f (%.4f to %.4f), expected: %s", name, share, low, high, expected)
    measured = {
        "classifier": name,
        "images": len(pack.images),
        "accuracy": share,
        "ci_low": low,
        "ci_high": high,
        "expected_accuracy": expected,
    }
    write_json(
        snakemake.output[0],
        measured
        | provenance.finish(
            data=sha256(inputs.pack), weights=sha256(inputs.weights), device=device_name(device)
        ),
    )
