# Needs: tables, and the certificates and pictures that the figures are drawn from.
# Makes: results/STUDY/notebooks/NAME.ipynb, executed.


rule run_notebook:
    """Execute a notebook on the study's results."""
    input:
        notebook="notebooks/{notebook}.ipynb",
        tables=[f"{RESULTS}/tables/{table}.csv" for table in STUDY["tables"]],
        certificates=[certificates_path(experiment) for experiment in EXPERIMENTS],
        pictures=[f"{RESULTS}/pictures/{figure}.npz" for figure in figures_by_kind("pictures")],
    output:
        f"{RESULTS}/notebooks/{{notebook}}.ipynb",
    log:
        f"{RESULTS}/logs/run_notebook/{{notebook}}.log",
    wildcard_constraints:
        notebook=one_of(STUDY["notebooks"]),
    conda:
        "../../envs/notebooks.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        study=SHOWN,
    script:
        "../scripts/run_notebook.py"
