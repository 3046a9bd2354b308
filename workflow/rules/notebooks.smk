# Needs: tables, counts, certificates and pictures.
# Makes: results/STUDY/notebooks/NAME.ipynb, executed.


rule run_notebook:
    """Execute a notebook on the study's results."""
    input:
        notebook=lambda wildcards: str(INPUTS.notebook(wildcards.notebook)),
        tables=[PATHS.table(table, "csv") for table in STUDY.tables],
        counts=[PATHS.counts(experiment) for experiment in STUDY.experiments],
        certificates=INPUTS.certificates(STUDY.experiments),
        pictures=INPUTS.pictures(),
    output:
        PATHS.executed_notebook("{notebook}"),
    log:
        f"{RESULTS}/logs/run_notebook/{{notebook}}.log",
    wildcard_constraints:
        notebook=one_of(STUDY.notebooks),
    conda:
        "../../envs/notebooks.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        depends=lambda wildcards: depends.notebook(STUDY, INPUTS.notebook(wildcards.notebook)),
    script:
        "../scripts/run_notebook.py"
