# Rebuilds a study, "digits" by default, from data and weights to tables, figures and paper:
#
#     snakemake --cores all                  # config/config.yaml names the study
#     snakemake --cores all table_4          # one table and what it needs
#     snakemake --profile slurm all          # the paper, on a SLURM cluster

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/certify.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/notebooks.smk"
include: "workflow/rules/report.smk"


TABLES = {
    table: [f"{RESULTS}/tables/{table}.{form}" for form in ("csv", "md", "tex", "html", "json")]
    for table in STUDY["tables"]
}
FIGURES = {
    figure: [f"{RESULTS}/figures/{figure}.{form}" for form in ("pdf", "png", "json")]
    for figure in STUDY["figures"]
}


rule all:
    """Everything the study names: tables, figures, notebooks, paper and checks."""
    default_target: True
    input:
        TABLES.values(),
        FIGURES.values(),
        [f"{RESULTS}/notebooks/{notebook}.ipynb" for notebook in STUDY["notebooks"]],
        f"{RESULTS}/paper.pdf",
        f"{RESULTS}/checks.json",


# One target a table and a figure, by the paper's names: `snakemake --cores all table_4`.
for name, files in {**TABLES, **FIGURES}.items():

    rule:
        name:
            name
        input:
            files,
