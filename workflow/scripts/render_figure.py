"""Draw one of the paper's figures."""

import os

from dds.files import write_json
from jobs.job import job
from jobs.provenance import Provenance, of_artefact
from paper.figures import FIGURES, draw_figure, read_data, save_figure
from paper.parts import read_entry

os.environ["MPLBACKEND"] = "agg"  # whatever the account says: nothing is shown on a screen

with job(globals()) as snakemake:
    provenance = Provenance()
    entry = read_entry(FIGURES, snakemake.params.depends["entry"])
    figure = draw_figure(entry, read_data(snakemake.input.data))
    save_figure(figure, snakemake.output.pdf)
    save_figure(figure, snakemake.output.png)
    write_json(snakemake.output.provenance, of_artefact(provenance, snakemake))
