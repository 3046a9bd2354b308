# Needs: certificates, and published values or estimates where a table shows them; measured rates.
# Makes: results/STUDY/costs/GPU.json; results/STUDY/tables/NAME.csv (every number with its
#        interval), and the same table for readers as .md, .tex and .html; where it comes
#        from in .json.


rule estimate_costs:
    """Estimate what certifying the study takes, without running it."""
    input:
        rates=INPUTS.rates(),
    output:
        PATHS.costs("{gpu}"),
    log:
        f"{RESULTS}/logs/estimate_costs/{{gpu}}.log",
    wildcard_constraints:
        gpu=gpu_pattern(is_deposited=False),
    conda:
        "../../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        depends=depends.costs(STUDY),
    script:
        "../scripts/estimate_costs.py"


rule render_table:
    """Compute one of the paper's tables and lay it out."""
    input:
        unpack(lambda wildcards: INPUTS.published(wildcards.table)),
        unpack(lambda wildcards: INPUTS.estimates(wildcards.table)),
        certificates=lambda wildcards: INPUTS.certificates(
            STUDY.tables[wildcards.table].experiments
        ),
        provenance=lambda wildcards: INPUTS.summaries(STUDY.tables[wildcards.table].experiments),
    output:
        csv=PATHS.table("{table}", "csv"),
        md=PATHS.table("{table}", "md"),
        tex=PATHS.table("{table}", "tex"),
        html=report(
            PATHS.table("{table}", "html"),
            caption="../report/artefact.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
        provenance=PATHS.table("{table}", "json"),
    log:
        f"{RESULTS}/logs/render_table/{{table}}.log",
    wildcard_constraints:
        table=one_of(STUDY.tables),
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        depends=lambda wildcards: Printed(depends.table(STUDY, wildcards.table)),
    script:
        "../scripts/render_table.py"
