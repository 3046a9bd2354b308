# Needs: all tables and figures, the counts and certificates behind them, and provenance.
# Makes: results/STUDY/paper.pdf, checks.json, and pages for the report: provenance.html and
#        checks.html.


rule render_paper:
    """Typeset the study's paper."""
    input:
        template=INPUTS.report("paper.typ"),
        references=INPUTS.report("references.yaml"),
        tables=[PATHS.table(table, "csv") for table in STUDY.tables],
        figures=[PATHS.figure(figure, "pdf") for figure in STUDY.figures],
        provenance=INPUTS.summaries(STUDY.experiments),
        accuracies=INPUTS.accuracies(),
    output:
        pdf=report(
            PATHS.document,
            caption="../report/paper.rst",
            category="Paper",
            labels={"paper": "all tables and figures, typeset"},
        ),
        provenance=report(
            PATHS.provenance,
            caption="../report/provenance.rst",
            category="Provenance",
            labels={"provenance": "where all results come from"},
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
        depends=Printed(depends.paper(STUDY)),
    script:
        "../scripts/render_paper.py"


rule check_results:
    """Make sure that the results are complete and say what they must."""
    input:
        counts=[PATHS.counts(experiment) for experiment in STUDY.experiments],
        summaries=INPUTS.summaries(STUDY.experiments),
        certificates=INPUTS.certificates(STUDY.experiments),
        attacks=INPUTS.attacks(STUDY.attacks),
        tables=[path for table in STUDY.tables for path in PATHS.table_files(table)],
        figures=[path for figure in STUDY.figures for path in PATHS.figure_files(figure)],
        published=INPUTS.published_to_check(),
    output:
        json=PATHS.checks,
        html=report(
            PATHS.checks_page,
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
        depends=Printed(depends.checks(STUDY)),
    script:
        "../scripts/check_results.py"
