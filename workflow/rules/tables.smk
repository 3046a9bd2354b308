# Needs: certificates, and published values or estimates where a table shows them.
# Makes: results/STUDY/costs/GPU.json; results/STUDY/tables/NAME.csv (every number with its
#        interval), and the same table for readers as .md, .tex and .html; where it comes
#        from in .json.


rule estimate_costs:
    """Estimate what certifying the study takes, without running it."""
    output:
        f"{RESULTS}/costs/{{gpu}}.json",
    log:
        f"{RESULTS}/logs/estimate_costs/{{gpu}}.log",
    wildcard_constraints:
        gpu=r"[a-z0-9-]+",
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        study={key: STUDY[key] for key in ("datasets", "models", "experiments")},
    script:
        "../scripts/estimate_costs.py"


rule render_table:
    """Compute one of the paper's tables and lay it out."""
    input:
        unpack(published_values),
        unpack(estimates),
        certificates=lambda wildcards: [
            certificates_path(experiment)
            for experiment in experiments_of(STUDY["tables"][wildcards.table])
        ],
        provenance=lambda wildcards: [
            summary_path(experiment)
            for experiment in experiments_of(STUDY["tables"][wildcards.table])
        ],
    output:
        csv=f"{RESULTS}/tables/{{table}}.csv",
        md=f"{RESULTS}/tables/{{table}}.md",
        tex=f"{RESULTS}/tables/{{table}}.tex",
        html=report(
            f"{RESULTS}/tables/{{table}}.html",
            caption="../report/artefact.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        provenance=report(
            f"{RESULTS}/tables/{{table}}.json",
            caption="../report/provenance.rst",
            category="Provenance",
            labels={"of": "{table}"},
        ),
    log:
        f"{RESULTS}/logs/render_table/{{table}}.log",
    wildcard_constraints:
        table=one_of(STUDY["tables"]),
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        entry=lambda wildcards: STUDY["tables"][wildcards.table],
    script:
        "../scripts/render_table.py"
