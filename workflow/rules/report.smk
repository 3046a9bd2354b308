# Needs: all tables and figures, the counts and certificates behind them, and provenance.
# Makes: results/STUDY/paper.pdf and checks.json.


rule render_paper:
    """Typeset the study's paper."""
    input:
        template="workflow/report/paper.typ",
        references="workflow/report/references.yaml",
        tables=[f"{RESULTS}/tables/{table}.csv" for table in STUDY["tables"]],
        figures=[f"{RESULTS}/figures/{figure}.pdf" for figure in STUDY["figures"]],
        provenance=[summary_path(experiment) for experiment in EXPERIMENTS],
        accuracies=accuracy_paths(),
    output:
        report(
            f"{RESULTS}/paper.pdf",
            caption="../report/paper.rst",
            category="Paper",
            labels={"paper": "all tables and figures, typeset"},
        ),
    log:
        f"{RESULTS}/logs/render_paper.log",
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        study=SHOWN,
    script:
        "../scripts/render_paper.py"


rule check_results:
    """Make sure that the results are complete and say what they must."""
    input:
        counts=[f"{RESULTS}/counts/{experiment}.parquet" for experiment in EXPERIMENTS],
        certificates=[certificates_path(experiment) for experiment in EXPERIMENTS],
        tables=[f"{RESULTS}/tables/{table}.csv" for table in STUDY["tables"]],
        sheets=[f"{RESULTS}/tables/{table}.md" for table in STUDY["tables"]],
    output:
        report(
            f"{RESULTS}/checks.json",
            caption="../report/checks.rst",
            category="Checks",
            labels={"checks": "what holds of the results"},
        ),
    log:
        f"{RESULTS}/logs/check_results.log",
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        study=SHOWN,
    script:
        "../scripts/check_results.py"
