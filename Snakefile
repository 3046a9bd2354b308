# Rebuilds a study, "digits" by default, from data and weights to tables, figures and paper:
#
#     snakemake                              # config/config.yaml names the study
#     snakemake table_4                      # one table and what it needs
#     snakemake --profile slurm all          # the paper, on a SLURM cluster


include: "workflow/Snakefile"


# What plain `snakemake` makes; an included file does not say it.
workflow.default_target = "all"
