"""Draw one of the paper's figures."""

from dds.figures import draw_figure, read_data, save_figure
from support.job import job

with job(snakemake):
    figure = draw_figure(snakemake.params.entry, read_data(snakemake.input))
    for path in snakemake.output:
        save_figure(figure, path)
