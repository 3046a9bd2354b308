# Needs: deposits that experiments take their votes from: archives that `make archive` wrote.
# Makes: of those experiments, results/STUDY/counts/EXPERIMENT.parquet with its .json, without
#        drawing a sample, and of attacks on them, results/STUDY/attacks/NAME.parquet; and what
#        images, weights or networks are needed for otherwise: measured accuracies, figures of
#        pictures and, of a whole study, its estimated costs.


for deposit in STUDY.deposits:
    if deposit.url:

        rule:
            name:
                f"download_deposit_{digest(deposit.url)}"
            output:
                PATHS.deposit(deposit),
            log:
                f"{RESULTS}/logs/download_deposit/{digest(deposit.url)}.log",
            localrule: True
            conda:
                "../../envs/download.yaml"
            params:
                url=identity(deposit.url),
                # What else is known of the file does not make it another one. Snakemake
                # compares no parameter that is derived from outputs.
                source=lambda wildcards, output, deposit=deposit: deposit.download.model_dump(
                    exclude_none=True
                ),
            script:
                "../scripts/download_data.py"


rule take_counts:
    """Take the counts of an experiment from a deposit."""
    input:
        lambda wildcards: INPUTS.deposit(STUDY.deposited[wildcards.experiment]),
    output:
        counts=f"{RESULTS}/counts/{{experiment}}.parquet",
        provenance=f"{RESULTS}/counts/{{experiment}}.json",
    log:
        f"{RESULTS}/logs/take_counts/{{experiment}}.log",
    wildcard_constraints:
        experiment=one_of(STUDY.deposited),
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        **taking(
            lambda wildcards: f"counts/{wildcards.experiment}",
            lambda wildcards: STUDY.deposited[wildcards.experiment],
        ),
        depends=lambda wildcards: depends.merged(STUDY, wildcards.experiment),
    script:
        "../scripts/take_result.py"


rule take_attack:
    """Take what became of the images of an attack from a deposit."""
    input:
        lambda wildcards: INPUTS.deposit(STUDY.deposit_of_attack(wildcards.attack)),
    output:
        attacked=PATHS.attack("{attack}"),
        provenance=PATHS.attack_summary("{attack}"),
    log:
        f"{RESULTS}/logs/take_attack/{{attack}}.log",
    wildcard_constraints:
        attack=one_of(filter(STUDY.deposit_of_attack, STUDY.attacks)),
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        **taking(
            lambda wildcards: f"attacks/{wildcards.attack}",
            lambda wildcards: STUDY.deposit_of_attack(wildcards.attack),
        ),
        depends=lambda wildcards: depends.merged_attack(STUDY, wildcards.attack),
    script:
        "../scripts/take_result.py"


rule take_accuracy:
    """Take a classifier's accuracy on clean images from a deposit."""
    input:
        lambda wildcards: INPUTS.deposit(STUDY.deposit_of_model(model_of(wildcards))),
    output:
        f"{RESULTS}/models/{{weights}}.accuracy.json",
    log:
        f"{RESULTS}/logs/take_accuracy/{{weights}}.log",
    wildcard_constraints:
        weights=weights_pattern(filter(STUDY.deposit_of_model, STUDY.measured_models)),
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        **taking(
            lambda wildcards: f"models/{wildcards.weights}.accuracy",
            lambda wildcards: STUDY.deposit_of_model(model_of(wildcards)),
        ),
        depends=lambda wildcards: depends.accuracy(STUDY, model_of(wildcards)),
    script:
        "../scripts/take_result.py"


rule take_figure:
    """Take a figure that shows images, which are in no deposit, as it was drawn."""
    input:
        lambda wildcards: INPUTS.deposit(STUDY.deposit_of_figure(wildcards.figure)),
    output:
        pdf=PATHS.figure("{figure}", "pdf"),
        png=report(
            PATHS.figure("{figure}", "png"),
            caption="../report/artefact.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        provenance=PATHS.figure("{figure}", "json"),
    log:
        f"{RESULTS}/logs/take_figure/{{figure}}.log",
    wildcard_constraints:
        figure=one_of(filter(STUDY.deposit_of_figure, STUDY.figures)),
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        **taking(
            lambda wildcards: f"figures/{wildcards.figure}",
            lambda wildcards: STUDY.deposit_of_figure(wildcards.figure),
        ),
        depends=lambda wildcards: Printed(depends.figure(STUDY, wildcards.figure)),
    script:
        "../scripts/take_result.py"


rule take_costs:
    """Take what a study was estimated to take, by running its networks, from its deposit."""
    input:
        lambda wildcards: INPUTS.deposit(STUDY.deposit_of_costs),
    output:
        PATHS.costs("{gpu}"),
    log:
        f"{RESULTS}/logs/take_costs/{{gpu}}.log",
    wildcard_constraints:
        gpu=gpu_pattern(is_deposited=True),
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        **taking(
            lambda wildcards: f"costs/{wildcards.gpu}",
            lambda wildcards: STUDY.deposit_of_costs,
        ),
        depends=depends.costs(STUDY),
    script:
        "../scripts/take_result.py"
