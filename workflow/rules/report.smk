# Needs: all tables and figures, the counts and certificates behind them, and provenance.
# Makes: results/STUDY/paper.pdf and checks.json.


def accuracy_paths():
    """Return the measured accuracies of the study's classifiers, each once."""
    measured = set(measured_models())
    paths = [
        PATHS.accuracy(model, sigma)
        for experiment in STUDY.experiments.values()
        for model in experiment.classifiers
        if model in measured
        for sigma in experiment.sigmas
    ]
    return list(dict.fromkeys(paths))


rule render_paper:
    """Typeset the study's paper."""
    input:
        template=str(SOURCES / "workflow" / "report" / "paper.typ"),
        references=str(SOURCES / "workflow" / "report" / "references.yaml"),
        tables=[PATHS.table(table, "csv") for table in STUDY.tables],
        figures=[PATHS.figure(figure, "pdf") for figure in STUDY.figures],
        provenance=[PATHS.summary(experiment) for experiment in STUDY.experiments],
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
        depends=depends.paper(STUDY),
    script:
        "../scripts/render_paper.py"


rule check_results:
    """Make sure that the results are complete and say what they must."""
    input:
        counts=[PATHS.counts(experiment) for experiment in STUDY.experiments],
        certificates=[PATHS.certificates(experiment) for experiment in STUDY.experiments],
        tables=[PATHS.table(table, "csv") for table in STUDY.tables],
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
        depends=depends.checks(STUDY),
    script:
        "../scripts/check_results.py"
